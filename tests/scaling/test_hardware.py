"""The hardware's limits: rates are positive, more work takes longer, and a loop that did not run is found out."""

import time

import numpy as np
import pytest
from problems import JIT

from spiralnn.kernels.vectors import VECTOR_BYTES
from spiralnn.scaling import hardware

pytestmark = pytest.mark.kernels

DTYPES = [np.float64, np.float32]
# with the JIT off a vector operation of Python takes a microsecond, and a waiting thread holds the interpreter
STEPS, N_BYTES = (1 << 20, 4 << 20) if JIT else (20, 1 << 14)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rates_are_measured_with_every_result_checked(dtype, n_threads):
    assert 0 < hardware.fma_rate(dtype, n_threads, 0, steps=STEPS) < np.inf
    assert 0 < hardware.read_bandwidth(dtype, n_threads, 0, n_bytes=N_BYTES) < np.inf


@pytest.mark.skipif(not JIT, reason="vectors of Python have no rate worth bounding")
@pytest.mark.parametrize("dtype", DTYPES)
def test_work_takes_time(dtype):
    """No core begins more than 8 vector multiply-adds in a cycle, or has more than 8 billion cycles a second."""
    assert hardware.fma_rate(dtype, 1, 0) < 2 * 8 * 8e9 * VECTOR_BYTES / np.dtype(dtype).itemsize


@pytest.mark.skipif(not JIT, reason="a quarter of a gigabyte is much for Python")
def test_both_together():
    rates = hardware.measure("float32", seconds=0)
    assert rates.flops > 0 and rates.bandwidth > 0


@pytest.mark.parametrize("name", ["_multiply_add_chains", "_sum_memory"])
def test_a_loop_that_did_not_run_is_found_out(name, monkeypatch):
    def kernel(*arguments):
        time.sleep(1e-4)

    monkeypatch.setattr(hardware, name, kernel)
    rate = {"_multiply_add_chains": hardware.fma_rate, "_sum_memory": hardware.read_bandwidth}[name]
    with pytest.raises(RuntimeError, match="kernel gave a wrong result"):
        rate(np.float64, 1, 0, **{"steps": 8} if rate is hardware.fma_rate else {"n_bytes": N_BYTES})


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loop_that_ran_one_turn_too_few_is_found_out(dtype, monkeypatch):
    whole = hardware._multiply_add_chains

    def kernel(n_threads, sync, chains, factor, addend, steps):
        whole(n_threads, sync, chains, factor, addend, steps - 1)

    monkeypatch.setattr(hardware, "_multiply_add_chains", kernel)
    with pytest.raises(RuntimeError, match="wrong result"):
        hardware.fma_rate(dtype, 1, 0, steps=STEPS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_that_was_not_read_is_found_out(dtype, monkeypatch):
    whole = hardware._sum_memory

    def kernel(n_threads, sync, a, start, stop, sums):
        whole(n_threads, sync, a, start, (start + stop) // 2, sums)

    monkeypatch.setattr(hardware, "_sum_memory", kernel)
    with pytest.raises(RuntimeError, match="wrong result"):
        hardware.read_bandwidth(dtype, 1, 0, n_bytes=N_BYTES)


def test_a_command_is_told_without_places(monkeypatch):
    given = ["--out", "a/b", "--budget", "5", "--scratch=c", "--mpiexec", "x -y", "--ranks", "1", "2"]
    monkeypatch.setattr("sys.argv", ["spiralnn", "scale", *given])
    assert hardware.machine()["command"] == "spiralnn scale --budget 5 --ranks 1 2"
