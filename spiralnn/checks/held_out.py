"""Rows that are held out of training: how many of each class, and which."""

from typing import Any

import numpy as np

from .labels import class_counts


def held_out_counts(labels: np.ndarray, K: int, fraction: float) -> np.ndarray:
    """(K,): the rows of each class to hold out of labels (N,) in [0, K).

    ValueError where a class would have none to be judged by, or none to learn from.
    """
    rows = class_counts(labels, K)
    counts = np.floor(rows * fraction + 0.5).astype(np.int64)
    for what, found in (("held out", counts), ("left to train on", rows - counts)):
        if (found[rows > 0] < 1).any():
            k = int(np.flatnonzero((found < 1) & (rows > 0))[0])
            raise ValueError(
                f"validation_fraction is {fraction!r}, but of the {rows[k]} rows of class number {k} none would be "
                f"{what}: expected a fraction that gives at least one of each class"
            )
    return counts


def draw_held_out(labels: np.ndarray, counts: np.ndarray, random: Any) -> np.ndarray:
    """The rows, sorted: so many of each class, drawn from a RandomState."""
    drawn = [random.permutation(np.flatnonzero(labels == k))[:n] for k, n in enumerate(counts.tolist())]
    return np.sort(np.concatenate(drawn))
