"""Several threads fit at once, and processes fit after their parent did: the right result, no killed child, no hang.

Each scenario is a program of its own (process_scenarios.py), so that nothing here forks the test run.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numba
import numpy as np
import pytest
from places import ROOT, TESTS

from spiralnn import SoftmaxClassifier
from spiralnn.checks.labels import label_column
from spiralnn.checks.values import as_array
from spiralnn.estimators import protocol

SCENARIOS = Path(__file__).resolve().parent / "process_scenarios.py"

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def run(folder, *arguments, env=None):
    """How many things one scenario has done, none of which hung."""
    paths = f"{ROOT}{os.pathsep}{TESTS}"
    # compiled at a lower level, which is sooner done
    compiled = {"NUMBA_OPT": "1", "NUMBA_CACHE_DIR": str(folder)}
    environment = {**os.environ, **compiled, "PYTHONPATH": paths, **(env or {})}
    command = [sys.executable, str(SCENARIOS), *map(str, arguments)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    assert process.returncode == 0, process.stderr
    return int(process.stdout)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache folder with the kernels of all scenarios."""
    folder = tmp_path_factory.mktemp("warm")
    run(folder, "workers", "none", 0)
    return folder


@pytest.mark.parametrize("repeats", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_eight_threads_fit_at_once_on_every_layer_and_children_after_them(layer, repeats, warm):
    done = run(warm, "layer", layer, repeats, env={"NUMBA_THREADING_LAYER": layer})
    if not done:
        pytest.skip(f"the threading layer {layer} is not installed")


@pytest.mark.parametrize("repeats", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("method", [*multiprocessing.get_all_start_methods(), "loky", "multiprocessing"])
def test_worker_processes_fit_after_a_threaded_fit_in_their_parent(method, repeats, warm):
    done = run(warm, "workers", method, repeats)
    assert done >= repeats


@forks
@pytest.mark.parametrize("repeats", [1, pytest.param(25, marks=pytest.mark.long)])
def test_a_fork_fits_also_while_another_thread_does(repeats, warm):
    done = run(warm, "forks", repeats)
    assert done == 1 + 4 * repeats


@forks
@pytest.mark.parametrize("repeats", [1, pytest.param(4, marks=pytest.mark.long)])
def test_a_fork_fits_also_while_another_thread_compiles(repeats, warm, tmp_path):
    shutil.copytree(warm, tmp_path / "cache")  # what is compiled must be missing
    done = run(tmp_path / "cache", "forks_while_compiling", repeats)
    assert done == 4 * repeats


def test_modules_that_another_thread_is_importing_are_not_asked(monkeypatch):
    # they are known by name, but hold nothing yet
    for name in ("numpy.ma", "sklearn.exceptions"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    labels = [0, 1, 1]
    assert as_array("y", labels).tolist() == labels
    with pytest.raises(protocol.NotFittedError):
        SoftmaxClassifier().predict([[0.0]])
    with pytest.warns(UserWarning, match="column"):
        label_column(np.array(labels)[:, None], 3)
