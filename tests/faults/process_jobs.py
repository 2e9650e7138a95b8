"""Fits for processes of every kind, importable by all of them; each takes as many threads as it is told."""

import hashlib

import numpy as np
from all_threads import count_threads, started, want_all_threads

import spiralnn

want_all_threads()
count_threads()


def fit(seed, n_threads=2, steps=40, D=2, K=3):
    """Digest of a trained model: the network in float64 for even seeds, the linear model in float32 for odd ones."""
    random = np.random.default_rng(seed)
    X, y = random.standard_normal((2100 + seed, D)), random.integers(0, K, 2100 + seed)
    if seed % 2:
        model = spiralnn.SoftmaxClassifier(max_iter=steps, random_state=seed, n_threads=n_threads)
        model.fit(X.astype(np.float32), y)
    else:
        model = spiralnn.TwoLayerNet(hidden_size=9, max_iter=steps, random_state=seed, n_threads=n_threads).fit(X, y)
    assert n_threads == 1 or n_threads in started
    assert len(model.loss_curve_) == steps
    digest = hashlib.sha256(np.asarray(model.loss_curve_).tobytes())
    for array in (*model.coefs_, *model.intercepts_):
        digest.update(array.tobytes())
    return digest.hexdigest()
