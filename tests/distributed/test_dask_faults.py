"""What may go wrong where workers of Dask hold the rows: the run goes on, or one error says who failed, and why."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from dask_cases import Count, assert_same_bits, client, cluster, collector_over, da, distributed, fitted, held, table

from spiralnn import SoftmaxClassifier
from spiralnn.distributed import dask_cluster, dask_worker

__all__ = ["client", "cluster"]  # fixtures


def test_a_worker_killed_in_the_middle_of_a_pass_costs_time_alone(client, tmp_path):
    before = set(client.run(os.getpid).values())
    collector = collector_over(*table(20_001))
    assert collector.total(Count(20_001, "kill", str(tmp_path / "flag"))) == {"rows": 20_001}
    assert (tmp_path / "flag").exists()
    client.wait_for_workers(2, timeout=120)
    assert len(before & set(client.run(os.getpid).values())) == 1
    assert collector.total(Count(20_001)) == {"rows": 20_001}


@pytest.mark.parametrize("n_killed", [1, 2])
def test_workers_killed_in_a_run(client, n_killed):
    """They come back, their partitions are computed again, and the bits are the same."""
    X, y, w = table(20_001)
    killed = []

    def kill(step, loss, model):
        if step == 3 and not killed:
            killed.extend(list(client.run(os.getpid).values())[:n_killed])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    rows = [da.from_array(a, chunks=(1_999, *a.shape[1:])) for a in (X, y, w)]
    found = fitted("two layers", "lbfgs", *rows, callback=kill)
    assert len(killed) == n_killed
    assert_same_bits(found, fitted("two layers", "lbfgs", X, y, w))


def test_all_workers_gone_for_good(monkeypatch):
    """An error says so, and names those that were there; nothing waits for ever."""
    monkeypatch.setattr(dask_cluster, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(dask_cluster, "PATIENCE_SECONDS", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        # one that nobody starts again
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-nanny"]
        worker = subprocess.Popen([*command, "--nthreads", "1", "--no-dashboard"], stderr=subprocess.DEVNULL)
        try:
            client.wait_for_workers(1, timeout=120)
            (name,) = client.nthreads()
            collector = collector_over(*table(5_001))
        finally:
            worker.kill()
            worker.wait()
        with pytest.raises(dask_worker.WorkerError, match=r"all workers of Dask are gone .* a pass") as caught:
            for _ in range(1_000):  # Dask may take a moment to see it
                collector.total(Count(5_001))
        assert name in str(caught.value)


def test_a_task_that_raises_names_its_worker(client):
    collector = collector_over(*table(20_001))
    with pytest.raises(dask_worker.WorkerError, match=r"worker tcp://\S+ failed in a pass: ZeroDivisionError: a made"):
        collector.total(Count(20_001, "raise"))
    assert collector.total(Count(20_001)) == {"rows": 20_001}


def test_a_partition_that_cannot_be_computed_names_its_worker(client):
    def missing(block):
        raise FileNotFoundError("part-7.npy is not there")

    X, y, _ = table(300)
    rows = da.from_array(X, chunks=(100, 2)).map_blocks(missing, dtype=X.dtype, meta=X[:0])
    with pytest.raises(dask_worker.WorkerError, match=r"worker tcp://\S+ could not compute .*part-7.npy is not there"):
        SoftmaxClassifier().fit(rows, da.from_array(y, chunks=100))


def test_what_was_put_there_by_hand_is_lost_with_its_worker(client):
    X, y, _ = table(3_000)
    (worker, *_), pids = client.nthreads(), client.run(os.getpid)
    there = client.scatter(X, workers=[worker])
    rows = da.from_delayed(there, X.shape, X.dtype), da.from_array(y, chunks=3_000)
    collector = held(*rows)
    assert collector.total(Count(3_000)) == {"rows": 3_000}
    os.kill(pids[worker], signal.SIGKILL)
    with pytest.raises(dask_worker.WorkerError, match=r"a pass"):
        for _ in range(1_000):  # Dask may take a moment to see it
            collector.total(Count(3_000))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("X", r"X holds NaN at \[4200, 1\].*row 202 of partition 2"),
        ("weights", r"sample_weight holds infinity at \[4200\].*row 202 of partition 2"),
        ("label", r"y holds label 9, which is not among the classes \[0, 1, 2, 3\].*row 202 of partition 2"),
    ],
)
def test_the_first_wrong_row_is_named(client, kind, error):
    X, y, w = table(9_001)
    rows = [da.from_array(a, chunks=(1_999, *a.shape[1:])) for a in (X, y, w)]
    model = SoftmaxClassifier(solver="lbfgs", warm_start=True, max_iter=2).fit(*rows)
    for row in (8_000, 4_200):
        X[row, 1], w[row], y[row] = (np.nan, w[row], y[row]) if kind == "X" else (
            (X[row, 1], np.inf, y[row]) if kind == "weights" else (X[row, 1], w[row], 9)
        )  # fmt: skip
    rows = [da.from_array(a, chunks=(1_999, *a.shape[1:])) for a in (X, y, w)]
    if kind == "label":
        validation, rows = rows[:2], [da.from_array(a[:4_000], chunks=(999, *a.shape[1:])) for a in (X, y, w)]
        with pytest.raises(ValueError, match=error):
            model.fit(*rows, validation=validation)
    else:
        with pytest.raises(ValueError, match=error):
            model.fit(*rows)


def test_arrays_that_are_not_what_dask_says(client):
    X, y, _ = table(300)
    dX, dy = da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=100)
    short = dX.map_blocks(lambda block: block[1:], chunks=dX.chunks, dtype=dX.dtype)
    with pytest.raises(dask_worker.WorkerError, match=r"worker tcp://\S+: partition 0 of X has shape \(99, 2\)"):
        SoftmaxClassifier().fit(short, dy)
    wide = dX.map_blocks(lambda block: block.astype(np.float64), dtype=np.float32, meta=X[:0])
    with pytest.raises(dask_worker.WorkerError, match=r"partition 0 of X has dtype float64, expected float32"):
        SoftmaxClassifier().fit(wide, dy)
