"""Rows that workers of Dask hold: the bits of rows in memory, however they are cut."""

import gc
import time

import numpy as np
import pytest
from dask_cases import (
    MODELS,
    Count,
    assert_same_bits,
    client,
    cluster,
    cut,
    da,
    distributed,
    fitted,
    held,
    table,
    unknown,
)  # fmt: skip

from spiralnn import SoftmaxClassifier, TwoLayerNet
from spiralnn.distributed import dask_cluster
from spiralnn.distributed.dask_arrays import is_dask, ranges_for
from spiralnn.estimators.material import gather

__all__ = ["client", "cluster"]  # fixtures

CASES = [
    ("two layers", "lbfgs", np.float32, True, 12),
    ("two layers", "gd", np.float64, False, 12),
    ("linear", "newton-cholesky", np.float64, True, 12),
    ("linear", "lbfgs", np.float32, False, 40),
]
MORE = [
    (model, solver, dtype, weighted, n)
    for model in MODELS
    for solver in ("gd", "lbfgs", "newton-cholesky")
    for dtype in (np.float32, np.float64)
    for weighted in (False, True)
    for n in (12, 401)
    if model == "linear" or solver != "newton-cholesky"
]


@pytest.mark.parametrize(
    ("model", "solver", "dtype", "weighted", "n"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.long) for case in MORE)],
)
def test_bits_do_not_depend_on_partitions(client, model, solver, dtype, weighted, n):
    N = 20_001
    X, y, w = table(N, dtype=dtype)
    chunks = cut(N, n)
    rows = [da.from_array(X, chunks=(chunks, (1, 1))), da.from_array(y, chunks=(chunks,))]
    if weighted:
        rows.append(da.from_array(w, chunks=6_000))
    options = {"class_weight": "balanced"} if weighted else {}
    found = fitted(model, solver, *rows, **options)
    assert_same_bits(found, fitted(model, solver, *([X, y, w] if weighted else [X, y]), **options))


@pytest.mark.long
@pytest.mark.parametrize("n_workers", [1, 3])
def test_bits_do_not_depend_on_workers(cluster, client, n_workers):
    X, y, w = table(20_001)
    chunks = cut(len(X), 401)
    try:
        cluster.scale(n_workers)
        client.wait_for_workers(n_workers, timeout=120)
        while len(client.nthreads()) > n_workers:
            distributed.wait(client.submit(abs, -1, pure=False))
        rows = (da.from_array(a, chunks=(chunks, *a.shape[1:])) for a in (X, y, w))
        assert_same_bits(fitted("two layers", "lbfgs", *rows), fitted("two layers", "lbfgs", X, y, w))
    finally:
        cluster.scale(2)


@pytest.mark.parametrize("same_cut", [True, False])
def test_lengths_of_partitions_need_not_be_known(client, same_cut):
    X, y, w = table(9_001, D=5)
    chunks = cut(len(X), 12)
    others = chunks if same_cut else cut(len(X), 9, seed=1)
    names = np.array(["left", "right", "a far one", "and one farther"])[y]
    rows = [
        unknown(da.from_array(X, chunks=(chunks, 5))),
        unknown(da.from_array(names, chunks=(others,))),
        unknown(da.from_array(w, chunks=(others,))),
    ]
    found = fitted("linear", "lbfgs", *rows)
    assert_same_bits(found, fitted("linear", "lbfgs", X, names, w))
    assert found.classes_.tolist() == sorted(set(names.tolist()))


def test_rows_that_have_a_place_stay_there(client):
    """Partitions lie with both workers by turns: less than a leaf each is lent, the rest is where it was."""
    X, y, w = table(20_001)
    first, second = client.nthreads()
    dX, dy, dw = (da.from_array(a, chunks=(1_003, *a.shape[1:])) for a in (X, y, w))
    blocks = [
        client.persist(dX.blocks[k], workers=[second if k % 2 else first], allow_other_workers=False)
        for k in range(dX.numblocks[0])
    ]
    distributed.wait(blocks)
    collector = held(da.concatenate(blocks), dy, dw)
    assert [(run.stop - run.start, run.owner) for run in collector._owned[:3]] == [(1_003, 0), (1_003, 1), (1_003, 0)]
    assert len(collector._owned) == len(blocks)
    found = fitted("two layers", "lbfgs", da.concatenate(blocks), dy, dw, class_weight="balanced")
    assert_same_bits(found, fitted("two layers", "lbfgs", X, y, w, class_weight="balanced"))


def test_rows_to_judge_by(client):
    X, y, _ = table(5_001)
    seen = table(3_001, seed=1)[:2]
    expected = TwoLayerNet(hidden_size=7, solver="lbfgs", max_iter=5, random_state=0).fit(X, y, validation=seen)
    rows = da.from_array(X, chunks=(700, 2)), da.from_array(y, chunks=700)
    as_dask = tuple(da.from_array(a, chunks=(501, *a.shape[1:])) for a in seen)
    for validation in (seen, as_dask):
        found = TwoLayerNet(hidden_size=7, solver="lbfgs", max_iter=5, random_state=0).fit(*rows, validation=validation)
        assert_same_bits(found, expected)
        assert found.validation_loss_curve_ == expected.validation_loss_curve_
        assert found.validation_scores_ == expected.validation_scores_


def test_a_run_goes_on_in_memory_and_back(client, tmp_path):
    X, y, _ = table(5_001)
    rows = da.from_array(X, chunks=(700, 2)), da.from_array(y, chunks=700)
    whole = fitted("linear", "gd", X, y, max_iter=9)
    for one, other in ((rows, (X, y)), ((X, y), rows)):
        path = tmp_path / f"{is_dask(one[0])}.npz"
        SoftmaxClassifier(solver="gd", max_iter=4, random_state=0).fit(*one, checkpoint=path)
        found = SoftmaxClassifier(solver="gd", max_iter=9, random_state=0).fit(*other, checkpoint=path, resume=True)
        assert_same_bits(found, whole)


def test_a_pass_is_a_task_a_worker_and_a_set_up_a_few_calls(client, monkeypatch):
    calls, tasks = [], []
    for name in ("submit", "map", "persist", "who_has"):
        original = getattr(type(client), name)
        monkeypatch.setattr(
            type(client), name, lambda self, *a, original=original, **k: (calls.append(1), original(self, *a, **k))[1]
        )
    original_map = dask_cluster.Cluster.tasks

    def counted(self, function, *arguments, **common):
        tasks.append((function.__name__, len(arguments[0])))
        return original_map(self, function, *arguments, **common)

    monkeypatch.setattr(dask_cluster.Cluster, "tasks", counted)
    X, y, w = table(20_001)
    chunks = cut(len(X), 401)
    rows = [da.from_array(a, chunks=(chunks, *a.shape[1:])) for a in (X, y, w)]
    collector = held(*rows)
    assert len(calls) <= 5  # two workers: partitions laid out and held, and where they lie
    calls.clear()
    for _ in range(3):
        assert collector.total(Count(20_001)) == {"rows": 20_001}
    assert [n for name, n in tasks if name == "take_part"] == [2, 2, 2]
    assert len(calls) <= 5  # a pass each, and a leaf that both workers have a part in


def test_workers_hold_nothing_when_a_fit_is_over(cluster, client):
    gc.collect()
    before = set(cluster.scheduler.tasks)  # what other tests, their tracebacks say, have not let go of
    X, y, _ = table(5_001)
    fitted("linear", "lbfgs", da.from_array(X, chunks=(700, 2)), da.from_array(y, chunks=700))
    for _ in range(600):  # what lets go of it is a message
        left = set(cluster.scheduler.tasks) - before
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"{len(left)} tasks are still there")


def test_arguments_are_checked(client):
    X, y, w = table(300)
    dX, dy = da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=100)
    fit = SoftmaxClassifier().fit
    with pytest.raises(TypeError, match="y is a numpy ndarray, expected an array of Dask"):
        fit(dX, y)
    with pytest.raises(TypeError, match="sample_weight is a numpy ndarray, expected an array of Dask"):
        fit(dX, dy, w)
    with pytest.raises(ValueError, match="y has 299 labels, but X has 300 rows"):
        fit(dX, dy[1:])
    with pytest.raises(ValueError, match="y has 299 labels, but X has 300 rows"):
        fit(unknown(dX), dy[1:])
    with pytest.raises(ValueError, match=r"sample_weight has shape \(200,\), expected \(300,\)"):
        fit(dX, dy, da.from_array(w[:200], chunks=100))
    with pytest.raises(ValueError, match="X has shape"):
        fit(dy, dy)
    with pytest.raises(ValueError, match="Complex data not supported"):
        fit(dX.astype(np.complex64), dy)
    with pytest.raises(ValueError, match="Found array with 0 sample"):
        fit(dX[:0], dy[:0])
    with pytest.raises(ValueError, match="y is None"):
        fit(dX)
    with pytest.raises(ValueError, match="communicator is given beside an array of Dask"):
        gather(
            dX, dy, None, None, n_features=None, owner="model", dtype=None, classes=None, n_threads=None,
            communicator=object(),
        )  # fmt: skip


def test_dask_without_a_client(monkeypatch):
    def none():
        raise ValueError("No global client found and no address provided")

    monkeypatch.setattr(distributed, "get_client", none)
    X, y, _ = table(300)
    with pytest.raises(ValueError, match=r"there is no client: make one before, client = distributed.Client"):
        SoftmaxClassifier().fit(da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=100))


def test_ranges_have_rows_as_of_their_shares():
    assert ranges_for([10] * 12, 12, [1, 1]) == [(0, 6), (6, 12)]
    assert ranges_for(None, 12, [1, 2]) == [(0, 4), (4, 12)]
    assert ranges_for([90, 1, 1, 1, 1, 1], 6, [1, 1]) == [(0, 1), (1, 6)]
    assert ranges_for([5], 1, [1, 1, 1])[-1][1] == 1
    assert ranges_for([0, 0], 2, [1, 1])[-1][1] == 2


def test_only_collections_of_dask_are_taken_for_some():
    assert is_dask(da.zeros(3))
    assert not any(is_dask(value) for value in (np.zeros(3), [1], None, "dask"))
