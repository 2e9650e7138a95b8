"""Fits by every solver that are killed, or end by Ctrl-C, in children of this process."""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from children import answer_of, fork
from problems import JIT

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "solvers"))

from solver_problems import PAIRS, data, digest, make  # noqa: E402

from spiralnn.engine import checkpoint  # noqa: E402
from spiralnn.files import array_file  # noqa: E402

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or not JIT, reason="forks, of runs at full speed")
solvers = pytest.mark.parametrize(("kind", "solver"), PAIRS)

# Iterations, enough for a tenth of a second or some; Newton's and L-BFGS's do not end before
LENGTHS = {"gd": 4000, "sgd": 600, "adam": 600, "lbfgs": 400, "newton-cholesky": 60}
X, Y, WEIGHTS = data(300, D=6, spread=0.7)


def build(kind, solver, **changes):
    settings = {"max_iter": LENGTHS[solver], "early_stopping": False}
    if solver in ("lbfgs", "newton-cholesky"):
        settings["tol"] = 0.0
    return make(kind, solver, **{**settings, **changes})


def kill_after(seconds, work):
    """A child that works so long at most, and is killed; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def check_kills(kind, solver, kills, folder, seed, **settings):
    """Kill runs that go on from each other's checkpoints, until so many were killed; then the rest must end in the bits
    of a whole run."""
    draw, place, killed, steps = np.random.default_rng(seed), folder / "run", 0, 0
    start = time.monotonic()
    whole = build(kind, solver, **settings).fit(X, Y, sample_weight=WEIGHTS)
    length = min(time.monotonic() - start, 1.0)

    def work():
        build(kind, solver, **settings).fit(
            X, Y, sample_weight=WEIGHTS, checkpoint=place, checkpoint_every=0, resume=True
        )

    while killed < kills:
        if not kill_after(draw.uniform(0.0, length), work):  # it is over: from the beginning
            place.unlink(missing_ok=True)
            steps, length = 0, 0.8 * length
            continue
        killed += 1
        if place.exists():
            arrays = array_file.read(place, checkpoint.FORMAT)[1]
            assert steps <= len(arrays["losses"]) <= whole.n_iter_
            steps = len(arrays["losses"])
    model = build(kind, solver, **settings)
    model.fit(X, Y, sample_weight=WEIGHTS, checkpoint=place, resume=True)
    assert digest(model) == digest(whole)
    assert (model.n_iter_, model.n_passes_, model.converged_) == (whole.n_iter_, whole.n_passes_, whole.converged_)
    assert model.validation_scores_ == whole.validation_scores_
    assert os.listdir(folder) == ["run"]


@solvers
def test_a_killed_fit_goes_on_to_the_same_bits(kind, solver, tmp_path):
    check_kills(kind, solver, 2, tmp_path, seed=0)


@solvers
def test_a_killed_fit_with_early_stopping_goes_on_to_the_same_bits(kind, solver, tmp_path):
    check_kills(kind, solver, 2, tmp_path, seed=1, early_stopping=True, n_iter_no_change=40)


@pytest.mark.long
@solvers
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_fit_that_is_killed_again_and_again_goes_on_to_the_same_bits(kind, solver, backend, tmp_path):
    check_kills(kind, solver, 10, tmp_path, seed=2, backend=backend)


def interrupted(kind, solver, seconds, X=X, Y=Y):
    """What a fit without end comes to where Ctrl-C comes after so many seconds."""

    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        model = build(kind, solver, max_iter=10**8)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                os.write(ready, b".")
                model.fit(X, Y)
            except KeyboardInterrupt:
                return {"raised": True, "n_iter": model.n_iter_}
        return {
            "raised": False,
            "warnings": [[w.category.__name__, str(w.message)] for w in caught],
            "n_iter": model.n_iter_,
            "n_losses": len(model.loss_curve_),
            "finite": bool(np.isfinite(model.coefs_[0]).all()),
            "score": model.score(X, Y),
            "digest": digest(model),
        }

    build(kind, solver, max_iter=1).fit(X, Y)  # what is loaded here need not be there
    told, ready = os.pipe()
    child, answer = fork(work, 60)
    assert os.read(told, 1) == b"."
    os.close(told)
    os.close(ready)
    time.sleep(seconds)
    os.kill(child, signal.SIGINT)
    return answer_of(child, answer)


@pytest.mark.parametrize(("kind", "solver"), [pair for pair in PAIRS if pair[1] in ("gd", "sgd", "adam")])
@pytest.mark.parametrize("seconds", [0.1, pytest.param(0.7, marks=pytest.mark.long)])
def test_ctrl_c_returns_a_usable_model(kind, solver, seconds):
    # linear step sizes of so many epochs stay as they are, nearly: nothing ends before
    report = interrupted(kind, solver, seconds)
    unit = "step" if solver == "gd" else "epoch"
    n = report["n_iter"]
    assert not report["raised"], json.dumps(report)
    [[name, message]] = report["warnings"]
    assert name == "FitInterruptedWarning"
    assert message == f"fit was interrupted after {n} of {10**8} {unit}s: the model is as they left it"
    assert report["n_losses"] == n and report["finite"] and report["score"] > 0.5
    if solver == "gd":
        assert report["digest"] == digest(build(kind, solver, max_iter=n).fit(X, Y))


def test_ctrl_c_within_l_bfgs():
    # so many rows that an iteration takes some milliseconds
    features, labels, _ = data(60_000, D=30, K=8, spread=0.3)
    report = interrupted("network", "lbfgs", 0.4, features, labels)
    assert not report["raised"]
    [[name, message]] = report["warnings"]
    assert name == "FitInterruptedWarning"
    assert message.startswith(f"fit was interrupted after {report['n_iter']} of {10**8} iterations: ")
    assert report["finite"] and report["n_losses"] == report["n_iter"]
