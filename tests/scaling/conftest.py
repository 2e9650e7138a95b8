import pytest
from scaling_runs import LIMITS

from spiralnn.scaling import hardware, planning, run


@pytest.fixture(scope="module")
def short():
    """Cases of hundredths of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "CASE_SECONDS", 0.01)
        patch.setattr(run, "LIMIT_SECONDS", 0.0)
        yield


@pytest.fixture
def fast(short, monkeypatch):
    """And limits by word."""
    monkeypatch.setattr(hardware, "measure", lambda dtype, n_threads, seconds: LIMITS[dtype, n_threads])
