"""A cluster of Dask for tests, tables cut into partitions, and a Work that goes wrong where it is told to."""

import os
import signal
from typing import NamedTuple

import numpy as np
import pytest

from spiralnn import SoftmaxClassifier, TwoLayerNet
from spiralnn.engine.folding import LooseAdder
from spiralnn.engine.plan import Plan

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

from spiralnn.distributed import dask_rows  # noqa: E402

MODELS = {"linear": (SoftmaxClassifier, {}), "two layers": (TwoLayerNet, {"hidden_size": 7})}


@pytest.fixture(scope="module")
def cluster():
    # a killed worker is begun again; where that takes longer on a busy machine, the cluster goes on without it
    patience = {"distributed.deploy.lost-worker-timeout": "10 minutes"}
    with (
        dask.config.set(patience),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield cluster


@pytest.fixture
def client(cluster):
    client = distributed.get_client()
    client.wait_for_workers(2, timeout=120)
    return client


def table(N, D=2, dtype=np.float32, seed=0):
    random = np.random.default_rng([N, D, seed])
    X = random.standard_normal((N, D)).astype(dtype)
    y = (X[:, 0] * X[:, 1] > 0) + 2 * (X[:, 0] > 1)
    return X, y, random.random(N)


def cut(N, n, seed=0):
    """Rows of n partitions cut at random, among them an empty one and one of five rows."""
    random = np.random.default_rng(seed)
    places = np.sort(np.append(random.integers(0, N, n - 4), [N // 2, N // 2, N // 2 + 5]))
    return tuple(np.diff([0, *places, N]).tolist())


def unknown(array):
    """The same array, the lengths of whose partitions Dask does not know."""
    lengths = tuple(np.nan for _ in array.chunks[0])
    return array.map_blocks(np.copy, chunks=(lengths, *array.chunks[1:]), dtype=array.dtype, meta=array._meta)


def fitted(model, solver, *rows, max_iter=8, **options):
    kind, own = MODELS[model]
    return kind(solver=solver, max_iter=max_iter, random_state=0, **own, **options).fit(*rows)


def held(X, y, weights=None):
    return dask_rows.collector_of(X, y, weights, n_features=None, owner="model", dtype=None, n_threads=None)


def assert_same_bits(found, expected):
    for a, b in zip((*found.coefs_, *found.intercepts_), (*expected.coefs_, *expected.intercepts_), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert found.loss_curve_ == expected.loss_curve_


def collector_over(*arrays):
    return held(*(da.from_array(a, chunks=(1_999, *a.shape[1:])) for a in arrays))


class Count(NamedTuple):
    """Work: rows are counted. fault: what happens where row 15 000 comes."""

    N: int
    fault: str = ""
    flag: str = ""

    @property
    def plan(self):
        return Plan(64, 1_000, -(-self.N // 1_000))

    def flops(self, N):
        return N

    def row_bytes(self, rows):
        return 8

    def adder(self, rows, depth, most):
        return Counter(self)

    def merge(self, left, right):
        return {"rows": left.get("rows", 0) + right.get("rows", 0)}


class Counter(LooseAdder):
    def __init__(self, work):
        self.work = work

    def add(self, start, stop):
        if start <= 15_000 < stop and self.work.fault == "raise":
            raise ZeroDivisionError("a made-up one")
        if start <= 15_000 < stop and self.work.fault == "kill" and not os.path.exists(self.work.flag):
            with open(self.work.flag, "w"):
                os.kill(os.getpid(), signal.SIGKILL)
        self.value = {"rows": self.value.get("rows", 0) + stop - start}
