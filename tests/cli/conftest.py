"""Every test in a working folder of its own, with rows to train with and a model of them where it asks for these."""

import numpy as np
import pytest

import spiralnn


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def spiral():
    """The arrays in X.npy and y.npy: 3 classes of 40 rows, shuffled."""
    X, y = spiralnn.make_spiral(40, 3, random_state=0)
    order = np.random.RandomState(1).permutation(len(y))
    X, y = X[order], y[order]
    np.save("X.npy", X)
    np.save("y.npy", y)
    return X, y


@pytest.fixture
def model(spiral):
    """A small network, kept in model.npz."""
    net = spiralnn.TwoLayerNet(hidden_size=8, max_iter=30, random_state=0).fit(*spiral)
    net.save("model.npz")
    return net
