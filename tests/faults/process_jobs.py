"""Fits for processes of every kind, importable by all of them; each takes as many threads as it is told."""

import hashlib

import numpy as np
from all_threads import count_threads, started, want_all_threads

import spiralnn

want_all_threads()
count_threads()


def fit(seed, n_threads=2, steps=40, D=2, K=3):
    """Digest of a trained model, in float64 for even seeds, in float32 for odd ones.

    Seeds 3, 7, ...: the network in batches; 4, 8, ...: the network by L-BFGS; the others: by gradient descent, the
    network where they are even.
    """
    random = np.random.default_rng(seed)
    X, y = random.standard_normal((2100 + seed, D)), random.integers(0, K, 2100 + seed)
    common = {"random_state": seed, "n_threads": n_threads}
    if seed % 4 == 3 or seed and seed % 4 == 0:
        steps = max(steps // 10, 2)
        solver = "adam" if seed % 2 else "lbfgs"
        model = spiralnn.TwoLayerNet(solver=solver, hidden_size=9, max_iter=steps, **common)
    elif seed % 2:
        model = spiralnn.SoftmaxClassifier(solver="gd", max_iter=steps, **common)
    else:
        model = spiralnn.TwoLayerNet(solver="gd", hidden_size=9, max_iter=steps, **common)
    model.fit(X.astype(np.float32) if seed % 2 else X, y)
    assert n_threads == 1 or n_threads in started
    assert len(model.loss_curve_) == steps
    digest = hashlib.sha256(np.asarray(model.loss_curve_).tobytes())
    for array in (*model.coefs_, *model.intercepts_):
        digest.update(array.tobytes())
    return digest.hexdigest()
