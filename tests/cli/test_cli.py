"""The command, run as a user runs it: in a process of its own, with its output piped."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from commands import Haste, assert_wrong_usage, png_size, run, start
from places import ROOT

LINEAR_LOG = """\
iteration 0: loss 1.096956
iteration 10: loss 0.917265
iteration 20: loss 0.851503
iteration 30: loss 0.822336
iteration 40: loss 0.807586
iteration 50: loss 0.799448
iteration 60: loss 0.794681
iteration 70: loss 0.791764
iteration 80: loss 0.789920
iteration 90: loss 0.788726
iteration 100: loss 0.787938
iteration 110: loss 0.787409
iteration 120: loss 0.787049
iteration 130: loss 0.786803
iteration 140: loss 0.786633
iteration 150: loss 0.786514
iteration 160: loss 0.786431
iteration 170: loss 0.786373
iteration 180: loss 0.786331
iteration 190: loss 0.786302
""".splitlines()

NETWORK_LOG = {
    0: 1.098744,
    1000: 0.294946,
    2000: 0.259301,
    3000: 0.248310,
    4000: 0.246170,
    5000: 0.245649,
    6000: 0.245491,
    7000: 0.245400,
    8000: 0.245335,
    9000: 0.245292,
}

FIGURES = {"spiral.png", "decision-linear.png", "decision-network.png", "loss.png"}
SMALL = ("--n-per-class", "10", "--hidden", "5", "--linear-steps", "20", "--steps", "20")


def loss_lines(lines):
    return [line for line in lines if line.startswith("iteration ")]


def losses(lines):
    return {int(line.split()[1][:-1]): float(line.split()[3]) for line in lines}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The case study with default options: lines of stdout, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("published")
    code, out, err = run("train", cwd=folder)
    assert (code, err) == (0, [])
    return out, folder


def test_published_log(published):
    lines = published[0]
    log = loss_lines(lines)
    assert log[:20] == LINEAR_LOG
    network = losses(log[20:])
    assert list(network) == list(NETWORK_LOG)
    for iteration, loss in network.items():
        # from 7000 on the published digits depend on the order of additions
        tolerance = 1e-6 if iteration <= 6000 else 5e-6
        assert abs(loss - NETWORK_LOG[iteration]) <= tolerance * (1 + 1e-9), iteration
    assert [line for line in lines if "accuracy" in line] == ["training accuracy: 0.49", "training accuracy: 0.98"]


def test_piped_output_is_nothing_but_the_log(published):
    kinds = [
        r"(linear classifier|two-layer network, 100 hidden units): 300 rows, 3 classes, float64, fused backend",
        r"iteration \d+: loss \d\.\d{6}",
        r"training accuracy: \d\.\d\d",
        r"training time: \d+\.\d{3} s",
    ]
    for line in published[0]:
        assert any(re.fullmatch(kind, line) for kind in kinds), line


def test_figures(published):
    pytest.importorskip("matplotlib")
    folder = published[1] / "spiral-out"
    assert {path.name for path in folder.iterdir()} == FIGURES
    for name in FIGURES:
        width, height = png_size(folder / name)
        assert 600 <= width <= 2000 and 500 <= height <= 2000


def test_reference_backend_prints_the_same_log(tmp_path):
    arguments = ("train", "--steps", "10", "--no-figures")
    code, reference, err = run(*arguments, "--backend", "reference", cwd=tmp_path)
    assert (code, err) == (0, [])
    assert loss_lines(reference)[:20] == LINEAR_LOG
    assert loss_lines(reference) == loss_lines(run(*arguments, cwd=tmp_path)[1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_compare_prints_the_speedup_of_each_model(backend, tmp_path):
    code, out, err = run("train", *SMALL, "--compare", "--no-figures", "--backend", backend, cwd=tmp_path)
    assert (code, err) == (0, [])
    other = {"fused": "reference", "reference": "fused"}[backend]
    assert len([line for line in out if line.startswith(f"training time with the {other} backend: ")]) == 2
    speedups = [float(line.split(": ")[1]) for line in out if line.startswith("speedup over the NumPy reference: ")]
    assert len(speedups) == 2 and min(speedups) > 0


def test_options_reach_the_models(tmp_path):
    arguments = ("--classes", "4", "--dtype", "float32", "--threads", "1", "--step-size", "0.5", "--reg", "0")
    code, out, err = run("train", *SMALL, *arguments, "--seed", "7", "--out", "deep/figures", cwd=tmp_path)
    assert (code, err) == (0, [])
    assert out[0] == "linear classifier: 40 rows, 4 classes, float32, fused backend"
    assert list(losses(loss_lines(out)[20:])) == list(range(0, 20, 2))
    pytest.importorskip("matplotlib")
    assert {path.name for path in (tmp_path / "deep" / "figures").iterdir()} == FIGURES


def test_steps_fewer_than_lines(tmp_path):
    code, out, _ = run("train", *SMALL[:4], "--linear-steps", "3", "--steps", "1", "--no-figures", cwd=tmp_path)
    assert code == 0
    assert [int(line.split()[1][:-1]) for line in loss_lines(out)] == [0, 1, 2, 0]


def test_without_matplotlib_it_trains_and_says_so_once(tmp_path):
    blocker = tmp_path / "block"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'matplotlib' else find(name, package)\n"
    )
    paths = os.pathsep.join([str(blocker), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-m", "spiralnn", "train", *SMALL],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0
    assert result.stderr == "spiralnn train: no figures without matplotlib: pip install spiralnn[plot]\n"
    assert result.stdout.count("training accuracy") == 2


def test_unwritable_folder_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run("train", "--out", "file/figures", cwd=tmp_path)
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("spiralnn train: error: cannot write figures to 'file/figures': ")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--classes", "1", "an integer, 2 or more"),
        ("--classes", "three", "an integer, 2 or more"),
        ("--n-per-class", "0", "an integer, 1 or more"),
        ("--hidden", "0", "an integer, 1 or more"),
        ("--steps", "-1", "an integer, 1 or more"),
        ("--linear-steps", "1.5", "an integer, 1 or more"),
        ("--step-size", "inf", "a finite number"),
        ("--reg", "-1", "a finite number, 0 or more"),
        ("--reg", "nan", "a finite number, 0 or more"),
        ("--seed", "-1", "an integer from 0 to 4294967295"),
        ("--threads", "0", "an integer, 1 or more"),
    ],
)
def test_bad_values_are_wrong_usage(option, value, expected, capsys):
    from spiralnn.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["train", f"{option}={value}"])
    out, err = capsys.readouterr()
    result = stopped.value.code, out.splitlines(), err.splitlines()
    assert_wrong_usage(result, f"argument {option}: {value!r} given, expected {expected}")


def test_wrong_usage(tmp_path):
    assert_wrong_usage(run("train", "--classes", "1", cwd=tmp_path), "--classes")
    assert_wrong_usage(run("train", "--backend", "gpu", cwd=tmp_path), "--backend")
    assert_wrong_usage(run("fly", cwd=tmp_path), "fly")
    assert not list(tmp_path.iterdir())


def test_a_diverging_run_is_told_in_one_line(tmp_path):
    code, _, err = run("train", *SMALL, "--step-size", "1e300", "--no-figures", cwd=tmp_path)
    assert (code, len(err)) == (1, 1)
    assert "step" in err[0]


def test_help_without_a_subcommand(tmp_path):
    code, out, err = run(cwd=tmp_path)
    assert (code, err) == (0, [])
    assert out[0].startswith("usage: spiralnn")
    assert all(any(name in line for line in out) for name in ("fit", "predict", "train", "bench", "scale", "info"))
    assert run("--help", cwd=tmp_path)[1] == out


def test_version(tmp_path):
    import spiralnn

    assert run("--version", cwd=tmp_path)[1] == [f"spiralnn {spiralnn.__version__}"]


def test_info(tmp_path):
    code, out, err = run("info", cwd=tmp_path)
    assert (code, err) == (0, [])
    values = dict(line.split(": ", 1) for line in out)
    assert {"spiralnn", "python", "numpy", "numba", "llvmlite", "cpu", "cores", "cache folder"} <= set(values)
    assert int(values["threads"].split()[0]) >= 1
    assert values["threading layer"].startswith("own (Python threads")


def test_bench_without_the_source_tree(monkeypatch, tmp_path, capsys):
    from spiralnn import cli
    from spiralnn.cli import command

    monkeypatch.setattr(command, "__file__", str(tmp_path / "spiralnn" / "cli" / "command.py"))
    assert cli.main(["bench"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert "source tree" in err


@pytest.mark.skipif(
    os.name != "posix" or signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="no Ctrl-C here to inherit"
)
def test_interrupt(tmp_path):
    process = start("train", "--linear-steps", "200", "--steps", "20000000", "--no-figures", cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("two-layer"):
            break
    time.sleep(0.5)
    haste = Haste(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "spiralnn train: interrupted\n"
    haste.check(1)  # half a second to stop, and as much to tell
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_goes_away_ends_the_run_quietly(tmp_path):
    process = start("train", "--steps", "100000", "--no-figures", cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert err == ""
