"""Class probabilities from scores, and their logarithms, against NumPy in float64."""

import numpy as np
import pytest
from problems import JIT

from spiralnn.engine import fused
from spiralnn.engine.plan import TILE_BYTES

TILE = TILE_BYTES // 8
SHAPES = [(1, 2), (7, 3), (33, 10), (2, 300), *([(TILE + 1, 4), (4 * TILE + 5, 3), (20_011, 2)] if JIT else [])]


@pytest.mark.kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_are_those_of_numpy(dtype, shape, all_threads):
    scores = (8 * np.random.default_rng(shape).standard_normal(shape)).astype(dtype)
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    expected = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    eps = np.finfo(dtype).eps
    for are_logs, wanted in ((False, expected), (True, np.log(expected))):
        found = []
        for n_threads in (1, 2):
            ours = scores.copy()
            fused.probabilities(ours, are_logs=are_logs, n_threads=n_threads)
            # a difference of scores is rounded, and its exponential is as exact as it is
            np.testing.assert_allclose(ours, wanted, rtol=(4 if are_logs else 64) * eps, atol=4 * eps * are_logs)
            found.append(ours.tobytes())
        assert found[0] == found[1]


def test_only_floats_of_two_axes_in_c_order_are_taken():
    for scores in (np.zeros((3, 2), int), np.zeros((2, 3)).T):
        with pytest.raises((TypeError, ValueError), match="^scores "):
            fused.probabilities(scores)
