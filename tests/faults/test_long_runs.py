"""Long runs: shown, interrupted, killed and gone on with, on disks that are full and in folders nobody may write to."""

import contextlib
import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tqdm.auto
from classifiers import descents, other_solvers, over
from commands import Haste
from long_run_cases import CASES, build, call_back, digest
from places import ROOT
from problems import JIT

import spiralnn
from spiralnn import (
    CheckpointWarning,
    FitInterruptedWarning,
    ModelFileError,
    make_spiral,
)
from spiralnn.engine import checkpoint, display, monitor, passes, run, threads
from spiralnn.files import array_file, whole_file
from spiralnn.solvers import descent, newton, quasi_newton, stochastic

X, Y = make_spiral(10, 3, random_state=0)
PROGRAM = Path(__file__).resolve().parent / "long_run_cases.py"
TEMPORARY = re.compile(r"run\.[0-9a-f]{12}\.tmp")

processes = pytest.mark.skipif(os.name != "posix" or not JIT, reason="signals, to runs at full speed")

linear, network = descents(max_iter=40)
both = over(linear, network)
# batches of a constant step size, for the number of epochs to come is not to matter; four of them, the last one smaller
CHANGED = {"adam": {"learning_rate": "constant", "batch_size": 8}, "newton-cholesky": {"tol": 0.0}}
others = [make.by(make.solver, **CHANGED.get(make.solver, {})) for make in other_solvers(linear, network)]
by_any_solver = over(linear, network, *others)
UNITS = {"gd": "step", "adam": "epoch"}  # of the others: iteration
both_backends = pytest.mark.parametrize("backend", ["fused", "reference"])


@pytest.fixture(autouse=True)
def no_interrupt_before(monkeypatch):
    monkeypatch.setattr(monitor, "_last_interrupt", -math.inf)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


def interrupt_at(step):
    """A callback during which Ctrl-C comes."""

    def callback(at, loss, model):
        if at == step:
            raise KeyboardInterrupt

    return callback


def interrupted(model, steps, path, X=X, **arguments):
    """A checkpoint of a run that Ctrl-C ended after so many steps."""
    monitor._last_interrupt = -math.inf
    model.set_params(callback=interrupt_at(steps - 1))
    with pytest.warns(FitInterruptedWarning):
        model.fit(X, Y, checkpoint=path, **arguments)
    assert model.n_iter_ == steps
    return model.set_params(callback=None)


def state_of(model):
    return {n: v for n, v in vars(model).items() if n.endswith("_")}


# ---------------------------------------------------------------------------------- Ctrl-C and kills, to real processes


@contextlib.contextmanager
def running(*arguments):
    """A child process that is about to fit."""
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def is_over(child, seconds):
    """Whether the child ends before so many seconds."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def check_interrupt(case, moment):
    """Interrupt a fit at a moment: it is to return within half a second."""
    endless = 10**8
    with running(case, endless) as child:
        assert not is_over(child, moment)
        haste = Haste(child.pid)
        child.send_signal(signal.SIGINT)
        report = json.loads(child.stdout.read())
        assert child.wait(60) == 0
    n = report["n_iter"]
    if n == 0:  # the signal was faster than the first step
        assert report["raised"] and not report["warnings"]
    else:
        assert not report["raised"]
        unit = "epochs" if case == "batches" else "steps"
        message = f"fit was interrupted after {n} of {endless} {unit}: the model is as they left it"
        assert report["warnings"] == [["FitInterruptedWarning", message]]
        assert report["n_losses"] == n < endless
        assert report["finite"] and not report["converged"]
        assert set(report["classes"]) <= {0, 1, 2}
        if case not in ("long steps", "batches"):
            model, features, labels = build(case, max_iter=n)
            assert digest(model.fit(features, labels)) == report["digest"]
    haste.check(0.5, report["returned"])


@processes
@pytest.mark.parametrize(
    ("case", "moment"),
    [
        ("network float64", 2.3),
        ("a callback", 0.9),
        ("batches", 0.6),
        pytest.param("long steps", 2.9, marks=pytest.mark.long),
    ],
)
def test_ctrl_c_returns_a_usable_model_within_half_a_second(case, moment):
    check_interrupt(case, moment)


@processes
@pytest.mark.long
def test_ctrl_c_at_twenty_random_moments_of_thirty_seconds():
    draw = np.random.RandomState(0)
    cases = ["linear float32", "network float64", "a callback", "batches", "long steps"] * 4
    for case in cases:
        check_interrupt(case, draw.uniform(0, 30))


def check_kills(case, max_iter, window, kills, folder, seed):
    """Kill runs at random moments, until so many were killed; then the rest must end in the bits of a whole run."""
    draw = np.random.RandomState(seed)
    place, killed, steps = folder / "run", 0, 0
    while killed < kills:
        with running(case, max_iter, place) as child:
            if is_over(child, draw.uniform(0, window)):  # nothing left to kill
                assert child.returncode == 0
                place.unlink()
                steps = 0
                continue
            child.kill()
            child.wait()
        killed += 1
        leftovers = [name for name in os.listdir(folder) if name != "run"]
        assert len(leftovers) <= 1 and all(TEMPORARY.fullmatch(name) for name in leftovers)
        if steps or place.exists():
            header, arrays = array_file.read(place, checkpoint.FORMAT)
            assert len(arrays["losses"]) >= steps
            steps = len(arrays["losses"])
    with running(case, max_iter, place) as child:
        report = json.loads(child.stdout.read())
    assert os.listdir(folder) == ["run"]  # what killed writers left is gone, too
    model, features, labels = build(case, max_iter=max_iter)
    model.fit(features, labels)
    assert report["warnings"] == [] and not report["raised"]
    assert report["n_iter"] == report["n_losses"] == model.n_iter_ >= steps
    assert report["converged"] == model.converged_
    assert report["digest"] == digest(model)
    return killed


KILLS = {  # steps, and seconds within which to kill, for the short form and for the long one
    "linear float64": ((30_000, 0.2), (1_000_000, 0.8)),
    "linear float32": ((30_000, 0.2), (1_000_000, 0.8)),
    "network float64": ((4_000, 0.3), (60_000, 0.8)),
    "network float32": ((4_000, 0.3), (60_000, 0.8)),
    "a callback": ((60, 0.4), (500, 0.8)),
    "a callback that stops": ((1_000, 1.0), (1_000, 0.2)),
    "tol": ((1_000, 1.0), (1_000, 0.2)),
    "batches": ((1_000, 0.3), (10_000, 0.8)),
    "iterations": ((150, 0.4), (150, 0.4)),
}


@processes
@pytest.mark.parametrize(
    "case",
    [
        "linear float64",
        pytest.param("linear float32", marks=pytest.mark.long),
        "network float32",
        "a callback",
        pytest.param("tol", marks=pytest.mark.long),
        "batches",
        "iterations",
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(case, tmp_path):
    max_iter, window = KILLS[case][0]
    check_kills(case, max_iter, window, 1, tmp_path, seed=0)


@processes
@pytest.mark.long
@pytest.mark.parametrize("case", KILLS)
def test_a_run_that_is_killed_again_and_again_goes_on_to_the_same_bits(case, tmp_path):
    max_iter, window = KILLS[case][1]
    assert check_kills(case, max_iter, window, 8, tmp_path, seed=1) == 8  # 56 in all


def test_every_case_is_killed():
    assert set(KILLS) == set(CASES) - {"long steps"}


# -------------------------------------------------------------------------------- Ctrl-C at every line, in this process


def fit_with_ctrl_c_at_line(n, model, path):
    """Fit while Ctrl-C comes at the n-th line that runs of what may not be torn; whether it came."""
    solvers = descent, newton, quasi_newton, stochastic
    files = {module.__file__ for module in (monitor, checkpoint, run, passes, threads, *solvers)}
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        if frame.f_code.co_filename not in files and not frame.f_code.co_name.startswith("_take_over"):
            return None
        if event == "line" and _is_watched(frame):
            lines += 1
            if lines == n:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        model.fit(X, Y, checkpoint=path, checkpoint_every=0)
    finally:
        sys.settrace(None)
    return lines >= n


def _is_watched(frame):
    """Whether a frame is inside the part of monitor.watch that answers for Ctrl-C."""
    name = None
    while frame is not None and frame.f_code is not monitor.watch.__code__:
        name, frame = frame.f_code.co_name, frame.f_back
    return frame is not None and name in ("run", "tell", "close")


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer is at work")
@pytest.mark.filterwarnings("ignore::spiralnn.FitInterruptedWarning")
@pytest.mark.parametrize(
    ("callback", "stride"),
    [(None, 1), (call_back, 17), pytest.param(call_back, 1, marks=pytest.mark.long)],
    ids=["slices", "some steps", "steps"],
)
def test_ctrl_c_at_any_line_leaves_whole_steps(callback, stride, path, monkeypatch):
    monkeypatch.setattr(whole_file.os, "fsync", lambda file: None)  # for speed: hundreds of fits
    steps = 12
    if callback is None:  # slices of four steps, after which nothing is left of the parameters before
        monkeypatch.setattr("spiralnn.engine.pace.Pace.choose", lambda pace: (1, 4))
    whole = {n: digest(network(max_iter=n).fit(X, Y)) for n in range(1, steps + 3)}
    seen = set()
    for n in range(1, 10**4, stride):
        path.unlink(missing_ok=True)
        monkeypatch.setattr(monitor, "_last_interrupt", -math.inf)
        model = network(max_iter=steps, callback=callback)
        try:
            if not fit_with_ctrl_c_at_line(n, model, path):
                break
        except KeyboardInterrupt:
            assert model.n_iter_ == 0
            assert not path.exists()
            continue
        assert len(model.loss_curve_) == model.n_iter_ >= 1
        assert digest(model) == whole[model.n_iter_]
        assert os.listdir(path.parent) == ["run"]
        seen.add(model.n_iter_)
        model = network(max_iter=steps + 2).fit(X, Y, checkpoint=path, resume=True)
        assert digest(model) == whole[steps + 2]
    assert n > 100 and seen == ({4, 8, 12} if callback is None else set(range(1, steps + 1)))


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer is at work")
@pytest.mark.filterwarnings("ignore::spiralnn.FitInterruptedWarning")
@pytest.mark.parametrize("stride", [23, pytest.param(1, marks=pytest.mark.long)], ids=["some lines", "all"])
@over(*others[1:])
def test_ctrl_c_at_any_line_leaves_a_run_that_goes_on_to_the_same_bits(make, stride, path, monkeypatch):
    """In the middle of an epoch, or of a search along a line, too."""
    monkeypatch.setattr(whole_file.os, "fsync", lambda file: None)
    monkeypatch.setattr("spiralnn.engine.pace.Pace.choose", lambda pace: (1, 1))  # slices of one batch, or pass
    make, steps = make.by(make.solver, max_iter=3), 3
    whole = make().fit(X, Y)
    assert whole.n_iter_ == steps
    rows = np.random.RandomState(0).permutation(len(X))
    elsewhere = make().fit(X[rows], Y[rows])  # a model that was fitted before does not show through
    seen = set()
    for n in range(1, 10**4, stride):
        path.unlink(missing_ok=True)
        monkeypatch.setattr(monitor, "_last_interrupt", -math.inf)
        model = make().set_params(**elsewhere.get_params())
        try:
            if not fit_with_ctrl_c_at_line(n, model, path):
                break
        except KeyboardInterrupt:
            assert model.n_iter_ == 0
            assert not path.exists()
            continue
        done = model.n_iter_
        assert model.loss_curve_ == whole.loss_curve_[:done]
        assert np.isfinite(model.predict_proba(X)).all()
        if make.solver != "adam":
            assert digest(model) == digest(make(max_iter=done).fit(X, Y)) if done else np.isfinite(model.loss_)
        assert os.listdir(path.parent) == ["run"]
        seen.add(done)
        assert digest(make().fit(X, Y, checkpoint=path, resume=True)) == digest(whole)
    assert n > 100 and seen >= set(range(1, steps + 1))


@by_any_solver
def test_ctrl_c_returns_the_model_with_a_warning(make, path):
    model, unit = make(callback=interrupt_at(2)), UNITS.get(make.solver, "iteration")
    with pytest.warns(FitInterruptedWarning, match=f"^fit was interrupted after 3 of 40 {unit}s: ") as caught:
        assert model.fit(X, Y, checkpoint=path, checkpoint_every=1e9) is model
    assert caught[0].filename == __file__
    assert model.n_iter_ == len(model.loss_curve_) == 3 and not model.converged_
    assert digest(model) == digest(make(max_iter=3).fit(X, Y))
    assert len(array_file.read(path, checkpoint.FORMAT)[1]["losses"]) == 3


@both
def test_ctrl_c_before_the_first_step_is_raised(make, path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(passes.Passes, "run", interrupt)
    model = make()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, checkpoint=path)
    assert model.n_iter_ == len(model.loss_curve_) == 0
    assert not path.exists()


def test_ctrl_c_twice_within_a_second_leaves_a_loop_of_fits(monkeypatch):
    model = network(callback=interrupt_at(2))
    clock = iter([100.0, 100.9, 102.0, 102.9])
    monkeypatch.setattr(monitor.time, "monotonic", lambda: next(clock))
    with pytest.warns(FitInterruptedWarning):
        model.fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    with pytest.warns(FitInterruptedWarning):
        model.fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)


# ------------------------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@both_backends
@both
@pytest.mark.parametrize("steps", [1, 2, 3, 17, 39, 40])
def test_a_resumed_run_has_the_bits_of_a_whole_one(steps, make, backend, dtype, path):
    features = X.astype(dtype)
    make(backend=backend, max_iter=steps).fit(features, Y, checkpoint=path)
    model = make(backend=backend, n_threads=1, verbose=0).fit(features, Y, checkpoint=path, resume=True)
    whole = make(backend=backend).fit(features, Y)
    assert digest(model) == digest(whole)
    assert state_of(model).keys() == state_of(whole).keys()
    assert (model.n_iter_, model.loss_, model.converged_) == (40, whole.loss_, False)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@both_backends
@over(*others)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_run_by_another_solver_is_gone_on_with_to_the_same_bits(steps, make, backend, dtype, path):
    features = X.astype(dtype)
    whole = make(backend=backend).fit(features, Y)
    interrupted(make(backend=backend), steps, path, features)
    for _ in range(2):  # and what is over stays so
        model = make(backend=backend, n_threads=1, verbose=0).fit(features, Y, checkpoint=path, resume=True)
        assert digest(model) == digest(whole)
        assert state_of(model).keys() == state_of(whole).keys()
        for name in ("n_iter_", "loss_", "converged_", "n_passes_", "solver_"):
            assert getattr(model, name) == getattr(whole, name)


def test_a_run_without_a_checkpoint_to_go_on_from_starts_at_the_beginning(path):
    model = network().fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(network().fit(X, Y))
    assert path.exists()


def test_a_run_that_is_not_to_go_on_starts_at_the_beginning(path):
    network().fit(X, Y, checkpoint=path)
    model = network(max_iter=10).fit(X, Y, checkpoint=path)
    assert model.n_iter_ == 10
    assert len(array_file.read(path, checkpoint.FORMAT)[1]["losses"]) == 10


@both_backends
@both
@pytest.mark.parametrize("steps", [1, 9, 20, 27])
def test_tol_stops_a_resumed_run_where_it_stops_a_whole_one(steps, make, backend, path):
    settings = {"tol": 2e-3, "max_iter": 500, "backend": backend}
    whole = make(**settings).fit(X, Y)
    assert whole.converged_ and 10 < whole.n_iter_ < 500
    make(**{**settings, "max_iter": min(steps, whole.n_iter_)}).fit(X, Y, checkpoint=path)
    for _ in range(2):  # and what has converged stays so
        model = make(**settings).fit(X, Y, checkpoint=path, resume=True)
        assert model.converged_ and digest(model) == digest(whole)


@by_any_solver
def test_a_callback_goes_on_where_it_was(make, path):
    steps = []

    def callback(step, loss, model):
        steps.append(step)
        assert loss == model.loss_ == model.loss_curve_[step] and model.n_iter_ == step + 1
        return step == 4

    interrupted(make(), 2, path)
    model = make(callback=callback).fit(X, Y, checkpoint=path, resume=True)
    assert steps == [1, 2, 3, 4]
    assert digest(model) == digest(make(max_iter=5).fit(X, Y))
    # a run that it stopped is not gone on with
    model = make(callback=callback).fit(X, Y, checkpoint=path, resume=True)
    assert steps == [1, 2, 3, 4, 4] and model.n_iter_ == 5


@by_any_solver
def test_log_lines_go_on_where_they_were(make, path, capsys):
    make(verbose=2).fit(X, Y)
    first, *rest = capsys.readouterr().out.splitlines(keepends=True)
    interrupted(make(verbose=2), 3, path)
    before = capsys.readouterr().out
    make(verbose=2).fit(X, Y, checkpoint=path, resume=True)
    after = capsys.readouterr().out
    if make.solver == "auto":  # which says what it has chosen each time
        assert first == "solver: lbfgs\n" and after.startswith(first)
        after = after.removeprefix(first)
    assert before + after == "".join([first, *rest])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, from the reference
@both_backends
@both
def test_a_resumed_run_that_diverges_keeps_what_a_whole_one_keeps(make, backend, path):
    whole = make(step_size=1e60, backend=backend)
    with pytest.raises(FloatingPointError) as expected:
        whole.fit(X, Y)
    # the checkpoint of the last step before the one that is not finite: that step is taken back
    make(step_size=1e60, backend=backend, max_iter=whole.n_iter_ + 1).fit(X, Y, checkpoint=path)
    before = path.read_bytes()
    model = make(step_size=1e60, backend=backend)
    with pytest.raises(FloatingPointError) as raised:
        model.fit(X, Y, checkpoint=path, resume=True)
    assert str(raised.value) == str(expected.value)
    assert digest(model) == digest(whole) and model.n_iter_ == whole.n_iter_
    assert path.read_bytes() == before


def test_a_start_that_is_drawn_anew_is_that_of_the_checkpoint(path):
    for random_state in (None, np.random.RandomState(5)):
        path.unlink(missing_ok=True)
        model = interrupted(network(random_state=random_state), 7, path)
        curve = model.loss_curve_
        model = network(random_state=random_state).fit(X, Y, checkpoint=path, resume=True)
        assert model.loss_curve_[:7] == curve and model.n_iter_ == 40


CHANGES = {
    "step_size": ({"step_size": 0.5}, "step_size is 0.5 here and 1.0 there"),
    "reg": ({"reg": 0.0}, "reg is 0.0 here and 0.001 there"),
    "tol": ({"tol": 0.1}, "tol is 0.1 here and None there"),
    "backend": ({"backend": "reference"}, "backend is 'reference' here and 'fused' there"),
    "hidden_size": ({"hidden_size": 6}, "hidden_size is 6 here and 5 there; the start differs"),
    "random_state": ({"random_state": 1}, "the start differs"),
    "no random_state": ({"random_state": None}, "the start differs"),
    "init_scale": ({"init_scale": 0.02}, "init_scale is 0.02 here and 0.01 there; the start differs"),
    "n_iter_no_change": ({"n_iter_no_change": 9}, "n_iter_no_change is 9 here and 10 there"),
    "init": ({"init": [np.ones((2, 5)), np.ones(5), np.ones((5, 3)), np.ones(3)]}, "the start differs"),
    "all": ({"reg": 0, "step_size": 2}, "step_size is 2.0 here and 1.0 there; reg is 0.0 here and 0.001 there"),
}


CHANGES_IN_BATCHES = {
    "max_iter": ({"max_iter": 41}, "max_iter is 41 here and 40 there"),  # the step size falls with it
    "batch_size": ({"batch_size": 9}, "batch_size is 9 here and 8 there"),
    "learning_rate": ({"learning_rate": "adaptive"}, "learning_rate is 'adaptive' here and 'linear' there"),
    "beta_1": ({"beta_1": 0.5}, "beta_1 is 0.5 here and 0.9 there"),
    "beta_2": ({"beta_2": 0.5}, "beta_2 is 0.5 here and 0.999 there"),
    "epsilon": ({"epsilon": 1.0}, "epsilon is 1.0 here and 1e-08 there"),
    "shuffle": ({"shuffle": False}, "shuffle is False here and True there"),
    "early_stopping": ({"early_stopping": True}, "early_stopping is True here and False there"),
    "solver": ({"solver": "sgd"}, "solver is 'sgd' here and 'adam' there"),
}


def assert_refused(model, error, message, path, X=X, Y=Y, **arguments):
    """One error, and neither the fitted state nor the checkpoint changes."""
    max_iter = model.max_iter
    model.set_params(max_iter=2, init=None, tol=None).fit(X[:, :2], Y).set_params(max_iter=max_iter)
    state, content = digest(model), path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as raised:
        model.fit(X, Y, **{"checkpoint": path, "resume": True, **arguments})
    assert message in str(raised.value)
    assert digest(model) == state and model.n_iter_ == 2
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize("case", CHANGES)
def test_the_checkpoint_of_another_run_is_refused(case, path):
    interrupted(network(), 5, path)
    changes, message = CHANGES[case]
    model = network(**changes)
    fitted = network(max_iter=2).fit(X, Y)
    state = digest(fitted)
    fitted.set_params(**model.get_params())
    with pytest.raises(ValueError) as raised:
        fitted.fit(X, Y, checkpoint=path, resume=True)
    assert str(raised.value) == f"{path} is the checkpoint of another run: {message}"
    assert not isinstance(raised.value, ModelFileError)
    assert digest(fitted) == state


@pytest.mark.parametrize("solver", ["auto", "sgd", "adam", "lbfgs"])
def test_the_checkpoint_of_another_solver_is_refused(solver, path):
    interrupted(network(), 5, path)
    model = network(solver=solver)
    found = "lbfgs" if solver == "auto" else solver
    with pytest.raises(ValueError, match=f"another run: solver is '{found}' here and 'gd' there"):
        model.fit(X, Y, checkpoint=path, resume=True)
    assert state_of(model) == {}


@pytest.mark.parametrize("case", CHANGES_IN_BATCHES)
def test_the_checkpoint_of_other_batches_is_refused(case, path):
    batches = network.by("adam", batch_size=8)
    interrupted(batches(), 5, path)
    changes, message = CHANGES_IN_BATCHES[case]
    model = batches(**changes)
    with pytest.raises(ValueError, match=f"is the checkpoint of another run: .*{message}"):
        model.fit(X, Y, checkpoint=path, resume=True)
    assert state_of(model) == {}
    # what its solver does not ask for may be another
    batches(momentum=0.5, nesterovs_momentum=False, n_threads=2).fit(X, Y, checkpoint=path, resume=True)


def test_the_checkpoint_of_other_data_is_refused(path):
    interrupted(network(), 5, path)
    other, labels = X.copy(), Y.copy()
    other[-1, -1] = np.nextafter(other[-1, -1], 2)
    labels[-1] = 0
    for features, y, message in (
        (other, Y, "X differs"),
        (X.astype(np.float32), Y, "X differs; the start differs"),
        (np.hstack([X, X]), Y, "X differs; the start differs"),
        (X[:-1], Y[:-1], "X differs; y differs"),
        (X, labels, "y differs"),
        (other, labels, "X differs; y differs"),
    ):
        with pytest.raises(ValueError, match=f"is the checkpoint of another run: {message}$"):
            network().fit(features, y, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="model is 'SoftmaxClassifier' here and 'TwoLayerNet' there"):
        linear().fit(X, Y, checkpoint=path, resume=True)


def test_the_checkpoint_of_other_weights_is_refused(path):
    weights = np.linspace(0.5, 2.0, len(X))
    interrupted(network(max_iter=5), 5, path, sample_weight=weights)
    whole = network().fit(X, Y, weights)
    model = network().fit(X, Y, weights, checkpoint=path, resume=True)
    assert digest(model) == digest(whole)
    for changes, other in (({}, weights[::-1]), ({}, None), ({"class_weight": {0: 2.0}}, weights)):
        with pytest.raises(ValueError, match="another run: sample_weight or class_weight differs$"):
            network(**changes).fit(X, Y, other, checkpoint=path, resume=True)


def test_the_same_data_in_other_clothes_is_not_refused(path):
    interrupted(network(), 5, path)
    whole = digest(network().fit(X, Y))
    names = np.array(["a", "b", "c"])[Y]
    swapped = Y.astype(np.dtype(np.int64).newbyteorder())
    for features, y in ((X.tolist(), Y.tolist()), (np.asfortranarray(X), Y.astype(np.int8)), (X, names), (X, swapped)):
        assert digest(network(max_iter=40).fit(features, y, checkpoint=path, resume=True)) == whole


def test_a_large_array_is_digested_in_blocks(monkeypatch):
    arrays = X, np.asfortranarray(X), X[::-2, ::-1], np.arange(7, dtype=np.uint8)[::3], np.array(3.0), X[:0]
    whole = [array_file.digest_of(a) for a in arrays]
    monkeypatch.setattr(array_file, "BLOCK", 32)
    assert [array_file.digest_of(a) for a in arrays] == whole
    assert whole[0] == whole[1] and len(set(whole)) == 5
    assert array_file.digest_of(X, Y) != array_file.digest_of(Y, X)
    zeros = np.zeros(4), np.zeros((2, 2)), np.zeros((4, 1)), np.zeros(4, np.int64), np.zeros(8, np.float32)
    assert len({array_file.digest_of(a) for a in zeros}) == 5


def test_fewer_steps_than_were_done_are_refused(path):
    network().fit(X, Y, checkpoint=path)
    with pytest.raises(ValueError, match="max_iter is 39, but .* holds 40 steps already"):
        network(max_iter=39).fit(X, Y, checkpoint=path, resume=True)


def test_a_finished_run_is_not_run_again(path, monkeypatch):
    whole = network().fit(X, Y, checkpoint=path)
    before = path.stat()

    def no_slice(*args):
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(passes.Passes, "run", no_slice)
    model = network().fit(X, Y, checkpoint=path, resume=True)
    assert digest(model) == digest(whole) and model.n_iter_ == 40
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"resume": True, "checkpoint": None}, ValueError, "resume is True, but checkpoint is None"),
        ({"resume": "yes"}, TypeError, "resume is 'yes', expected True or False"),
        ({"checkpoint": 5}, TypeError, "checkpoint is 5, expected the path of a file or None"),
        ({"checkpoint": b"run"}, TypeError, "checkpoint is b'run', expected the path of a file or None"),
        ({"checkpoint": ""}, ValueError, "checkpoint is '', a folder, expected the path of a file"),
        ({"checkpoint": "/"}, ValueError, "checkpoint is '/', a folder, expected the path of a file"),
        ({"checkpoint_every": -1}, ValueError, "checkpoint_every is -1, expected a finite number of at least 0"),
        ({"checkpoint_every": None}, TypeError, "checkpoint_every is None, expected a finite number of at least 0"),
    ],
)
@both
def test_bad_arguments_of_fit(make, arguments, error, message, path):
    assert_refused(make(), error, message, path, **arguments)
    assert not path.exists()


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="a folder, expected the path of a file"):
        network().fit(X, Y, checkpoint=tmp_path)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------- damaged checkpoints


def test_a_damaged_checkpoint_is_refused(path):
    interrupted(network(), 5, path)
    content = path.read_bytes()
    whole = digest(network().fit(X, Y))
    draw = np.random.RandomState(0)
    damaged = [content[:n] for n in draw.choice(len(content), 100, replace=False)]
    for place in draw.choice(8 * len(content), 200, replace=False):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        model = network()
        try:
            model.fit(X, Y, checkpoint=path, resume=True)
        except ModelFileError as error:
            refused += 1
            assert str(path) in str(error)
            assert state_of(model) == {}
        else:
            assert digest(model) == whole
    assert 250 < refused < 300


def test_a_model_is_no_checkpoint_and_a_checkpoint_no_model(path):
    network().fit(X, Y).save(path)
    message = "no checkpoint: its header says 'spiralnn-model', expected 'spiralnn-checkpoint'"
    assert_refused(network(), ModelFileError, message, path)
    network().fit(X, Y, checkpoint=path)
    with pytest.raises(ModelFileError, match="no model file: its header says 'spiralnn-checkpoint'"):
        spiralnn.load(path)


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda h, a: a.pop("losses"), "its parts do not make a state of this run"),
        (lambda h, a: a.update(losses=a["losses"][:0]), "its parameters are not finite"),
        (lambda h, a: a.update(losses=a["losses"][None]), "its parts do not make a state of this run"),
        (lambda h, a: a.update(losses=a["losses"].astype(np.float32)), "its parts do not make a state of this run"),
        (lambda h, a: a["losses"].__setitem__(0, np.nan), "its losses are not finite"),
        (lambda h, a: a["now_0"].__setitem__(0, np.inf), "its parameters are not finite"),
        (lambda h, a: a.update(now_0=a["now_0"].T.copy()), "its parts do not make a state of this run"),
        (lambda h, a: a.pop("before_3"), "its parts do not make a state of this run"),
        (lambda h, a: a.update(more=a["now_0"]), "its parts do not make a state of this run"),
        (lambda h, a: h.pop("run"), "it does not say whose checkpoint it is"),
        (lambda h, a: h.update(run=[]), "it does not say whose checkpoint it is"),
        (lambda h, a: h.update(run={"settings": 1, "data": 2}), "it does not say whose checkpoint it is"),
    ],
)
def test_parts_that_make_no_state_are_refused(tamper, message, path):
    interrupted(network(), 5, path)
    header, arrays = array_file.read(path, checkpoint.FORMAT)
    tamper(header, arrays)
    array_file.write(path, checkpoint.FORMAT, {"run": header["run"]} if "run" in header else {}, arrays)
    assert_refused(network(), ModelFileError, message, path)


def test_a_checkpoint_of_a_newer_version_is_refused(path):
    interrupted(network(), 5, path)
    header, arrays = array_file.read(path, checkpoint.FORMAT)
    version = checkpoint.FORMAT.version
    array_file.write(path, checkpoint.FORMAT._replace(version=version + 1), {"run": header["run"]}, arrays)
    assert_refused(network(), ModelFileError, f"format version {version + 1}, this spiralnn reads {version}", path)


# ----------------------------------------------------------------------------------------------- disks that do not take


def test_checkpoints_come_when_they_are_due(path, monkeypatch):
    written = []
    clock = [0.0]
    write = array_file.write
    monkeypatch.setattr(array_file, "write", lambda *a: (written.append(len(a[3]["losses"])), write(*a)))
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])

    def callback(step, loss, model):
        clock[0] += 1.0

    network(callback=callback).fit(X, Y, checkpoint=path, checkpoint_every=7)
    assert written == [1, 8, 15, 22, 29, 36, 40]


def test_a_disk_that_fails_for_a_while_is_told_once_and_tried_again(path, monkeypatch):
    network(max_iter=5).fit(X, Y, checkpoint=path)
    before = path.read_bytes()
    tries = []
    write = whole_file.os.fsync

    def fail_at_first(file):
        tries.append(path.read_bytes() == before)
        if len(tries) < 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file)

    monkeypatch.setattr(whole_file.os, "fsync", fail_at_first)
    model = network(callback=lambda *_: False)
    with pytest.warns(CheckpointWarning) as caught:
        model.fit(X, Y, checkpoint=path, checkpoint_every=0, resume=True)
    assert len(caught) == 1
    assert f"no checkpoint could be written to {str(path)!r} (No space left on device)" in str(caught[0].message)
    assert tries == [True] * 4 + [False] * 31
    assert digest(model) == digest(network().fit(X, Y))
    assert len(array_file.read(path, checkpoint.FORMAT)[1]["losses"]) == 40
    assert os.listdir(path.parent) == ["run"]


def places_that_cannot_be_written(folder):
    (folder / "file").write_text("in the way")
    return [folder / "file" / "run", folder / "missing" / "run"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_is_told_once(resume, tmp_path):
    for place in places_that_cannot_be_written(tmp_path):
        with pytest.warns(CheckpointWarning, match="no checkpoint could be written to") as caught:
            model = network().fit(X, Y, checkpoint=place, checkpoint_every=0, resume=resume)
        assert len(caught) == 1
        assert digest(model) == digest(network().fit(X, Y))
    assert os.listdir(tmp_path) == ["file"]


def test_a_checkpoint_that_may_not_grow_stays_as_it_was(path):
    resource = pytest.importorskip("resource")
    interrupted(network(), 5, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1, hard))
    try:
        with pytest.warns(CheckpointWarning, match="File too large") as caught:
            model = network().fit(X, Y, checkpoint=path, checkpoint_every=0, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(caught) == 1
    assert digest(model) == digest(network().fit(X, Y))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["run"]


@processes
@pytest.mark.parametrize("options", ["size=256k", "ro"])
def test_a_real_disk_that_is_full_or_read_only(options, tmp_path):
    """In a file system of its own: where there is room for a while, and where there is none."""
    mount = f"mount -t tmpfs -o {options} none {tmp_path}"
    try:
        subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system may be mounted here")
    case, steps, place = "linear float64", 100_000, tmp_path / "run"
    program = f'"{sys.executable}" "{PROGRAM}" "{case}" {steps} {place}'
    command = f"{mount} && {program} && ls {tmp_path} && cat {place}"
    result = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True)
    ready, report, files, *content = result.stdout.split(b"\n", 3)
    report = json.loads(report)
    reason = "No space left on device" if options != "ro" else "Read-only file system"
    assert [kind for kind, _ in report["warnings"]] == ["CheckpointWarning"]
    assert reason in report["warnings"][0][1]
    model, features, labels = build(case, max_iter=steps)
    assert report["digest"] == digest(model.fit(features, labels))
    if options != "ro":
        assert files == b"run"
        place.write_bytes(content[0])
        losses = array_file.read(place, checkpoint.FORMAT)[1]["losses"]
        assert losses.tolist() == model.loss_curve_[: len(losses)] and 0 < len(losses) < steps


# ------------------------------------------------------------------------------------------------------- progress bar


def bar_output(capsys):
    out, err = capsys.readouterr()
    return out, [line for line in re.split(r"[\r\n]", err) if line.strip()]


@by_any_solver
def test_a_progress_bar_ends_at_the_last_step(make, capsys):
    model, unit = make(progress=True, max_iter=5).fit(X, Y), UNITS.get(make.solver, "iteration")
    out, shown = bar_output(capsys)
    assert out == ""
    found = re.search(rf"100%\|.*\| 5/5 .*{unit}s/s, loss (\d\.\d{{6}}), [1-9]\S* passes/s\]", shown[-1])
    assert found[1] == f"{model.loss_:f}"
    assert digest(model) == digest(make(max_iter=5).fit(X, Y))


def test_a_progress_bar_of_a_resumed_run_starts_where_it_was(path, capsys):
    interrupted(network(), 10, path)
    capsys.readouterr()
    network(progress=True).fit(X, Y, checkpoint=path, resume=True)
    _, shown = bar_output(capsys)
    assert "| 10/40 " in shown[0] and "| 40/40 " in shown[-1]


def test_log_lines_beside_a_progress_bar_stay_as_they_are(capsys):
    network(verbose=10).fit(X, Y)
    plain = capsys.readouterr().out
    network(verbose=10, progress=True).fit(X, Y)
    out, shown = bar_output(capsys)
    assert out == plain
    assert shown and "40/40" in shown[-1]


def test_a_progress_bar_shows_how_far_a_run_came_that_ended_early(capsys):
    network(progress=True, callback=lambda step, *_: step == 6).fit(X, Y)
    assert "| 7/40 " in bar_output(capsys)[1][-1]
    with pytest.warns(FitInterruptedWarning):
        network(progress=True, callback=interrupt_at(4)).fit(X, Y)
    assert "| 5/40 " in bar_output(capsys)[1][-1]
    with pytest.raises(FloatingPointError):
        network(progress=True, step_size=1e300).fit(X, Y)
    assert "/40 " in bar_output(capsys)[1][-1]
    model = network(progress=True, tol=1.0).fit(X, Y)
    assert model.converged_ and f"| {model.n_iter_}/40 " in bar_output(capsys)[1][-1]


def test_a_progress_bar_is_updated_ten_times_a_second_at_most(monkeypatch):
    updates, clock = [], [0.0]

    def callback(step, loss, model):
        clock[0] += 0.03

    refresh = tqdm.auto.tqdm.refresh
    monkeypatch.setattr(tqdm.auto.tqdm, "refresh", lambda self, **o: (updates.append(clock[0]), refresh(self))[1])
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    network(progress=True, callback=callback, max_iter=1000).fit(X, Y)
    gaps = np.diff(updates[1:-1])  # the first is at the beginning, the last at the end
    assert len(updates) > 200 and gaps.min() >= 0.1 - 1e-9


def test_a_progress_bar_leaves_no_thread_and_suits_notebooks():
    assert isinstance(display.Bar(10)._bar, tqdm.auto.tqdm)
    before = set(threading.enumerate())
    network(progress=True).fit(X, Y)
    assert set(threading.enumerate()) <= before


@both
def test_without_tqdm_a_progress_bar_is_refused_before_training(make, monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    model = make(progress=True)
    with pytest.raises(ImportError, match=r"progress=True needs tqdm: pip install 'spiralnn\[plot\]'"):
        model.fit(X, Y)
    assert state_of(model) == {}
    make(progress=False).fit(X, Y)


def test_tqdm_is_imported_only_when_asked_for():
    code = (
        "import sys, spiralnn; spiralnn.TwoLayerNet(max_iter=1).fit([[0.], [1.]], [0, 1]); print('tqdm' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout == "False\n"
