"""Tests that send Ctrl-C to child processes need it to mean something, also where the suite runs in the background.

A shell without job control starts background jobs with SIGINT ignored, and children inherit that.
"""

import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def all_threads(monkeypatch):
    """However little there is to do, it is cut in two leaves at least and shared by all threads that are asked for."""
    from all_threads import want_all_threads

    want_all_threads(monkeypatch.setattr)
    yield
    monkeypatch.undo()
    want_all_threads(None)
