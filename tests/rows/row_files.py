"""Rows in files for tests: cut into shards, or in one piece, and what a model trained on them comes to."""

import hashlib
import os

import numpy as np

from spiralnn import SoftmaxClassifier, TwoLayerNet


def rows(N=900, D=5, K=3, dtype=np.float64, seed=0):
    """(X, y, weights) of overlapping blobs."""
    random = np.random.default_rng([N, D, K, seed])
    y = random.permutation(np.arange(N) % K)
    X = 1.5 * random.standard_normal((K, D))[y] + random.standard_normal((N, D)) + 3.0
    return X.astype(dtype), y, random.uniform(0.1, 3.0, N)


def cut(array, folder, name, sizes=None, seed=0):
    """Shards of an array, as files: without rows, of 1 and of 5, and cut at random places."""
    random = np.random.default_rng([len(array), seed])
    places = np.sort(random.choice(np.arange(6, len(array)), 4, replace=False))
    ends = np.cumsum(sizes) if sizes is not None else [0, 1, 6, *places, places[-1], len(array)]
    paths = []
    for i, (start, stop) in enumerate(zip([0, *ends], ends, strict=False)):
        paths.append(folder / f"{name}-{i}.npy")
        np.save(paths[-1], array[start:stop])
    return paths


def saved(folder, **arrays):
    """Paths of arrays, each in a file of its name."""
    paths = []
    for name, array in arrays.items():
        paths.append(folder / f"{name}.npy")
        np.save(paths[-1], array)
    return paths


def model(kind, solver, **settings):
    settings = {"solver": solver, "random_state": 0, "max_iter": 6, "n_threads": 2, **settings}
    return TwoLayerNet(hidden_size=7, **settings) if kind == "network" else SoftmaxClassifier(**settings)


def digest(fitted):
    """Of parameters and losses: equal for the same bits."""
    sha = hashlib.sha256(np.array(fitted.loss_curve_).tobytes())
    for array in (*fitted.coefs_, *fitted.intercepts_):
        sha.update(array.dtype.str.encode() + array.tobytes())
    return sha.hexdigest()


def open_in(folder):
    """Files of a folder that this process holds open, where the system tells."""
    places = "/proc/self/fd"
    held = []
    for name in os.listdir(places) if os.path.isdir(places) else []:
        try:
            held.append(os.readlink(f"{places}/{name}"))
        except OSError:  # that of the list itself
            continue
    return [path for path in held if path.startswith(str(folder))]
