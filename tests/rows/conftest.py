import pytest


@pytest.fixture
def small_pieces(all_threads, monkeypatch):
    """Rows are read and computed with some hundred at a time, by all threads that are asked for."""
    from spiralnn.engine import folding

    monkeypatch.setattr(folding, "PIECE_BYTES", 1 << 13)
