"""Ranks of MPI: whatever their number, and wherever rows are cut, a fit has the bits of one process."""

import sys
import types

import numpy as np
import pytest
from mpi_jobs import CASES, FEW, data, digest, model
from mpi_launch import run

from spiralnn import ModelFileError, TwoLayerNet, load
from spiralnn.distributed.cuts import even_ranges, held_ranges, rows_needed
from spiralnn.distributed.errors import Told, raise_first
from spiralnn.distributed.job import SIZES, communicator_of_job, watch_exits_of_job
from spiralnn.kernels.tree import maximal_subtrees
from spiralnn.rows.source import RowError, RowsError


@pytest.fixture(scope="module")
def in_memory():
    """Digests of the fits of `mpi_jobs.same_bits`, by one process."""
    found = {str(case): digest(case.fit()) for case in CASES}
    found |= {f"{n} {case}": digest(case.fit(n=n)) for n in (FEW, 7) for case in CASES[1::3]}
    X, y, _ = data()
    found["labels"] = [digest(model("linear", "gd").fit(X, y)), ["a", "bb", "ccc"]]
    judged = model("network", "gd", early_stopping=True).fit(X, y, validation=(X, y))
    found["judged"] = judged.validation_loss_curve_
    found["resumed"] = digest(model("network", "lbfgs", max_iter=12).fit(X, y))
    return found


@pytest.fixture
def checkpoint(tmp_path):
    """That of a fit of one process, which was stopped after 3 of 12 iterations."""
    path = tmp_path / "checkpoint"
    X, y, _ = data()
    stopped = model("network", "lbfgs", max_iter=12, callback=lambda step, loss, fitted: step == 2)
    assert stopped.fit(X, y, checkpoint=path).n_iter_ == 3
    return path


@pytest.mark.parametrize(
    "library, size",
    [
        ("mpich", 2),
        ("openmpi", 3),
        ("mpich", 4),
        *(pytest.param(library, size, marks=pytest.mark.long) for library, size in [("mpich", 1), ("mpich", 3)]),
        *(pytest.param("openmpi", size, marks=pytest.mark.long) for size in (1, 2, 4)),
    ],
)
def test_any_number_of_ranks_has_the_bits_of_one_process(library, size, in_memory, checkpoint):
    answer = run(library, size, "same_bits", checkpoint).answer
    assert answer["different"] == []
    assert answer["digests"] == in_memory


def test_only_the_first_rank_prints_and_keeps_and_any_may_stop(tmp_path):
    path = tmp_path / "checkpoint"
    answer = run("mpich", 2, "talk", path).answer
    assert answer["printed"] == [3, 0]
    assert answer["steps"] == [3, 3]
    assert answer["threads"] == [max(1, answer["cpus"] // 2)] * 2  # each has its share
    assert answer["wanted threads"] == [3, 3]
    # a rank reads the rows of its own leaves alone, which are of about 640 rows
    N, ((first, stop), (start, last)) = len(data()[0]), answer["read"]
    assert first == 0 and stop < N / 2 + 640 and start > N / 2 - 640 and last == N
    # SIGINT on one of them ends the fit on all
    assert answer["interrupted"] == [[4, "FitInterruptedWarning"]] * 2
    X, y, _ = data()
    goes_on = model("network", "lbfgs", max_iter=12)
    assert digest(goes_on.fit(X, y, checkpoint=path, resume=True)) == digest(goes_on.fit(X, y))


def test_a_rank_that_is_slow_is_not_taken_for_one_that_is_gone():
    # told as silence: 3 s. Rank 1 takes 8 pieces of rows, and says so after each of them
    ended = run("mpich", 2, "slow", 0.6, environment={"SPIRALNN_RANK_TIMEOUT": "36"})
    assert ended.answer == digest(CASES[0].fit())
    assert "waits for" not in ended.err


EXPECTED = {
    "D": "rank 1 differs from others: the number of features is 2, expected 3",
    "N": "rank 1 differs from others: the number of rows is 5000, expected 5001",
    "dtype": "rank 1 differs from others: the dtype that X is computed in is 'float32', expected 'float64'",
    "setting": "rank 1 differs from others: max_iter is 9, expected 4",
    "solver": "rank 1 differs from others: solver is 'lbfgs', expected 'gd'",
    "model": "rank 1 differs from others: the model is 'TwoLayerNet', expected 'SoftmaxClassifier'",
    "labels": "rank 1 differs from others: y is ",
    "labels' dtype": "rank 1 differs from others: y is [[5001], '<U",
    "weights": "rank 1 differs from others: sample_weight is [[5001], '<f8'",
    "validation": "validation: rank 1 differs from others: ",
    "length of y": "rank 1: y has 5000 labels, but X has 5001 rows",
    "part": "rank 1 differs from others: whether its rows are a part",
    "D of a part": "rank 1 differs from others: the number of features is 6, expected 3",
    "dtype of a part": "rank 1 differs from others: the dtype that X is computed in is float32, expected float64",
    "labels of a part": "rank 1 differs from others: the labels' kind is str, expected integers",
    "no rows": "there are no rows on any of 3 ranks, expected some",
    "NaN": "rank 2: X holds NaN at [4000, 1], expected finite numbers (row 4000)",
    "NaN in a part": "rank 2: X holds NaN at [4000, 1], expected finite numbers (row 666 of rank 2)",
    "first of two": "rank 0: y holds NaN at [10], expected finite numbers",
    "weight": "rank 0: Negative values in data passed to `sample_weight`: -1 at [3]",
    "batches": "solver is 'adam', which takes batches of an array in the memory of one process",
    "parameters": "rank 1 came to other parameters than the others, expected the same bits on all",
    "communicator": "communicator is 'world', expected an intracommunicator of mpi4py",
    "diverged": "the loss or a parameter was no longer finite at step 1",
}


def test_what_does_not_go_together_is_said_by_all_ranks_alike():
    said = run("mpich", 3, "refusals").answer
    assert said.pop("afterwards") == digest(CASES[0].fit())
    assert said.keys() == EXPECTED.keys()
    for name, (kind, message) in said.items():
        assert message.startswith(EXPECTED[name]), (name, kind, message)
    kinds = {kind for kind, _ in said.values()}
    assert kinds == {"ValueError", "RowError", "TypeError", "FloatingPointError", "RuntimeError"}


# --------------------------------------------------------------------------------------- cuts of leaves


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("n_leaves", [1, 2, 5, 100, 4096, 325_521, 10**8])
def test_ranges_are_even_and_have_few_roots(n_leaves, size):
    ranges = even_ranges(n_leaves, size)
    assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])] and ranges[-1][1] == n_leaves
    share = n_leaves / size
    assert all(abs(last - first - share) <= share / 32 + 1 for first, last in ranges)
    assert all(len(maximal_subtrees(*leaves)) <= 15 for leaves in ranges)
    assert len(ranges) == size


def test_a_leaf_is_that_of_the_holder_of_its_first_row():
    firsts = [0, 5, 5, 10, 37, 40]
    assert held_ranges(firsts, 10) == [(0, 1), (1, 1), (1, 1), (1, 4), (4, 4)]
    assert rows_needed(firsts, 10) == [10, 5, 10, 40, 40]


def test_no_rank_lacks_a_leaf_of_rows():
    random = np.random.default_rng(0)
    for _ in range(200):
        N, leaf_rows = int(random.integers(1, 5000)), int(random.integers(1, 300))
        firsts = [0, *sorted(random.integers(0, N + 1, 6).tolist()), N]
        ranges, needed = held_ranges(firsts, leaf_rows), rows_needed(firsts, leaf_rows)
        assert ranges[0][0] == 0 and ranges[-1][1] == -(-N // leaf_rows)
        for (first, last), start, end, need in zip(ranges, firsts, firsts[1:], needed, strict=False):
            assert 0 <= need - end < leaf_rows
            assert all(start <= leaf * leaf_rows < end for leaf in range(first, last))
            if first < last:
                assert need == min(last * leaf_rows, N) or need == end


# ------------------------------------------------------------------------------------ errors that travel


class Own(LookupError):
    pass


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    "error, expected",
    [
        (RowError("wrong", 7), RowError("rank 2: wrong", 7)),
        (RowsError("gone"), RowsError("rank 2: gone")),
        (FileNotFoundError(2, "No such file", "X.npy"), FileNotFoundError(2, "rank 2: No such file", "X.npy")),
        (RowsError(5, "Input/output error", "X.npy"), RowsError(5, "rank 2: Input/output error", "X.npy")),
        (Own("own"), LookupError("rank 2: own")),
        (ModelFileError("damaged"), ModelFileError("rank 2: damaged")),
        (Odd("odd"), RuntimeError("rank 2: Odd: odd")),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), RuntimeError("rank 2: UnicodeDecodeError: 'utf-8' codec")),
        (KeyboardInterrupt(), KeyboardInterrupt("rank 2 was interrupted")),
    ],
)
def test_errors_of_one_rank_are_those_of_all(error, expected):
    found = Told.of(error).error(2)
    assert type(found) is type(expected) and str(found).startswith(str(expected))
    assert getattr(found, "row", None) == getattr(expected, "row", None)


def test_the_first_wrong_row_of_all_ranks_is_told():
    told = [Told.of(RowError("later", 9)), None, Told.of(RowError("sooner", 4))]
    with pytest.raises(RowError, match="rank 2: sooner"):
        raise_first(told, None)
    with pytest.raises(MemoryError, match="rank 1"):
        raise_first([told[0], Told.of(MemoryError("full")), told[2]], None)
    raise_first([None, None], None)


# ------------------------------------------------------------------------------------- the job's own


def test_a_process_that_is_alone_needs_no_mpi(monkeypatch):
    for name in SIZES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert communicator_of_job() is None
    monkeypatch.setenv("PMI_SIZE", "3")
    with pytest.raises(ImportError, match="one of 3 processes of an MPI job, but mpi4py cannot be loaded"):
        communicator_of_job()


def test_exceptions_outside_of_jobs_are_nobody_elses(monkeypatch):
    for name in SIZES:
        monkeypatch.delenv(name, raising=False)
    before = sys.excepthook
    watch_exits_of_job()
    assert sys.excepthook is before


def test_an_mpi_other_than_that_of_mpiexec_is_told(monkeypatch):
    alone = types.SimpleNamespace(size=1)
    fake = types.ModuleType("mpi4py")
    fake.MPI = types.SimpleNamespace(COMM_WORLD=alone, Get_library_version=lambda: "MPICH Version: 5.0\nmore")
    monkeypatch.setitem(sys.modules, "mpi4py", fake)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="started 2 processes, but mpi4py sees one: its library is MPICH"):
        communicator_of_job()
    alone.size = 2
    assert communicator_of_job() is alone


def test_the_command_line_under_mpiexec(tmp_path):
    X, y, _ = data()
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    done = run("mpich", 2, "command", "fit", tmp_path / "X.npy", tmp_path / "y.npy", "--out", tmp_path / "m.npz",
               "--hidden", 8, "--max-iter", 5, "--json")  # fmt: skip
    assert done.code == 0 and done.out.count("\n") == 1, done
    answer = done.answer
    assert (answer["ranks"], answer["solver"], answer["out_of_core"], answer["N"]) == (2, "lbfgs", True, len(y))
    alone = TwoLayerNet(solver="lbfgs", hidden_size=8, max_iter=5, random_state=0).fit(X, y)
    assert digest(load(tmp_path / "m.npz")) == digest(alone) and answer["train_accuracy"] == alone.score(X, y)
    refused = run("mpich", 2, "command", "fit", tmp_path / "X.npy", tmp_path / "y.npy", "--solver", "adam")
    assert refused.code != 0 and "solver is 'adam', which takes batches" in refused.err, refused
