"""Outputs that are closed, full, or a pipe that nobody reads: one line, exit code 1, and never the model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from calls import needs_posix
from places import ROOT

import spiralnn
from spiralnn.cli.outputs import Closed, Lossy

pytestmark = needs_posix
FIT = "fit X.npy y.npy --model linear --solver gd --max-iter 2000"


def shell(line):
    """The command in a shell, for what a shell can do to its outputs."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    command = line.replace("spiralnn", f"{sys.executable} -m spiralnn")
    return subprocess.run(["sh", "-c", command], env=env, capture_output=True, timeout=400, text=True)


def test_a_closed_stdout_is_told_and_costs_no_model(spiral):
    done = shell(f"spiralnn {FIT} --out model.npz >&-")
    assert (done.returncode, done.stderr) == (1, "spiralnn fit: error: [Errno 9] stdout is closed\n")
    assert spiralnn.load("model.npz").n_iter_ == 2000


def test_a_closed_stderr_costs_nothing(spiral):
    done = shell(f"spiralnn {FIT} 2>&-")
    assert done.returncode == 0 and "training accuracy" in done.stdout


def test_log_lines_that_nobody_reads_cost_no_model(spiral):
    done = shell(f"{{ spiralnn {FIT} --verbose 1 --out model.npz; echo $? > code; }} | head -1")
    assert done.stdout.count("\n") == 1 and done.stderr == "" and Path("code").read_text() == "1\n"
    assert spiralnn.load("model.npz").n_iter_ == 2000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_help_that_cannot_be_written_is_told():
    done = shell("spiralnn --version > /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


class Full:
    encoding = "ascii"

    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")


def test_the_two_streams():
    lossy = Lossy(Full())
    print("a line", file=lossy, flush=True)
    assert lossy.encoding == "ascii"
    with pytest.raises(OSError, match="stdout is closed"):
        print("a line", file=Closed())
    assert not Closed().isatty()
