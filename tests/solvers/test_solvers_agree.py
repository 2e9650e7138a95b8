"""What all solvers have in common: weights, what is told on the way, and how they end."""

import re

import numpy as np
import pytest
from solver_problems import BATCHED, PAIRS, assert_close, data, digest, make, objective, params_of

from spiralnn import FitInterruptedWarning, SoftmaxClassifier, TwoLayerNet, make_spiral

solvers = pytest.mark.parametrize(("kind", "solver"), PAIRS)
backends = pytest.mark.parametrize("backend", ["fused", "reference"])
X, Y, WEIGHTS = data(200)
UNITS = {"sgd": "epoch", "adam": "epoch", "lbfgs": "iteration", "newton-cholesky": "iteration", "gd": "step"}


@pytest.fixture(autouse=True)
def no_interrupt_before(monkeypatch):
    monkeypatch.setattr("spiralnn.engine.monitor._last_interrupt", -np.inf)


# -------------------------------------------------------------------------------------------------- the same end


def test_all_solvers_come_to_the_same_optimum():
    # the linear model has but one
    best = make("linear", "lbfgs", reg=0.05, max_iter=500, tol=1e-9).fit(X, Y)
    for solver, settings in {
        "gd": {"max_iter": 3000, "step_size": 0.3}, "sgd": {"max_iter": 400, "step_size": 0.05},
        "adam": {"max_iter": 400}, "newton-cholesky": {"tol": 1e-9}, "auto": {"max_iter": 500, "tol": 1e-9},
    }.items():  # fmt: skip
        model = make("linear", solver, reg=0.05, **settings).fit(X, Y)
        assert objective(model, X, Y, 0.05)[0] == pytest.approx(best.loss_, rel=1e-3)
        np.testing.assert_allclose(model.predict_proba(X), best.predict_proba(X), atol=0.02)
        assert model.score(X, Y) >= best.score(X, Y) - 0.01


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_the_spiral(solver):
    features, labels = make_spiral(random_state=0)
    model = TwoLayerNet(solver=solver, random_state=0, reg=1e-5).fit(features, labels)
    assert model.score(features, labels) > (0.98 if solver != "sgd" else 0.9)


# ------------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("solver", ["gd", "lbfgs", "newton-cholesky"])
def test_a_weight_of_two_is_the_row_twice(solver):
    rows = np.r_[np.arange(200), np.arange(0, 200, 2)]
    weights = 1.0 + (np.arange(200) % 2 == 0)
    weighted = make("linear", solver).fit(X, Y, sample_weight=weights)
    repeated = make("linear", solver).fit(X[rows], Y[rows])
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-8)
    assert_close(weighted, repeated, 1e-8)


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
def test_a_weight_of_two_is_the_row_twice_in_a_batch_of_all(kind, solver):
    rows = np.r_[np.arange(200), np.arange(0, 200, 2)]
    weights = 1.0 + (np.arange(200) % 2 == 0)
    weighted = make(kind, solver, batch_size=200).fit(X, Y, sample_weight=weights)
    repeated = make(kind, solver, batch_size=300).fit(X[rows], Y[rows])
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-8)
    assert_close(weighted, repeated, 1e-7)


@solvers
@backends
def test_classes_weigh_as_their_rows_do(kind, solver, backend):
    given = make(kind, solver, backend=backend, class_weight={0: 2.0, 2: 0.5}).fit(X, Y)
    weights = np.choose(Y, [2.0, 1.0, 0.5])
    assert digest(given) == digest(make(kind, solver, backend=backend).fit(X, Y, sample_weight=weights))
    few = np.r_[0:200][(Y != 1) | (np.arange(200) % 5 == 0)]
    balanced = make(kind, solver, backend=backend, class_weight="balanced").fit(X[few], Y[few])
    counts = np.bincount(Y[few])
    other = make(kind, solver, backend=backend).fit(X[few], Y[few], sample_weight=(len(few) / 3 / counts)[Y[few]])
    assert digest(balanced) == digest(other)


@solvers
@backends
def test_rows_without_weight_are_passed_over(kind, solver, backend):
    weights = WEIGHTS.copy()
    weights[::2] = 0.0
    other = X.copy()
    other[::2] = np.random.default_rng(0).standard_normal(other[::2].shape) * 1e3
    models = [make(kind, solver, backend=backend).fit(f, Y, sample_weight=weights) for f in (X, other)]
    np.testing.assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-9)


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
@backends
def test_batches_without_weight_are_passed_over(kind, solver, backend):
    weights = np.ones(200)
    weights[32:96] = 0.0  # the second and the third of them
    model = make(kind, solver, backend=backend, shuffle=False).fit(X, Y, sample_weight=weights)
    assert np.isfinite(model.loss_curve_).all()
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@solvers
def test_weights_of_any_size_are_a_mean(kind, solver):
    models = [make(kind, solver).fit(X, Y, sample_weight=WEIGHTS * factor) for factor in (1.0, 1e-100, 1e100)]
    for model in models[1:]:
        np.testing.assert_allclose(model.loss_curve_, models[0].loss_curve_, rtol=1e-7)


# ------------------------------------------------------------------------------------------------ on the way


@solvers
@backends
def test_the_callback_is_called_once_a_step_and_may_stop(kind, solver, backend):
    seen = []

    def callback(step, loss, model):
        seen.append((step, loss))
        assert loss == model.loss_ == model.loss_curve_[step]
        assert model.n_iter_ == len(model.loss_curve_) == step + 1
        assert model.solver_ == solver and model.predict(X[:2]).shape == (2,)
        return step == 2

    model = make(kind, solver, backend=backend, callback=callback).fit(X, Y)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert model.n_iter_ == 3 and not model.converged_
    assert [loss for _, loss in seen] == model.loss_curve_
    if solver not in ("sgd", "adam"):  # whose step size depends on how many are to come
        assert digest(model) == digest(make(kind, solver, backend=backend, max_iter=3).fit(X, Y))


@solvers
def test_a_callback_that_fails_leaves_the_model_as_it_was_told(kind, solver):
    def callback(step, loss, model):
        if step == 2:
            raise ZeroDivisionError

    model = make(kind, solver, callback=callback)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 3


@solvers
def test_log_lines(kind, solver, capsys):
    model = make(kind, solver, verbose=3).fit(X, Y)
    word = "epoch" if solver in ("sgd", "adam") else "iteration"
    expected = [f"{word} {i}: loss {model.loss_curve_[i]:f}" for i in range(0, model.n_iter_, 3)]
    assert capsys.readouterr().out.splitlines() == expected
    make(kind, solver, verbose=0).fit(X, Y)
    assert capsys.readouterr() == ("", "")


def test_auto_says_what_it_came_to(capsys):
    model = SoftmaxClassifier(verbose=True, max_iter=2).fit(X, Y)
    assert capsys.readouterr().out.splitlines()[0] == f"solver: {model.solver_}"


@solvers
def test_a_bar_counts_what_the_solver_counts(kind, solver, capsys):
    pytest.importorskip("tqdm")
    model = make(kind, solver, progress=True).fit(X, Y)
    last = capsys.readouterr().err.rstrip("\n").rpartition("\r")[2]
    assert f" {model.n_iter_}/8 " in last and f"{UNITS[solver]}s" in last
    assert f"loss {model.loss_:f}" in last and re.search(r"[\d.e+]+ passes/s", last)


@solvers
@backends
def test_passes_are_counted(kind, solver, backend):
    model = make(kind, solver, backend=backend).fit(X, Y)
    if solver == "gd":
        assert model.n_passes_ == 8
    elif solver in ("sgd", "adam"):
        assert model.n_passes_ == pytest.approx(9)  # one for means and variances
    else:
        assert 2 + model.n_iter_ <= model.n_passes_ <= 2 + 2 * model.n_iter_


# --------------------------------------------------------------------------------------------------- bad ends


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
@backends
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_step_size_that_is_too_large_says_where_and_keeps_what_was_finite(kind, solver, backend, dtype):
    size = 1e30 if solver == "sgd" else 1e300  # Adam's steps are as long as that, and their squares must overflow
    model = make(kind, solver, backend=backend, step_size=size)
    pattern = r"no longer finite at epoch (\d+), batch (\d+), with step_size=1e\+30+: .* after (\d+) epochs"
    with pytest.raises(FloatingPointError, match=pattern) as raised:
        model.fit(X.astype(dtype), Y)
    epoch, batch, kept = map(int, re.search(pattern, str(raised.value)).groups())
    assert kept == model.n_iter_ == len(model.loss_curve_) == epoch and 0 <= batch <= 6
    assert all(np.isfinite(a).all() for a in params_of(model)) and np.isfinite(model.loss_curve_).all()
    if not epoch:  # those of the start
        start = make(kind, solver, backend=backend, step_size=1e-300, max_iter=1)
        for a, b in zip(params_of(model), params_of(start.fit(X.astype(dtype), Y)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-200)


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
def test_what_diverges_in_a_later_epoch_keeps_the_epoch_before(kind, solver, monkeypatch):
    # a parameter becomes what is no number while the fourth epoch begins
    from spiralnn.solvers.stochastic import Stochastic

    begin = Stochastic._open

    def spoil(run):
        begin(run)
        if run.n_steps == 3:
            run._memory.theta[0, 0] = np.nan

    whole = make(kind, solver, callback=lambda step, *_: step == 2).fit(X, Y)
    monkeypatch.setattr(Stochastic, "_open", spoil)
    model = make(kind, solver)
    with pytest.raises(FloatingPointError, match="at epoch 3, batch 0, .* keeps its parameters after 3 epochs"):
        model.fit(X, Y)
    assert model.n_iter_ == 3 and digest(model) == digest(whole)


@solvers
def test_ctrl_c_keeps_whole_steps(kind, solver):
    def callback(step, loss, model):
        if step == 2:
            raise KeyboardInterrupt

    model = make(kind, solver, callback=callback)
    with pytest.warns(FitInterruptedWarning, match=f"fit was interrupted after 3 of 8 {UNITS[solver]}s") as caught:
        assert model.fit(X, Y) is model
    assert caught[0].filename == __file__
    assert model.n_iter_ == 3 and not model.converged_ and model.score(X, Y) > 0.3
    same = make(kind, solver, callback=lambda step, *_: step == 2).fit(X, Y)
    assert digest(model) == digest(same)


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
def test_ctrl_c_within_an_epoch_keeps_the_batches_that_were_done(kind, solver, monkeypatch):
    from spiralnn.engine.passes import Passes

    run, calls = Passes.run, []

    def interrupted_run(self, *arguments):
        calls.append(1)
        if len(calls) == 10:  # 7 batches an epoch
            raise KeyboardInterrupt
        return run(self, *arguments)

    monkeypatch.setattr("spiralnn.engine.pace.Pace.choose", lambda pace: (1, 1))
    monkeypatch.setattr(Passes, "run", interrupted_run)
    model = make(kind, solver)
    with pytest.warns(FitInterruptedWarning, match="after 1 of 8 epochs"):
        model.fit(X, Y)
    assert model.n_iter_ == 1 and len(model.loss_curve_) == 1
    assert model.n_passes_ == pytest.approx(2 + 2 / 7)
    one = make(kind, solver, callback=lambda step, *_: True).fit(X, Y)
    assert digest(model) != digest(one) and model.loss_curve_ == one.loss_curve_


@solvers
def test_two_classes_and_one_row_of_each(kind, solver):
    settings = {"batch_size": None} if solver in ("sgd", "adam") else {}
    model = make(kind, solver, **settings).fit(np.array([[0.0, 1.0], [1.0, 0.0]]), ["b", "a"])
    assert model.predict([[0.0, 1.0], [1.0, 0.0]]).tolist() == ["b", "a"]


@solvers
def test_one_column_that_says_nothing(kind, solver):
    value = 7.0 if solver != "gd" else 0.1
    model = make(kind, solver, max_iter=30).fit(np.full((90, 1), value), np.arange(90) % 3)
    assert model.loss_ == pytest.approx(np.log(3), rel=0.1)
