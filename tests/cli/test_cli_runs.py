"""`spiralnn fit` and `spiralnn predict` as jobs: their outputs, Ctrl-C, checkpoints, pipes."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
from calls import call, needs_posix, refusal, report, same_bits, write
from commands import start

import spiralnn

ENDLESS = ("--solver", "gd", "--max-iter", 10**8)  # minutes, at microseconds a step


# outputs


def test_the_output_is_known_to_be_writable_before_anything_is_read(spiral, model, capsys):
    fit = ("fit", "gone.npy", "y.npy")
    message = refusal(capsys, *fit, "--out", "gone/model.npz")
    assert message == "cannot write the model to 'gone/model.npz': No such file or directory"
    message = refusal(capsys, *fit, "--checkpoint", "gone/run.npz")
    assert message == "cannot write checkpoints to 'gone/run.npz': No such file or directory"
    message = refusal(capsys, "predict", "model.npz", "gone.npy", "--out", "gone/labels.npy")
    assert message == "cannot write predictions to 'gone/labels.npy': No such file or directory"
    message = refusal(capsys, *fit, "--out", "y.npy/model.npz")
    assert message == "cannot write the model to 'y.npy/model.npz': Not a directory"
    os.mkdir("folder.npy")
    assert "not a regular file" in refusal(capsys, *fit, "--out", "folder.npy")
    assert "not a regular file" in refusal(capsys, "predict", "model.npz", "X.npy", "--out", "folder.npy")


def test_inputs_are_not_overwritten(spiral, model, capsys):
    before = {name: Path(name).read_bytes() for name in ("X.npy", "y.npy", "model.npz")}
    os.link("X.npy", "same.npy")
    for arguments in [
        ("fit", "X.npy", "y.npy", "--out", "X.npy"),
        ("fit", "X.npy", "y.npy", "--out", "./y.npy"),
        ("fit", "X.npy", "y.npy", "--checkpoint", "X.npy"),
        ("fit", "X.npy", "y.npy", "--test", "same.npy", "y.npy", "--out", "same.npy"),
        ("predict", "model.npz", "X.npy", "--out", "X.npy"),
        ("predict", "model.npz", "X.npy", "--out", "same.npy"),
    ]:
        assert refusal(capsys, *arguments).endswith("it is read by this command")
    assert before == {name: Path(name).read_bytes() for name in before}


def test_outputs_are_replaced_at_once_or_not_at_all(spiral, model, capsys, monkeypatch):
    before = Path("model.npz").read_bytes()
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--out", "model.npz", "--quiet")
    write("labels.npy", "before")

    def fail(*names):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "replace", fail)
        message = "cannot write {} to '{}': No space left on device"
        assert refusal(capsys, *fit) == message.format("the model", "model.npz")
        predict = ("predict", "model.npz", "X.npy", "--out", "labels.npy")
        assert refusal(capsys, *predict) == message.format("predictions", "labels.npy")
    assert Path("model.npz").read_bytes() == before and Path("labels.npy").read_text() == "before"
    assert call(capsys, *fit) == (0, "", "")
    assert call(capsys, "predict", "model.npz", "X.npy", "--out", "labels.npy") == (0, "", "")
    assert Path("model.npz").read_bytes() != before and len(np.load("labels.npy")) == 120


# Ctrl-C, checkpoints, pipes


def interrupted(folder, *arguments, after):
    """(exit code, stdout, lines of stderr) of a process that gets Ctrl-C once a line of its log is there."""
    process = start("fit", "X.npy", "y.npy", "--hidden", 8, *ENDLESS, *arguments, cwd=folder)
    after(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.splitlines()


def first_line(process):
    assert process.stdout.readline().startswith("iteration ")


@needs_posix
def test_ctrl_c_keeps_the_model(spiral, folder):
    X, y = spiral
    code, out, err = interrupted(folder, "--out", "model.npz", "--verbose", 1000, after=first_line)
    assert code == 130
    net = spiralnn.load("model.npz")
    assert 0 < net.n_iter_ == len(net.loss_curve_) < ENDLESS[-1]
    expected = f"spiralnn fit: interrupted after {net.n_iter_} of {ENDLESS[-1]} steps; the model as it is then is in "
    assert err == [f"{expected}'model.npz'"]
    assert out.splitlines()[-2:] == [f"loss: {net.loss_:f}", "model: model.npz"]
    again = spiralnn.TwoLayerNet(solver="gd", hidden_size=8, max_iter=net.n_iter_, random_state=0).fit(X, y)
    assert same_bits("model.npz", again)


@needs_posix
def test_ctrl_c_counts_epochs(spiral, folder):
    def first_epoch(process):
        assert process.stdout.readline().startswith("epoch 0: loss ")

    options = ("--solver", "adam", "--batch-size", 120, "--out", "model.npz", "--verbose", 1000)
    code, _, err = interrupted(folder, *options, after=first_epoch)
    net = spiralnn.load("model.npz")
    expected = f"spiralnn fit: interrupted after {net.n_iter_} of {ENDLESS[-1]} epochs; the model as it is then is in "
    assert (code, err) == (130, [f"{expected}'model.npz'"])
    again = spiralnn.TwoLayerNet(
        solver="adam", batch_size=120, hidden_size=8, max_iter=ENDLESS[-1], random_state=0,
        callback=lambda step, loss, model: step + 1 == net.n_iter_,
    ).fit(*spiral)  # fmt: skip
    assert same_bits("model.npz", again)


@needs_posix
def test_ctrl_c_is_told_in_json(spiral, folder):
    def first_line_on_stderr(process):
        assert process.stderr.readline().startswith("iteration ")

    code, out, err = interrupted(folder, "--json", "--verbose", 1000, after=first_line_on_stderr)
    found = json.loads(out)
    assert (code, found["interrupted"], found["train_accuracy"], found["path"]) == (130, True, None, None)
    assert err[-1] == f"spiralnn fit: interrupted after {found['n_iter']} of {ENDLESS[-1]} steps"


@needs_posix
def test_ctrl_c_before_the_first_step(folder):
    os.mkfifo("X.csv")
    process = start("fit", "X.csv", "y.npy", "--out", "model.npz", cwd=folder)
    with open("X.csv", "w") as file:  # opens once the command reads
        file.write("1,2\n")
        file.flush()
        process.send_signal(signal.SIGINT)
    # closed, lest the signal came just before the command began to wait
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "spiralnn fit: interrupted\n")
    assert not os.path.exists("model.npz")


@needs_posix
def test_a_killed_run_is_resumed_to_the_same_bits(spiral, folder, capsys):
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--checkpoint", "run.npz", "--checkpoint-every", 0, *ENDLESS)
    process = start(*fit, cwd=folder)
    deadline = time.monotonic() + 60
    while not os.path.exists("run.npz") and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    steps = len(np.load("run.npz")["losses"]) + 50_000
    found = report(capsys, *fit, "--max-iter", steps, "--resume", "--out", "model.npz")
    assert (found["n_iter"], found["checkpoint"]) == (steps, "run.npz")
    net = spiralnn.TwoLayerNet(solver="gd", hidden_size=8, max_iter=steps, random_state=0).fit(*spiral)
    assert same_bits("model.npz", net)
    message = refusal(capsys, *fit, "--max-iter", 10, "--resume")
    assert message == f"max_iter is 10, but run.npz holds {steps} steps already"
    message = refusal(capsys, *fit, "--max-iter", steps, "--resume", "--reg", 0.5)
    assert "run.npz is the checkpoint of another run: reg is 0.5 here and 0.001 there" in message
    Path("run.npz").write_bytes(b"nothing")
    assert "run.npz" in refusal(capsys, *fit, "--resume")


@needs_posix
def test_ctrl_c_then_resume(spiral, folder, capsys):
    options = ("--checkpoint", "run.npz")
    code, _, err = interrupted(folder, *options, "--verbose", 1000, after=first_line)
    assert code == 130 and err[-1].endswith(" steps; --resume goes on")
    done = int(err[-1].split(" after ")[1].split()[0])
    fit = ("fit", "X.npy", "y.npy", "--solver", "gd", "--hidden", 8, "--max-iter", done + 100, *options, "--resume")
    assert report(capsys, *fit, "--out", "model.npz")["n_iter"] == done + 100
    net = spiralnn.TwoLayerNet(solver="gd", hidden_size=8, max_iter=done + 100, random_state=0).fit(*spiral)
    assert same_bits("model.npz", net)


@needs_posix
def test_a_reader_that_goes_away(spiral, model, folder):
    np.save("large.npy", np.tile(spiral[0], (5000, 1)))
    for arguments in (("predict", "model.npz", "large.npy"), ("predict", "model.npz", "large.npy", "--proba")):
        process = start(*arguments, cwd=folder)
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(timeout=60) == 1
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--solver", "gd", "--json", "--out", "kept.npz")
    process = start(*fit, cwd=folder)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert spiralnn.load("kept.npz").n_iter_ == 200  # saved before it was told
