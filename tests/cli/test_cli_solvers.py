"""`spiralnn fit` with every solver: what it comes to, its own settings, what it has not, checkpoints."""

import os
import re

import numpy as np
import pytest
from calls import call, refusal, report, same_bits

import spiralnn
from spiralnn import NoDescentWarning
from spiralnn.estimators import ending, training
from spiralnn.solvers.choice import AUTO, SOLVERS

MODELS = {"linear": spiralnn.SoftmaxClassifier, "two-layer": spiralnn.TwoLayerNet}
BATCHES = {"batch_size": 32, "learning_rate": "linear", "max_iter": 375}  # of 120 rows: 1500 updates
NONE = {"batch_size": None, "learning_rate": None}
# what the help says of each solver, of the linear model and the network
OWN = {
    "gd": ({"step_size": 1.0, "reg": 1e-3, **NONE}, {"linear": 200, "two-layer": 10_000}),
    "sgd": ({"step_size": 0.1, "reg": 1e-4, **BATCHES}, {}),
    "adam": ({"step_size": 0.01, "reg": 1e-4, **BATCHES}, {}),
    "lbfgs": ({"step_size": None, "reg": 1e-4, **NONE}, {"linear": 1000, "two-layer": 200}),
    "newton-cholesky": ({"step_size": None, "reg": 1e-4, **NONE}, {"linear": 100}),
}
UNITS = {"gd": "steps", "sgd": "epochs", "adam": "epochs", "lbfgs": "iterations", "newton-cholesky": "iterations"}
CASES = [(model, solver) for model in MODELS for solver in SOLVERS]
CASES.remove(("two-layer", "newton-cholesky"))
each_case = pytest.mark.parametrize(("model", "solver"), CASES)


def named(model, solver):
    """Options, and the same as arguments of an estimator."""
    options, arguments = ("--model", model, "--solver", solver), {"solver": solver, "random_state": 0}
    return (options, arguments) if model == "linear" else ((*options, "--hidden", 8), {**arguments, "hidden_size": 8})


@each_case
def test_each_solver_is_the_library_s(model, solver, spiral, capsys):
    options, arguments = named(model, solver)
    found = report(capsys, "fit", "X.npy", "y.npy", *options, "--out", "model.npz")
    net = MODELS[model](**arguments).fit(*spiral)
    assert same_bits("model.npz", net)
    assert found["solver"] == net.solver_ and (solver == AUTO or found["solver"] == solver)
    for name in ("loss", "n_iter", "n_passes", "converged"):
        assert found[name] == getattr(net, f"{name}_"), name
    own, max_iter = OWN[net.solver_]
    for name, value in ({**own, "max_iter": max_iter[model]} if max_iter else own).items():
        assert found[name] == value, name

    code, out, err = call(capsys, "fit", "X.npy", "y.npy", *options)
    assert (code, err) == (0, "")
    hidden = " of 8 hidden units" if model == "two-layer" else ""
    line = rf"{model} model{hidden}, {net.solver_}: {net.n_iter_} {UNITS[net.solver_]} in \d+\.\d{{3}} s, "
    assert re.fullmatch(line + f"{net.n_passes_:.0f} passes over the rows", out.splitlines()[1])


def test_options_of_batches_reach_the_model(spiral, capsys):
    options, arguments = named("two-layer", "sgd")
    options = (*options, "--batch-size", 50, "--learning-rate", "adaptive", "--step-size", 0.2, "--tol", 0.01,
               "--n-iter-no-change", 3, "--max-iter", 60, "--reg", 0.002, "--init-scale", 0.4)  # fmt: skip
    found = report(capsys, "fit", "X.npy", "y.npy", *options, "--out", "model.npz")
    net = spiralnn.TwoLayerNet(
        **arguments, batch_size=50, learning_rate="adaptive", step_size=0.2, tol=0.01, n_iter_no_change=3, max_iter=60,
        reg=0.002, init_scale=0.4,
    ).fit(*spiral)  # fmt: skip
    assert same_bits("model.npz", net)
    assert (found["batch_size"], found["learning_rate"], found["step_size"]) == (50, "adaptive", 0.2)
    assert (found["reg"], found["max_iter"], found["converged"]) == (0.002, 60, net.converged_)


def test_a_batch_size_makes_auto_take_batches(spiral, capsys):
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--batch-size", 120, "--max-iter", 40)
    found = report(capsys, *fit)
    assert (found["solver"], found["batch_size"]) == ("adam", 120)
    code, out, err = call(capsys, *fit, "--verbose", 20)
    assert (code, err) == (0, "")
    lines = [line.split(": loss ")[0] for line in out.splitlines()]
    assert lines[:3] == ["solver: adam", "epoch 0", "epoch 20"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch-size", 121), "batch_size is 121, but there are 120 rows to train on"),
        (("--batch-size", 109, "--early-stopping"), "batch_size is 109, but there are 108 rows to train on"),
        (("--batch-size", 91, "--test-fraction", 0.25), "batch_size is 91, but there are 90 rows to train on"),
        (("--learning-rate", "linear"), "learning_rate is 'linear', but solver 'lbfgs' has no batches"),
        (("--solver", "adam", "--step-size", 0), "step_size is 0.0, expected a positive number"),
        (("--solver", "sgd", "--step-size=-1"), "step_size is -1.0, expected a positive number"),
    ],
)
def test_what_does_not_fit_the_rows_is_told_before_anything_starts(options, message, spiral, capsys):
    fit = ("fit", "X.npy", "y.npy", "--out", "model.npz", "--checkpoint", "run.npz")
    assert refusal(capsys, *fit, *options).startswith(message)


def test_newton_has_its_limits(spiral, capsys):
    np.save("wide.npy", np.random.RandomState(0).randn(120, 150))
    message = refusal(capsys, "fit", "wide.npy", "y.npy", "--model", "linear", "--solver", "newton-cholesky")
    assert message == "solver is 'newton-cholesky', but (inputs + 1) (classes - 1) is 302, expected at most 300"


def test_no_way_down_is_told_in_one_line(spiral, capsys, monkeypatch):
    # which rows lead into a kink depends on the processor's rounding, so a run that ended well is said to have done so
    def found_nothing(run, choice, before=0):
        run.status = ending.NO_DESCENT
        ending.check_end(run, choice, before)

    monkeypatch.setattr(training, "check_end", found_nothing)
    with pytest.warns(NoDescentWarning) as warned:
        spiralnn.SoftmaxClassifier(solver="lbfgs").fit(*spiral)
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--solver", "lbfgs", "--out", "model.npz")
    for shown in ((), ("--quiet",), ("--json",)):
        code, out, err = call(capsys, *fit, *shown)
        assert (code, err) == (0, f"spiralnn fit: warning: {warned[0].message}\n")
        assert os.path.exists("model.npz") and (not out) == ("--quiet" in shown)
        os.remove("model.npz")


@each_case
def test_a_run_that_was_cut_goes_on_to_the_same_bits(model, solver, spiral, capsys):
    options, arguments = named(model, solver)
    net = MODELS[model](**arguments, callback=lambda step, loss, model: step == 1)
    net.fit(*spiral, checkpoint="run.npz", checkpoint_every=0.0)
    assert net.n_iter_ == 2
    fit = ("fit", "X.npy", "y.npy", *options, "--checkpoint", "run.npz", "--resume")
    for changed, message in [
        (("--reg", 0.5), "reg is 0.5 here and "),
        (("--class-weight", "balanced", "--sample-weight", "y.npy"), "sample_weight or class_weight differs"),
        (("--validation", "X.npy", "y.npy"), "the validation rows differs"),
    ]:
        found = refusal(capsys, *fit, *changed)
        assert found.startswith("run.npz is the checkpoint of another run: ") and message in found
    if model == "two-layer" or solver in ("gd", "sgd", "adam"):  # the others draw nothing
        assert refusal(capsys, *fit, "--seed", 1).startswith("run.npz is the checkpoint of another run: ")
    if solver != AUTO:
        other = "lbfgs" if solver == "gd" else "gd"
        found = refusal(capsys, *fit, "--solver", other)
        assert f"solver is {other!r} here and {solver!r} there" in found
    found = report(capsys, *fit, "--out", "model.npz")
    whole = MODELS[model](**arguments).fit(*spiral)
    assert found["n_iter"] == whole.n_iter_ > 2 and same_bits("model.npz", whole)
    # where the step size falls to zero at the last epoch, there is no going on after it
    longer = (*fit, "--max-iter", found["max_iter"] + 10)
    if found["learning_rate"] == "linear":
        assert f"max_iter is {longer[-1]} here and {found['max_iter']} there" in refusal(capsys, *longer)
    else:
        more = MODELS[model](**arguments, max_iter=longer[-1]).fit(*spiral)
        report(capsys, *longer, "--out", "model.npz")
        assert same_bits("model.npz", more)


@pytest.mark.parametrize("early_stopping", [False, True])
@each_case
def test_a_run_that_is_over_is_not_gone_on_with(model, solver, early_stopping, spiral, capsys):
    options, arguments = named(model, solver)
    net = MODELS[model](**arguments, early_stopping=early_stopping)
    net.fit(*spiral, checkpoint="run.npz")
    fit = ("fit", "X.npy", "y.npy", *options, *["--early-stopping"] * early_stopping, "--checkpoint", "run.npz")
    found = report(capsys, *fit, "--resume", "--out", "model.npz")
    assert same_bits("model.npz", net)
    for name in ("n_iter", "n_passes", "converged"):
        assert found[name] == getattr(net, f"{name}_"), name


def test_a_run_is_judged_on_where_it_was_cut(spiral, capsys):
    X, y = spiral
    options, arguments = named("two-layer", "adam")
    arguments |= {"early_stopping": True, "n_iter_no_change": 20}
    cut = spiralnn.TwoLayerNet(**arguments, callback=lambda step, loss, model: step == 4)
    cut.fit(X, y, checkpoint="run.npz", checkpoint_every=0.0)
    fit = ("fit", "X.npy", "y.npy", *options, "--early-stopping", "--checkpoint", "run.npz", "--resume")
    message = refusal(capsys, *fit, "--n-iter-no-change", 19)
    assert "n_iter_no_change is 19 here and 20 there" in message
    found = report(capsys, *fit, "--n-iter-no-change", 20, "--out", "model.npz")
    whole = spiralnn.TwoLayerNet(**arguments).fit(X, y)
    assert same_bits("model.npz", whole) and found["best_validation_accuracy"] == whole.best_validation_score_


def test_the_help_says_what_each_solver_s_own_settings_are(capsys):
    code, out, _ = call(capsys, "fit", "--help")
    text = " ".join(out.split()).replace("newton- cholesky", "newton-cholesky")
    assert code == 0
    assert "(default: gd 1, sgd 0.1, adam 0.01; needs one of these)" in text
    assert "(default: 1e-3 for gd, else 1e-4)" in text
    assert "steps (gd: 200, network 10000), of iterations (lbfgs: 1000, network 200; newton-cholesky: 100)" in text
    assert "(default: auto)" in text and "(default: linear, to zero" in text and "(default: 32, from 2048" in text
    assert "(default: 10)" in text and "(default: 0.1)" in text
