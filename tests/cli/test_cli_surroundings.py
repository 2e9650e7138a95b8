"""What a user's environment brings: a backend of matplotlib, its settings, an output without Greek letters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

TRAIN = ("train", "--steps", "20", "--linear-steps", "20", "--hidden", "8", "--out", "figures")


def command(*arguments, **environment):
    """A process of its own, in the working folder of the test."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": paths, **environment}
    return subprocess.run([sys.executable, "-m", "spiralnn", *arguments], env=env, capture_output=True, timeout=400)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "not_a_backend"])
def test_figures_are_drawn_whatever_backend_is_set(backend):
    done = command(*TRAIN, MPLBACKEND=backend)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(Path("figures").glob("*.png"))) == 4


def test_figures_are_drawn_whatever_matplotlibrc_says():
    Path("matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 7\n")
    done = command(*TRAIN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(Path("figures").glob("*.png"))) == 4


def test_figures_that_cannot_be_drawn_never_cost_the_numbers():
    Path("block/matplotlib").mkdir(parents=True)
    Path("block/matplotlib/__init__.py").write_text("raise ValueError('broken')\n")
    blocked = {"PYTHONPATH": os.pathsep.join(["block", str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = command(*TRAIN, **blocked)
    assert done.returncode == 1 and done.stdout.count(b"training accuracy") == 2
    assert done.stderr == b"spiralnn train: no figures, for matplotlib fails: ValueError: broken\n"
    options = ("--sizes", "1000", "--budget", "1", "--no-reference", "--dtype", "float64", "--out", "scale-out")
    done = command("scale", *options, **blocked)
    assert done.returncode == 1 and b"ns a row" in done.stdout and Path("scale-out/scale.json").is_file()
    assert done.stderr.endswith(b"spiralnn scale: error: no figures, for matplotlib fails: ValueError: broken\n")


@pytest.mark.parametrize("encoding", ["ascii", "gbk"])
def test_results_are_told_on_an_output_without_greek_letters(encoding):
    options = ("--sizes", "1000", "--budget", "1", "--no-reference", "--no-figures", "--dtype", "float64")
    done = command("scale", *options, "--out", "out", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert " us " in done.stdout.decode(encoding)
