"""Rows to be judged by: their curves, when to stop, what is kept, and that nothing is learned from them."""

import sys

import numpy as np
import pytest
from solver_problems import BATCHED, PAIRS, data, digest, make, params_of, state_of

from spiralnn import FitInterruptedWarning, SoftmaxClassifier, TwoLayerNet, loss_and_gradients
from spiralnn.checks.held_out import draw_held_out, held_out_counts
from spiralnn.engine.passes import Passes
from spiralnn.solvers import validation
from spiralnn.solvers.validation import Validation

solvers = pytest.mark.parametrize(("kind", "solver"), PAIRS)
X, Y, WEIGHTS = data(200, spread=1.0)
XV, YV, _ = data(70, spread=1.0, seed=1)


def held_rows(model, counts=None):
    """The rows that early stopping takes: as drawn after the start and the order of batches."""
    random = np.random.RandomState(model.random_state)
    if isinstance(model, TwoLayerNet):
        for shape in (model.coefs_[0].shape, model.coefs_[1].shape):
            random.uniform(size=shape)
    if model.solver in ("sgd", "adam"):
        random.randint(1 << 31)
    if model.solver == "gd":
        random = np.random.RandomState(model.random_state)
        for W in model.coefs_:
            random.randn(*W.shape)
    labels = np.searchsorted(model.classes_, Y)
    return draw_held_out(labels, held_out_counts(labels, 3, model.validation_fraction), random)


# ------------------------------------------------------------------------------------------------------- curves


@solvers
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_curves_are_those_of_the_model_after_each_step(kind, solver, backend):
    seen = []

    def callback(step, loss, model):
        seen.append((model.score(XV, YV), loss_and_gradients(XV, YV, params_of(model))[0]))
        assert len(model.validation_scores_) == len(model.validation_loss_curve_) == step + 1 == model.n_iter_

    model = make(kind, solver, backend=backend, callback=callback).fit(X, Y, validation=(XV, YV))
    assert model.validation_scores_ == [score for score, _ in seen]
    np.testing.assert_allclose(model.validation_loss_curve_, [loss for _, loss in seen], rtol=1e-12)
    assert len(seen) == model.n_iter_ == len(model.loss_curve_)
    assert model.best_validation_score_ == max(model.validation_scores_)


@solvers
def test_without_early_stopping_it_changes_nothing(kind, solver):
    plain, judged = make(kind, solver).fit(X, Y), make(kind, solver).fit(X, Y, validation=[XV, YV])
    assert digest(plain) == digest(judged)
    assert plain.validation_scores_ is plain.validation_loss_curve_ is plain.best_validation_score_ is None
    assert len(judged.validation_scores_) == judged.n_iter_ == 8 or solver in ("lbfgs", "newton-cholesky")


def test_many_rows_are_judged_a_block_at_a_time(monkeypatch):
    whole = make("network", "adam").fit(X, Y, validation=(XV, YV))
    monkeypatch.setattr("spiralnn.solvers.validation.block_rows", lambda D, itemsize: 17)
    blocks = make("network", "adam").fit(X, Y, validation=(XV, YV))
    assert blocks.validation_scores_ == whole.validation_scores_
    np.testing.assert_allclose(blocks.validation_loss_curve_, whole.validation_loss_curve_, rtol=1e-12)


def test_scores_that_overflow_make_a_loss_of_no_number_and_no_error():
    model = make("linear", "adam", step_size=0.5).fit(X, Y, validation=(XV * 1e306, YV))
    assert not np.isfinite(model.validation_loss_curve_[-1])
    assert len(model.validation_scores_) == model.n_iter_ == 8
    assert np.isfinite(model.loss_curve_).all()


def test_float32_is_judged_in_float32_whatever_comes():
    model = make("network", "adam").fit(X.astype(np.float32), Y, validation=(XV, YV))
    other = make("network", "adam").fit(X.astype(np.float32), Y, validation=(XV.astype(np.float32), YV))
    assert model.validation_loss_curve_ == other.validation_loss_curve_
    assert model.coefs_[0].dtype == np.float32


def test_labels_may_be_of_any_kind_and_not_all_be_there():
    names = np.array(["a", "b", "c"])
    model = make("linear", "lbfgs").fit(X, names[Y], validation=(XV[YV < 2], names[YV[YV < 2]].tolist()))
    other = make("linear", "lbfgs").fit(X, Y, validation=(XV[YV < 2], YV[YV < 2]))
    assert model.validation_scores_ == other.validation_scores_


# ---------------------------------------------------------------------------------------------------- early end


@solvers
def test_it_stops_where_accuracy_no_longer_gains_and_keeps_the_best(kind, solver):
    best = {}

    def callback(step, loss, model):
        best.setdefault(model.validation_scores_[-1], step)

    settings = {"max_iter": 400, "early_stopping": True, "n_iter_no_change": 5, "tol": 0.01, "callback": callback}
    if solver in ("lbfgs", "newton-cholesky"):
        settings |= {"tol": 1e-12, "n_iter_no_change": 2}
    model = make(kind, solver, **settings).fit(X, Y, validation=(XV, YV))
    scores, patience, since = model.validation_scores_, settings["n_iter_no_change"], 0
    for step in range(1, len(scores) + 1):
        since = since + 1 if step > 1 and scores[step - 1] < max(scores[: step - 1]) + settings["tol"] else 0
        if since >= patience:
            break
    if since < patience:  # nothing more to gain before
        assert model.converged_ and solver in ("gd", "newton-cholesky")
    else:
        assert step == len(scores) == model.n_iter_ < 400
        assert not model.converged_
    top = max(scores)
    assert model.best_validation_score_ == top == model.score(XV, YV)
    # its parameters are those of the first step with that score
    n = best[top] + 1
    same = make(kind, solver, **{**settings, "early_stopping": False, "tol": settings["tol"], "max_iter": n})
    if solver in ("sgd", "adam"):  # whose step size depends on how many there are to come
        assert n <= model.n_iter_
        return
    if solver == "gd":
        same.set_params(tol=None)
    same.set_params(callback=None).fit(X, Y)
    for a, b in zip(params_of(model), params_of(same), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
def test_the_best_parameters_of_batches_are_those_of_the_first_step_with_the_best_score(kind, solver):
    kept = []

    def callback(step, loss, model):  # which sees the best so far
        kept.append([a.copy() for a in params_of(model)])

    settings = {"max_iter": 40, "early_stopping": True, "n_iter_no_change": 3, "learning_rate": "constant"}
    model = make(kind, solver, **settings, callback=callback).fit(X, Y, validation=(XV, YV))
    first = int(np.argmax(model.validation_scores_))
    assert first + 4 == model.n_iter_ or model.n_iter_ == 40
    same = make(kind, solver, max_iter=first + 1, learning_rate="constant", tol=0).fit(X, Y)
    for a, b, c in zip(params_of(model), params_of(same), kept[first], strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(model.loss_curve_[: first + 1], same.loss_curve_)


@solvers
def test_rows_held_out_are_not_learned_from(kind, solver):
    settings = {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 50, "max_iter": 6}
    plain = make(kind, solver, **settings).fit(X, Y)
    rows = held_rows(plain)
    assert 35 <= len(rows) <= 45
    assert plain.validation_scores_ is not None
    np.testing.assert_array_equal(plain.score(X[rows], Y[rows]), plain.best_validation_score_)
    # noise in their place changes what is said of them, and the choice of the best, and no step
    other = X.copy()
    other[rows] = 1e6 * np.random.default_rng(0).standard_normal((len(rows), X.shape[1]))
    changed = make(kind, solver, **settings).fit(other, Y)
    assert changed.validation_scores_ != plain.validation_scores_
    np.testing.assert_array_equal(changed.loss_curve_, plain.loss_curve_)


@solvers
def test_rows_held_out_are_as_rows_that_were_given(kind, solver):
    settings = {"early_stopping": True, "n_iter_no_change": 50, "max_iter": 6}
    model = make(kind, solver, **settings).fit(X, Y)
    rows = held_rows(model)
    rest = np.setdiff1d(np.arange(len(Y)), rows)
    other = make(kind, solver, **settings).fit(X[rest], Y[rest], validation=(X[rows], Y[rows]))
    np.testing.assert_allclose(model.validation_loss_curve_, other.validation_loss_curve_, rtol=0.3)
    if solver not in ("sgd", "adam"):  # the order of other rows is another
        np.testing.assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-8)
        np.testing.assert_allclose(model.validation_loss_curve_, other.validation_loss_curve_, rtol=1e-7)


def test_held_out_rows_are_of_all_classes_and_a_share_of_each():
    labels = np.repeat([0, 1, 2], [100, 30, 5])
    counts = held_out_counts(labels, 3, 0.2)
    assert counts.tolist() == [20, 6, 1]
    rows = draw_held_out(labels, counts, np.random.RandomState(0))
    assert np.bincount(labels[rows]).tolist() == [20, 6, 1]
    assert (np.diff(rows) > 0).all()
    assert (rows != draw_held_out(labels, counts, np.random.RandomState(1))).any()


@pytest.mark.parametrize("dtype", ["u8", "i1", ">u2"])
def test_rows_of_each_class_are_counted_whatever_the_integers(dtype):
    for settings in ({"early_stopping": True}, {"class_weight": "balanced"}, {"class_weight": {0: 2.0}}):
        models = [TwoLayerNet(hidden_size=4, max_iter=3, random_state=0, **settings) for _ in range(2)]
        assert digest(models[0].fit(X, Y.astype(dtype))) == digest(models[1].fit(X, Y.astype("i8")))


def test_weights_of_rows_held_out_are_left_alone_and_without_meaning():
    weights, before = WEIGHTS.copy(), WEIGHTS.copy()
    for solver in ("gd", "lbfgs", "adam", "newton-cholesky"):
        settings = {"early_stopping": True, "n_iter_no_change": 50, "max_iter": 4}
        model = make("linear", solver, **settings).fit(X, Y, sample_weight=weights)
        np.testing.assert_array_equal(weights, before)
        other = weights.copy()
        other[held_rows(model)] = 7.0
        changed = make("linear", solver, **settings).fit(X, Y, sample_weight=other)
        assert changed.loss_curve_ == model.loss_curve_
        assert changed.validation_scores_ == model.validation_scores_


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("fraction", "labels", "message"),
    [
        (0.005, Y, "of the 6[67] rows of class number 0 none would be held out"),
        (0.999, Y, "none would be left to train on"),
        (0.1, np.r_[3, Y[1:]], "of the 1 rows of class number 3 none would be held out"),
        (0.6, np.r_[3, Y[1:]], "of the 1 rows of class number 3 none would be left to train on"),
        (0.0, Y, "validation_fraction is 0.0, expected a number above 0 to less than 1"),
        (1.0, Y, "validation_fraction is 1.0, expected a number above 0 to less than 1"),
        (-0.1, Y, "validation_fraction is -0.1"),
        (float("nan"), Y, "validation_fraction is nan"),
    ],
)
def test_fractions_that_leave_a_class_without_rows(fraction, labels, message):
    model = make("linear", "adam").fit(X, Y)
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.set_params(early_stopping=True, validation_fraction=fraction).fit(X, labels)
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((XV, YV + 1), ValueError, "validation: y holds"),
        ((XV, np.full(70, "a")), ValueError, "validation: "),
        ((XV[:, :4], YV), ValueError, "validation: X has 4 features, but SoftmaxClassifier is expecting 5"),
        ((XV, YV[:-1]), ValueError, "validation: .*69"),
        ((XV[:0], YV[:0]), ValueError, "validation: .*0 sample"),
        ((np.where(np.arange(5) == 2, np.nan, XV), YV), ValueError, r"validation: X holds NaN at \[0, 2\]"),
        ((XV.astype(complex), YV), ValueError, "validation: Complex"),
        ((XV.astype(str), YV), TypeError, "validation: X has dtype"),
        (XV, ValueError, "validation is no pair"),
        ((XV, YV, WEIGHTS), ValueError, "validation is no pair"),
        ("ab", TypeError, "validation: X has dtype"),
        (True, ValueError, "validation is no pair"),
    ],
)
def test_other_rows_to_be_judged_by_are_one_error(given, error, message):
    for early in (False, True):
        model = make("linear", "lbfgs").fit(X, Y)
        before = state_of(model)
        with pytest.raises(error, match=message) as raised:
            model.set_params(early_stopping=early).fit(X, Y, validation=given)
        assert raised.value.__cause__ is None
        assert state_of(model) == before


def test_partial_fit_has_no_early_end():
    with pytest.raises(ValueError, match="early_stopping is True, expected False for partial_fit"):
        SoftmaxClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])


# ------------------------------------------------------------------------------------------------------ the log


@pytest.mark.parametrize(("solver", "word"), [("adam", "epoch"), ("lbfgs", "iteration"), ("gd", "iteration")])
def test_log_lines_tell_of_both(solver, word, capsys):
    model = make("linear", solver, verbose=3).fit(X, Y, validation=(XV, YV))
    expected = [
        f"{word} {i}: loss {model.loss_curve_[i]:f}, validation loss {model.validation_loss_curve_[i]:f}, "
        f"accuracy {model.validation_scores_[i]:.4f}"
        for i in range(0, model.n_iter_, 3)
    ]
    assert capsys.readouterr().out.splitlines() == expected


# -------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr("spiralnn.engine.monitor._last_interrupt", -np.inf)
    monkeypatch.setattr("spiralnn.files.whole_file.os.fsync", lambda file: None)  # for speed: many files
    return tmp_path / "run"


@solvers
@pytest.mark.parametrize("steps", [1, 4])
def test_a_resumed_run_has_the_curves_and_the_best_of_a_whole_one(kind, solver, steps, path):
    settings = {"early_stopping": True, "n_iter_no_change": 6, "max_iter": 30}
    whole = make(kind, solver, **settings).fit(X, Y)
    make(kind, solver, **settings, callback=lambda step, loss, model: step == steps - 1).fit(X, Y, checkpoint=path)
    model = make(kind, solver, **settings).fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(whole) and model.n_iter_ == whole.n_iter_
    assert model.validation_scores_ == whole.validation_scores_
    assert model.validation_loss_curve_ == whole.validation_loss_curve_
    # and of one that is over already
    again = make(kind, solver, **settings).fit(X, Y, checkpoint=path, resume=True)
    assert digest(again) == digest(whole) and again.validation_scores_ == whole.validation_scores_


def test_other_rows_or_another_way_to_stop_are_another_run(path):
    first = make("linear", "lbfgs", max_iter=3).fit(X, Y, validation=(XV, YV), checkpoint=path)
    for model, given, message in (
        (make("linear", "lbfgs"), None, "the validation rows differs"),
        (make("linear", "lbfgs"), (XV + 1, YV), "the validation rows differs"),
        (make("linear", "lbfgs"), (XV, YV[::-1]), "the validation rows differs"),
        (make("linear", "lbfgs", early_stopping=True), (XV, YV), "early_stopping is True here and False there"),
        (make("linear", "lbfgs", n_iter_no_change=3), (XV, YV), "n_iter_no_change is 3 here and 10 there"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, validation=given, checkpoint=path, resume=True)
    model = make("linear", "lbfgs", max_iter=3).fit(X, Y, validation=(XV, YV), checkpoint=path, resume=True)
    assert model.validation_scores_ == first.validation_scores_


@pytest.mark.parametrize(("kind", "solver"), [*BATCHED, ("linear", "lbfgs")])
def test_a_checkpoint_before_the_first_score_is_gone_on_from(kind, solver, path, monkeypatch):
    settings = {"early_stopping": True, "max_iter": 6}
    calls, run = [], Passes.run

    def interrupted_run(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(self, *arguments)

    monkeypatch.setattr("spiralnn.engine.pace.Pace.choose", lambda pace: (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(Passes, "run", interrupted_run)
        with pytest.warns(FitInterruptedWarning, match="after 0 of 6"):
            make(kind, solver, **settings).fit(X, Y, checkpoint=path, checkpoint_every=0)
    assert path.exists()
    model = make(kind, solver, **settings).fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(make(kind, solver, **settings).fit(X, Y))


@solvers
def test_a_step_that_was_not_judged_is_judged_first(kind, solver, path, monkeypatch):
    settings = {"early_stopping": True, "max_iter": 6, "n_iter_no_change": 50}
    calls, judge = [], Validation.judge

    def interrupted_judge(self, params):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judge(self, params)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "judge", interrupted_judge)
        with pytest.warns(FitInterruptedWarning, match="after 3 of 6"):
            make(kind, solver, **settings).fit(X, Y, checkpoint=path)
    model = make(kind, solver, **settings).fit(X, Y, checkpoint=path, resume=True)
    whole = make(kind, solver, **settings).fit(X, Y)
    assert model.validation_scores_ == whole.validation_scores_
    assert digest(model) == digest(whole)


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer is at work")
@pytest.mark.filterwarnings("ignore::spiralnn.FitInterruptedWarning")
def test_ctrl_c_at_any_line_of_a_look_is_made_good(path, monkeypatch):
    settings = {"early_stopping": True, "max_iter": 5, "n_iter_no_change": 50}
    whole = make("linear", "lbfgs", **settings).fit(X, Y)
    file, n, lines = validation.__file__, 0, [0]

    def trace(frame, event, arg):
        if frame.f_code.co_filename != file or frame.f_code.co_name not in ("look", "judge"):
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == n:
                raise KeyboardInterrupt
        return trace

    for n in range(1, 1000):
        lines[0] = 0
        path.unlink(missing_ok=True)
        monkeypatch.setattr("spiralnn.engine.monitor._last_interrupt", -np.inf)
        model = make("linear", "lbfgs", **settings)
        sys.settrace(trace)
        try:
            model.fit(X, Y, checkpoint=path, checkpoint_every=0)
        finally:
            sys.settrace(None)
        if lines[0] < n:
            break
        model = make("linear", "lbfgs", **settings).fit(X, Y, checkpoint=path, resume=True)
        assert model.validation_scores_ == whole.validation_scores_, n
        assert model.validation_loss_curve_ == whole.validation_loss_curve_
        assert digest(model) == digest(whole)
    assert n > 50
