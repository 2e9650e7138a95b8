"""Checkpoints of every solver: in the middle of what it does, and what is of another run."""

import numpy as np
import pytest
from solver_problems import BATCHED, PAIRS, data, digest, make, state_of

from spiralnn import FitInterruptedWarning, ModelFileError
from spiralnn.engine import checkpoint
from spiralnn.engine.passes import Passes
from spiralnn.files import array_file
from spiralnn.kernels import lbfgs
from spiralnn.solvers.newton import Newton
from spiralnn.solvers.problem import Problem
from spiralnn.solvers.quasi_newton import Lbfgs

solvers = pytest.mark.parametrize(("kind", "solver"), PAIRS)
X, Y, WEIGHTS = data(200, scales=[1, 10, 0.1, 1, 1], shifts=[0, 3, 0, -1, 0])


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr("spiralnn.engine.monitor._last_interrupt", -np.inf)
    monkeypatch.setattr("spiralnn.files.whole_file.os.fsync", lambda file: None)  # for speed: hundreds of files
    return tmp_path / "run"


@pytest.fixture
def stepwise(monkeypatch):
    """A slice is one batch, or one pass."""
    monkeypatch.setattr("spiralnn.engine.pace.Pace.choose", lambda pace: (1, 1))
    for place in ("stochastic", "quasi_newton", "newton", "descent"):
        monkeypatch.setattr(f"spiralnn.solvers.{place}.SLICE_SECONDS", 1e-5)


def interrupted_after(n, monkeypatch, model, path):
    """The checkpoint of a fit that Ctrl-C ends before pass, or batch, n + 1."""
    calls = []
    place, name = Passes, "run"
    if model.solver == "newton-cholesky":
        place, name = Newton, "_evaluate"
    elif model.backend == "reference":
        place, name = Problem, "reference_loss_gradients"
    function = getattr(place, name)

    def counted(*positional, **named):
        calls.append(1)
        if len(calls) > n:
            raise KeyboardInterrupt
        return function(*positional, **named)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, counted)
        with pytest.warns(FitInterruptedWarning):
            model.fit(X, Y, checkpoint=path, checkpoint_every=0)
    return array_file.read(path, checkpoint.FORMAT)[1]


# ---------------------------------------------------------------------------------------------------- same bits


@solvers
@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_resumed_run_has_the_bits_of_a_whole_one(kind, solver, backend, dtype, path):
    features = X.astype(dtype)
    whole = make(kind, solver, backend=backend).fit(features, Y, sample_weight=WEIGHTS)
    for steps in {1, 2, 5, 8} if solver != "newton-cholesky" else {1, 2}:
        path.unlink(missing_ok=True)

        def stop(step, loss, model, steps=steps):
            return step == steps - 1

        make(kind, solver, backend=backend, callback=stop).fit(features, Y, sample_weight=WEIGHTS, checkpoint=path)
        model = make(kind, solver, backend=backend, n_threads=1, callback=lambda *said: False)
        model.fit(features, Y, sample_weight=WEIGHTS, checkpoint=path, resume=True)
        assert digest(model) == digest(whole)
        assert (model.n_iter_, model.n_passes_, model.loss_) == (whole.n_iter_, whole.n_passes_, whole.loss_)
        assert model.converged_ == whole.converged_


@solvers
@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 10])
def test_it_may_be_cut_at_any_batch_or_pass(kind, solver, n, path, stepwise, monkeypatch):
    whole = make(kind, solver, max_iter=12).fit(X, Y)
    n = min(n, int(whole.n_passes_) - 2) if solver == "newton-cholesky" else n
    arrays = interrupted_after(n, monkeypatch, make(kind, solver, max_iter=12), path)
    if solver in ("sgd", "adam"):  # 7 batches an epoch
        assert (len(arrays["losses"]), len(arrays["batch_losses"])) == divmod(n, 7)
    model = make(kind, solver, max_iter=12).fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(whole) and model.n_passes_ == whole.n_passes_


@pytest.mark.parametrize("kind", ["linear", "network"])
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_l_bfgs_goes_on_within_a_search(kind, backend, path, stepwise, monkeypatch):
    settings = {"backend": backend, "max_iter": 12}
    whole = make(kind, "lbfgs", **settings).fit(X, Y)
    seen = set()
    for n in range(1, int(whole.n_passes_) - 1):
        path.unlink(missing_ok=True)
        monkeypatch.setattr("spiralnn.engine.monitor._last_interrupt", -np.inf)
        arrays = interrupted_after(n, monkeypatch, make(kind, "lbfgs", **settings), path)
        seen.add((arrays["numbers"][lbfgs.TRIALS] > 0, len(arrays["losses"])))
        model = make(kind, "lbfgs", **settings).fit(X, Y, checkpoint=path, resume=True)
        assert digest(model) == digest(whole) and model.n_passes_ == whole.n_passes_
    assert {steps for _, steps in seen} >= {0, 1, 2}
    assert kind == "linear" or any(within for within, _ in seen)


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
@pytest.mark.parametrize("rate", ["constant", "invscaling", "adaptive", "linear"])
def test_schedules_go_on(kind, solver, rate, path):
    # a gain that is never reached: adaptive ones fall, others end
    settings = {"learning_rate": rate, "tol": 0.5, "n_iter_no_change": 2, "max_iter": 12}
    whole = make(kind, solver, **settings).fit(X, Y)
    for steps in range(1, whole.n_iter_ + 1):
        path.unlink(missing_ok=True)
        make(kind, solver, **settings, callback=lambda step, *_, n=steps: step == n - 1).fit(X, Y, checkpoint=path)
        model = make(kind, solver, **settings).fit(X, Y, checkpoint=path, resume=True)
        assert digest(model) == digest(whole)
        assert model.converged_ == whole.converged_ and model.n_iter_ == whole.n_iter_


@solvers
def test_a_run_that_is_over_stays_so(kind, solver, path):
    settings = {"max_iter": 400} | ({"tol": 0.05} if solver in ("gd", "lbfgs") else {"tol": 0.01})
    if solver in ("sgd", "adam"):
        settings |= {"learning_rate": "constant", "n_iter_no_change": 3}
    whole = make(kind, solver, **settings).fit(X, Y, checkpoint=path)
    assert whole.n_iter_ < 400
    model = make(kind, solver, **settings).fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(whole)
    assert (model.n_iter_, model.n_passes_, model.converged_) == (whole.n_iter_, whole.n_passes_, whole.converged_)


@solvers
def test_it_may_go_on_for_longer(kind, solver, path):
    make(kind, solver, max_iter=3, learning_rate=None).fit(X, Y, checkpoint=path)
    model = make(kind, solver, max_iter=6)
    if solver in ("sgd", "adam"):  # whose step size has come to its end
        with pytest.raises(ValueError, match="max_iter is 6 here and 3 there"):
            model.fit(X, Y, checkpoint=path, resume=True)
        path.unlink()
        make(kind, solver, max_iter=3, learning_rate="constant").fit(X, Y, checkpoint=path)
        model.set_params(learning_rate="constant")
    model.fit(X, Y, checkpoint=path, resume=True)
    whole = make(kind, solver, max_iter=6, learning_rate=model.learning_rate).fit(X, Y)
    assert digest(model) == digest(whole)
    if solver == "newton-cholesky" and whole.n_iter_ < 6:
        return
    with pytest.raises(ValueError, match=r"max_iter is 2( here and|, but .* holds 6)"):
        model.set_params(max_iter=2).fit(X, Y, checkpoint=path, resume=True)


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
def test_a_start_and_an_order_that_are_not_fixed_are_those_of_the_checkpoint(kind, solver, path, stepwise, monkeypatch):
    interrupted_after(10, monkeypatch, make(kind, solver, random_state=np.random.RandomState(5)), path)
    model = make(kind, solver, random_state=None).fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(make(kind, solver, random_state=np.random.RandomState(5)).fit(X, Y))


# ------------------------------------------------------------------------------------------------ another run


@solvers
def test_of_another_solver_or_setting_it_is_one_error(kind, solver, path):
    make(kind, solver, max_iter=3).fit(X, Y, checkpoint=path)
    others = [{"reg": 0.3}]
    for other in ("gd", "sgd", "adam", "lbfgs"):
        if other != solver:
            others.append({"solver": other, "batch_size": 32 if other in ("sgd", "adam") else None})
    if solver != "gd":
        others.append({"init_scale": 0.5})
    if solver in ("sgd", "adam"):
        others += [
            {"batch_size": 33}, {"shuffle": False}, {"learning_rate": "constant"}, {"step_size": 0.5},
            {"beta_1": 0.5} if solver == "adam" else {"momentum": 0.5}, {"tol": 0.1}, {"max_iter": 5},
            {"beta_2": 0.5} if solver == "adam" else {"nesterovs_momentum": False}, {"random_state": 1},
        ]  # fmt: skip
    elif solver != "gd":
        others.append({"tol": 0.5})
    else:
        others += [{"step_size": 0.5}, {"tol": 0.5}]
    if kind == "network":
        others.append({"random_state": 1})
    model = make(kind, "gd", max_iter=1).fit(X, Y)
    before, content = state_of(model), path.read_bytes()
    for settings in others:
        model.set_params(**{**make(kind, solver, max_iter=3).get_params(), **settings})
        with pytest.raises(ValueError, match="is the checkpoint of another run: ") as raised:
            model.fit(X, Y, checkpoint=path, resume=True)
        assert not isinstance(raised.value, ModelFileError)
        name, value = next(iter(settings.items()))
        if name == "random_state":
            assert "the start differs" in str(raised.value) or "the order of rows is" in str(raised.value)
        else:
            assert f"{name} is {value!r} here and " in str(raised.value)
    assert state_of(model) == before and path.read_bytes() == content


@solvers
def test_settings_of_other_solvers_do_not_make_it_another_run(kind, solver, path):
    make(kind, solver, max_iter=3).fit(X, Y, checkpoint=path)
    model = make(kind, solver, max_iter=3)
    if solver == "adam":
        model.set_params(momentum=0.1, nesterovs_momentum=False)
    elif solver == "sgd":
        model.set_params(beta_1=0.1, beta_2=0.2, epsilon=1.0)
    else:
        model.set_params(momentum=0.1, beta_1=0.1, shuffle=False)
    model.fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(make(kind, solver, max_iter=3).fit(X, Y))


@solvers
def test_other_data_are_another_run(kind, solver, path):
    make(kind, solver, max_iter=3).fit(X, Y, sample_weight=WEIGHTS, checkpoint=path)
    for features, labels, weights, message in (
        (X + 1, Y, WEIGHTS, "X differs"),
        (X.astype(np.float32), Y, WEIGHTS.astype(np.float32), "X differs"),
        (X, Y[::-1], WEIGHTS, "y differs"),
        (X, Y, WEIGHTS * 2, "sample_weight or class_weight differs"),
        (X, Y, None, "sample_weight or class_weight differs"),
    ):
        with pytest.raises(ValueError, match=message):
            make(kind, solver, max_iter=3).fit(features, labels, sample_weight=weights, checkpoint=path, resume=True)


# ------------------------------------------------------------------------------------------------ what is damaged


SPOILT = {
    "of another dtype": lambda a: a.astype(np.float32),
    "of another shape": lambda a: np.zeros((*a.shape, 1)),
    "shorter": lambda a: a[:-1] if a.size else np.zeros(1),
    "not there": None,
}


@solvers
@pytest.mark.parametrize("spoilt", SPOILT)
def test_arrays_that_are_none_are_refused(kind, solver, spoilt, path):
    make(kind, solver, max_iter=3).fit(X, Y, checkpoint=path)
    header, arrays = array_file.read(path, checkpoint.FORMAT)
    for name, array in arrays.items():
        changed = {n: a for n, a in arrays.items() if n != name}
        if SPOILT[spoilt] is not None:
            changed[name] = SPOILT[spoilt](array)
        array_file.write(path, checkpoint.FORMAT, {"run": header["run"]}, changed)
        if name == "losses" and solver == "gd" and spoilt == "shorter":
            continue  # parameters do not say what step they are of
        with pytest.raises(ModelFileError):
            make(kind, solver, max_iter=3).fit(X, Y, checkpoint=path, resume=True)


@solvers
def test_what_is_not_finite_is_refused(kind, solver, path):
    make(kind, solver, max_iter=3).fit(X, Y, checkpoint=path)
    header, arrays = array_file.read(path, checkpoint.FORMAT)
    for name in {"losses", "now_0", "before_1", "theta", "state", "vectors", "point", "gradient"} & arrays.keys():
        array = arrays[name].copy()
        array.reshape(-1)[1] = np.nan
        changed = {**arrays, name: array}
        array_file.write(path, checkpoint.FORMAT, {"run": header["run"]}, changed)
        with pytest.raises(ModelFileError, match="not finite"):
            make(kind, solver, max_iter=3).fit(X, Y, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (lbfgs.N_PAIRS, 50), (lbfgs.N_PAIRS, -1), (lbfgs.N_PAIRS, 1.5), (lbfgs.NEWEST, 1000), (lbfgs.NEWEST, -2),
        (lbfgs.STAGE, 7), (lbfgs.ITERATION, 10**6), (lbfgs.EVALUATIONS, -4), (lbfgs.EVALUATIONS, np.nan),
        (lbfgs.N_PAIRS, np.nan), (lbfgs.NEWEST, np.inf),
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_refused(place, value):
    problem = Problem(X, Y, (np.zeros((5, 3)), np.zeros(3)), None, 0.01, 1)
    run = Lbfgs(problem, tol=1e-9, steps=10)
    run.run(5)
    state = run.state()
    Lbfgs(problem, tol=1e-9, steps=10).restore(state)
    state["numbers"][place] = value
    with pytest.raises(ValueError):
        Lbfgs(problem, tol=1e-9, steps=10).restore(state)
