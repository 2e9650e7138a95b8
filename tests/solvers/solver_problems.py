"""Data for the tests of solvers, and what is asked of a fitted model in many of them."""

import hashlib
from typing import NamedTuple

import numpy as np

from spiralnn import SoftmaxClassifier, TwoLayerNet, loss_and_gradients

# (kind of model, solver): each with each that it has
PAIRS = [(kind, solver) for kind in ("linear", "network") for solver in ("gd", "sgd", "adam", "lbfgs")]
PAIRS.insert(4, ("linear", "newton-cholesky"))
CHANGED = [pair for pair in PAIRS if pair[1] != "gd"]  # those that see columns centred and scaled
BATCHED = [pair for pair in PAIRS if pair[1] in ("sgd", "adam")]


class Data(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray


def data(N=200, D=5, K=3, dtype=np.float64, *, scales=None, shifts=None, spread=1.5, seed=0):
    """Overlapping blobs, one of each class, in columns that are multiplied and moved; and a weight a row."""
    random = np.random.default_rng([N, D, K, seed])
    y = random.permutation(np.arange(N) % K)
    X = spread * random.standard_normal((K, D))[y] + random.standard_normal((N, D))
    X = X * (1.0 if scales is None else scales) + (0.0 if shifts is None else shifts)
    return Data(X.astype(dtype), y, random.uniform(0.1, 3.0, N).astype(dtype))


def make(kind, solver, **settings):
    """An estimator of few hidden units, from a fixed start, with some iterations to do."""
    settings = {"solver": solver, "random_state": 0, "max_iter": 8, **settings}
    if solver in ("sgd", "adam"):
        settings.setdefault("batch_size", 32)
    return TwoLayerNet(hidden_size=7, **settings) if kind == "network" else SoftmaxClassifier(**settings)


def params_of(model):
    return [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]


def objective(model, X, y, reg, **options):
    return loss_and_gradients(X, y, params_of(model), reg=reg, **options)


def digest(model):
    """Of parameters and losses: equal for the same bits."""
    sha = hashlib.sha256(np.array(model.loss_curve_).tobytes())
    for array in params_of(model):
        sha.update(array.dtype.str.encode() + array.tobytes())
    return sha.hexdigest()


def state_of(model):
    """Fitted attributes, as they were when asked."""
    return {n: repr(v) for n, v in vars(model).items() if n.endswith("_") and not n.startswith("_")}


def assert_close(model, other, tolerance):
    for a, b in zip(params_of(model), params_of(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())
