"""`spiralnn fit`: options reach the model, what is reported and shown, weights."""

import contextlib
import json
import os
import re
import struct

import numpy as np
import pytest
from calls import call, hidden, needs_posix, refusal, report, same_bits, write
from commands import run, start

import spiralnn
from spiralnn.cli import console


def test_from_arrays_to_labels_in_processes(spiral, folder):
    X, y = spiral
    options = ("--solver", "gd", "--model", "two-layer", "--hidden", 16, "--max-iter", 50, "--step-size", 0.5,
               "--reg", "1e-3", "--seed", 0, "--threads", 2, "--dtype", "float32", "--out", "model.npz")  # fmt: skip
    code, out, err = run("fit", "X.npy", "y.npy", *options, cwd=folder)
    assert (code, err) == (0, [])
    rows = X.astype(np.float32)
    net = spiralnn.TwoLayerNet(solver="gd", hidden_size=16, max_iter=50, step_size=0.5, random_state=0).fit(rows, y)
    assert same_bits("model.npz", net)
    assert out[0] == "120 rows, 2 inputs, 3 classes, float32"
    line = r"two-layer model of 16 hidden units, gd: 50 steps in \d+\.\d{3} s, 50 passes over the rows"
    assert re.fullmatch(line, out[1])
    accuracy = f"training accuracy: {net.score(rows, y):.4f}"
    assert out[2:] == [f"loss: {net.loss_:f}", accuracy, "model: model.npz"]

    labels = net.predict(X)
    assert run("predict", "model.npz", "X.npy", "--out", "labels.npy", cwd=folder) == (0, [], [])
    assert np.load("labels.npy").dtype == y.dtype and np.array_equal(np.load("labels.npy"), labels)
    assert run("predict", "model.npz", "X.npy", cwd=folder) == (0, [str(label) for label in labels], [])
    assert run("predict", "model.npz", "X.npy", "--proba", "--out", "proba.npy", cwd=folder) == (0, [], [])
    assert np.array_equal(np.load("proba.npy"), net.predict_proba(X))


def test_the_linear_model_and_what_json_tells(spiral, capsys):
    X, y = spiral
    found = report(capsys, "fit", "X.npy", "y.npy", "--model", "linear", "--solver", "gd", "--out", "model.npz")
    linear = spiralnn.SoftmaxClassifier(solver="gd", random_state=0).fit(X, y)
    assert same_bits("model.npz", linear)
    assert found.pop("seconds") > 0
    assert found == {
        "command": "fit", "version": spiralnn.__version__, "model": "linear", "N": 120, "N_validation": 0, "N_test": 0,
        "D": 2, "H": None, "K": 3, "out_of_core": False, "ranks": 1,
        "classes": [0, 1, 2], "features": None, "dtype": "float64",
        "solver": "gd", "step_size": 1.0, "batch_size": None, "learning_rate": None, "reg": 1e-3,
        "early_stopping": False, "class_weight": None, "sample_weight": None, "seed": 0,
        "loss": linear.loss_, "n_iter": 200, "max_iter": 200, "n_passes": 200.0,
        "converged": False, "interrupted": False,
        "train_accuracy": linear.score(X, y), "best_validation_accuracy": None, "test_accuracy": None,
        "path": "model.npz", "checkpoint": None,
    }  # fmt: skip


def test_options_reach_the_model(spiral, capsys):
    X, y = spiral
    options = ("--solver", "gd", "--hidden", 5, "--init-scale", 0.3, "--tol", 1e-3, "--n-iter-no-change", 7,
               "--reg", 0.01, "--step-size", 0.4, "--seed", 7)  # fmt: skip
    found = report(capsys, "fit", "X.npy", "y.npy", *options, "--max-iter", 5000, "--out", "model.npz")
    net = spiralnn.TwoLayerNet(
        solver="gd", hidden_size=5, init_scale=0.3, tol=1e-3, n_iter_no_change=7, reg=0.01, step_size=0.4,
        random_state=7, max_iter=5000,
    ).fit(X, y)  # fmt: skip
    assert same_bits("model.npz", net)
    assert found["converged"] and net.converged_
    assert (found["n_iter"], found["seed"], found["H"]) == (net.n_iter_, 7, 5)
    code, out, err = call(capsys, "fit", "X.npy", "y.npy", *options, "--max-iter", 5000)
    assert (code, err) == (0, "") and f"loss: {net.loss_:f} (converged)\n" in out


def test_json_has_no_word_for_nan(capsys):
    console.print_json({"a": float("nan"), "b": [float("inf"), -1.5], "c": {"d": float("-inf")}, "e": "é"})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, -1.5], "c": {"d": None}, "e": "é"}


def test_a_run_that_diverges_saves_nothing(spiral, capsys):
    fit = ("fit", "X.npy", "y.npy", "--solver", "gd", "--out", "model.npz")
    for step_size in ("1e300", "1e6"):
        message = refusal(capsys, *fit, "--step-size", step_size)
        assert re.search(r"no longer finite at step \d+, with step_size=", message)
        assert message.endswith("No model is saved")


# what is shown


def test_verbose_and_quiet(spiral, capsys):
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--solver", "gd", "--max-iter", 50)
    losses = [f"iteration {i}: loss " for i in (0, 20, 40)]
    code, out, err = call(capsys, *fit, "--verbose", 20)
    assert (code, err) == (0, "")
    assert [line[: len(start)] for line, start in zip(out.splitlines(), losses, strict=False)] == losses
    code, out, err = call(capsys, *fit, "--verbose", 20, "--json")
    assert code == 0 and json.loads(out)["n_iter"] == 50
    assert [line[: len(start)] for line, start in zip(err.splitlines(), losses, strict=True)] == losses
    assert call(capsys, *fit, "--quiet", "--out", "model.npz") == (0, "", "")
    assert report(capsys, *fit, "--quiet")["n_iter"] == 50
    assert "not allowed with" in refusal(capsys, *fit, "--quiet", "--verbose", 3, code=2)


def on_terminal(folder, *arguments):
    """(exit code, stdout, what was shown) of a command whose stderr is a terminal."""
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    process = start(*arguments, cwd=folder, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal, on Linux
        while part := os.read(ours, 1 << 16):
            shown += part
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, shown.decode()


@needs_posix
def test_a_bar_on_a_terminal_and_lines_without_tqdm(spiral, folder, monkeypatch):
    fit = ("fit", "X.npy", "y.npy", "--solver", "gd", "--hidden", 8, "--max-iter", 100, "--json")
    code, out, shown = on_terminal(folder, *fit)
    assert code == 0 and json.loads(out)["n_iter"] == 100
    assert "100%|" in shown and "100/100" in shown
    assert on_terminal(folder, *fit, "--quiet")[2] == ""

    (folder / "block").mkdir()
    write("block/sitecustomize.py", hidden("tqdm"))
    monkeypatch.setenv("PYTHONPATH", str(folder / "block"))
    code, out, shown = on_terminal(folder, *fit)
    assert code == 0 and json.loads(out)["n_iter"] == 100
    assert [line.split(":")[0] for line in shown.splitlines()] == [f"iteration {i}" for i in range(0, 100, 5)]
    # as many where the solver says how long it goes on
    code, out, shown = on_terminal(folder, "fit", "X.npy", "y.npy", "--hidden", 8, "--batch-size", 32, "--json")
    assert code == 0 and json.loads(out)["n_iter"] == 375
    lines = shown.splitlines()
    assert lines[0] == "solver: adam"
    assert [line.split(":")[0] for line in lines[1:]] == [f"epoch {i}" for i in range(0, 375, 18)]


def test_warnings_are_one_line(capsys):
    def action():
        import warnings

        warnings.warn("take\ncare", RuntimeWarning, stacklevel=1)
        return 0

    assert console.guarded("fit", action) == 0
    assert capsys.readouterr().err == "spiralnn fit: warning: take care\n"


# weights


def test_weights_of_rows_and_classes(spiral, capsys):
    X, y = spiral
    weights = np.random.RandomState(2).randint(0, 4, 120) / 2
    np.save("w.npy", weights)
    write("w.csv", "weight\n" + "".join(f"{w!r}\n" for w in weights.tolist()))
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--out", "model.npz")
    for name in ("w.npy", "w.csv"):
        found = report(capsys, *fit, "--sample-weight", name)
        assert same_bits("model.npz", spiralnn.SoftmaxClassifier(random_state=0).fit(X, y, weights))
        assert (found["sample_weight"], found["class_weight"]) == (name, None)
    few = np.flatnonzero((y != 1) | (np.arange(120) % 5 == 0))
    np.save("X2.npy", X[few])
    np.save("y2.npy", y[few])
    fit = ("fit", "X2.npy", "y2.npy", "--model", "linear", "--out", "model.npz", "--class-weight", "balanced")
    assert report(capsys, *fit)["class_weight"] == "balanced"
    balanced = spiralnn.SoftmaxClassifier(random_state=0, class_weight="balanced")
    assert same_bits("model.npz", balanced.fit(X[few], y[few]))


def test_weights_go_with_their_rows(spiral, capsys):
    X, y = spiral
    weights = np.arange(120.0)
    np.save("w.npy", weights)
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--out", "model.npz", "--sample-weight", "w.npy")
    assert report(capsys, *fit, "--test-fraction", 0.25)["N"] == 90
    kept = np.sort(np.random.default_rng(0).permutation(120)[30:])
    linear = spiralnn.SoftmaxClassifier(random_state=0).fit(X[kept], y[kept], weights[kept])
    assert same_bits("model.npz", linear)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(119), "sample_weight has shape (119,), expected (120,)"),
        (np.zeros(120), "sample_weight is "),
        (np.full(120, -1.0), "Negative values in data passed to `sample_weight`: -1 at [0]"),
        (np.full(120, np.nan), "sample_weight holds NaN at [0], expected finite numbers"),
        (np.full(120, "1"), "sample_weight has dtype <U1, expected real numbers"),
    ],
)
def test_faults_in_weights(weights, message, spiral, capsys):
    np.save("w.npy", weights)
    fit = ("fit", "X.npy", "y.npy", "--sample-weight", "w.npy", "--out")
    assert refusal(capsys, *fit, "model.npz").startswith(f"w.npy: {message}")
    assert refusal(capsys, *fit, "w.npy").endswith("it is read by this command")
