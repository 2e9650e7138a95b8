"""Tests that send Ctrl-C to child processes need it to mean something, also where the suite runs in the background.

A shell without job control starts background jobs with SIGINT ignored, and children inherit that.
"""

import os
import signal

import pytest

from spiralnn.engine.rounding import NO_FMA
from spiralnn.kernels.vectors import fma_is_fused

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if not fma_is_fused():
    # Every process says so once, on a stderr that tests read. That it does is tested in tests/processors.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), f"ignore:{NO_FMA}"]))


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", f"ignore:{NO_FMA}")


@pytest.fixture
def all_threads(monkeypatch):
    """However little there is to do, it is cut in two leaves at least and shared by all threads that are asked for."""
    from all_threads import want_all_threads

    want_all_threads(monkeypatch.setattr)
    yield
    monkeypatch.undo()
    want_all_threads(None)
