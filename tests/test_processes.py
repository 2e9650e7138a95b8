"""Several threads fit at once, and processes fit after their parent did: the right result, no killed child, no hang.

Each scenario is a program of its own (process_scenarios.py), so that nothing here forks the test run.
"""

import json
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

from spiralnn import SoftmaxClassifier, protocol, validation

SCENARIOS = Path(__file__).resolve().parent / "process_scenarios.py"
ROOT = SCENARIOS.parent.parent
PROMISED = 10.0  # seconds until a child, a pool or eight threads have their results, with a warm cache

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def run(folder, *arguments, env=None):
    """The seconds that each thing took in one scenario."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, str(SCENARIOS), *map(str, arguments)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache folder with the kernels of all scenarios."""
    folder = tmp_path_factory.mktemp("warm")
    run(folder, "workers", "none", 0)
    return folder


@pytest.mark.parametrize("repeats", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_eight_threads_fit_at_once_on_every_layer_and_children_after_them(layer, repeats, warm):
    taken = run(warm, "layer", layer, repeats, env={"NUMBA_THREADING_LAYER": layer})
    if not taken:
        pytest.skip(f"the threading layer {layer} is not installed")
    assert max(taken) < PROMISED


@pytest.mark.parametrize("repeats", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("method", [*multiprocessing.get_all_start_methods(), "loky", "multiprocessing"])
def test_worker_processes_fit_after_a_threaded_fit_in_their_parent(method, repeats, warm):
    taken = run(warm, "workers", method, repeats)
    assert len(taken) >= repeats
    assert max(taken) < PROMISED


@forks
@pytest.mark.parametrize("repeats", [1, pytest.param(25, marks=pytest.mark.long)])
def test_a_fork_fits_also_while_another_thread_does(repeats, warm):
    taken = run(warm, "forks", repeats)
    assert len(taken) == 1 + 4 * repeats
    assert max(taken) < PROMISED


@forks
@pytest.mark.parametrize("repeats", [1, pytest.param(4, marks=pytest.mark.long)])
def test_a_fork_fits_also_while_another_thread_compiles(repeats, warm, tmp_path):
    shutil.copytree(warm, tmp_path / "cache")  # what is compiled must be missing
    taken = run(tmp_path / "cache", "forks_while_compiling", repeats)
    assert len(taken) == 4 * repeats - 1  # and one that itself compiled
    assert max(taken) < PROMISED


def test_modules_that_another_thread_is_importing_are_not_asked(monkeypatch):
    # they are known by name, but hold nothing yet
    for name in ("numpy.ma", "sklearn.exceptions"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    labels = [0, 1, 1]
    assert validation.as_array("y", labels).tolist() == labels
    with pytest.raises(protocol.NotFittedError):
        SoftmaxClassifier().predict([[0.0]])
    with pytest.warns(UserWarning, match="column"):
        validation.label_column(np.array(labels)[:, None], 3)
