"""Rows in .npy files and memmaps: the numbers of the arrays, read where they are needed, and what cannot be opened."""

import os
import pickle
import shutil

import numpy as np
import pytest
from row_files import cut, digest, model, open_in, rows, saved

from spiralnn import Objective, open_rows
from spiralnn.rows import shards

DTYPES = ["<f8", "<f4", "<f2", ">f8", ">f4", ">f2", "i1", "<u2", ">i4", "<i8", ">u8", "?", "g"]


def numbers(shape, dtype, seed=0):
    random = np.random.default_rng(seed)
    values = random.integers(0, 100, shape) if np.dtype(dtype).kind in "iub" else random.standard_normal(shape)
    return values.astype(dtype)


def parts_of(opened, seed=0):
    """X, y and weights in runs of rows of random lengths, put together; each read into the same buffers."""
    random, found, start = np.random.default_rng(seed), ([], [], []), 0
    buffers = opened.buffers(40)
    while start < opened.N:
        stop = min(start + int(random.integers(1, 41)), opened.N)
        found[0].append(opened.features(start, stop, buffers).copy())
        found[1].append(opened.labels(start, stop, buffers).copy())
        found[2].append(opened.checked_weights(start, stop, buffers).copy())
        start = stop
    return [np.concatenate(part) for part in found]


@pytest.mark.parametrize("dtype", DTYPES)
def test_shards_are_the_array(dtype, tmp_path):
    X, y, weights = numbers((300, 4), dtype), numbers(300, ">i2"), np.abs(numbers((300, 1), "<f4"))
    paths = cut(X, tmp_path, "X"), cut(y, tmp_path, "y", seed=1), cut(weights, tmp_path, "w", seed=2)
    opened = open_rows(*paths)
    kernel = np.float32 if np.dtype(dtype).newbyteorder("=") == np.float32 else np.float64
    assert opened.shape == (300, 4) and opened.dtype == kernel and len(opened) == 300
    found = parts_of(opened)
    np.testing.assert_array_equal(found[0], X.astype(kernel))
    assert found[0].dtype == kernel
    np.testing.assert_array_equal(found[1], y)
    np.testing.assert_array_equal(found[2], weights[:, 0])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_all_versions(version, tmp_path):
    X = numbers((7, 3), "<f4")
    with open(tmp_path / "X.npy", "wb") as file:
        np.lib.format.write_array(file, X, version)
    opened = open_rows(tmp_path / "X.npy")
    np.testing.assert_array_equal(opened.features(2, 7, opened.buffers(5)), X[2:])


@pytest.mark.parametrize("dtype", ["?", "u1", ">i8", "<f4", "U5", ">U5", "S3"])
def test_labels_of_all_kinds(dtype, tmp_path):
    y = np.array([0, 1, 1, 0, 1], dtype)
    opened = open_rows(*saved(tmp_path, X=np.zeros((5, 2)), y=y))
    found = opened.labels(1, 4, opened.buffers(5))
    assert found.dtype == y.dtype
    np.testing.assert_array_equal(found, y[1:4])


def test_strings_of_shards_are_as_wide_as_the_widest(tmp_path):
    y = np.array(["no", "yes", "no", "perhaps", "no"])
    opened = open_rows(np.zeros((5, 2)), saved(tmp_path, a=y[:2], b=y[2:]))
    np.testing.assert_array_equal(opened.labels(0, 5, opened.buffers(5)), y)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_what_needs_no_conversion_is_read_where_it_is_used(dtype, tmp_path):
    X = numbers((4000, 3), dtype)
    opened = open_rows(cut(X, tmp_path, "X"))
    buffers = opened.buffers(3000)
    found = opened.features(500, 3000, buffers)
    assert np.shares_memory(found, buffers.X.rows) and buffers.converted is None
    assert found.ctypes.data % 4096 == 0 and found.flags.carray and type(found) is np.ndarray


def test_threads_have_buffers_of_their_own(tmp_path):
    X = numbers((60, 2), "<f8")
    opened = open_rows(saved(tmp_path, X=X))
    one, other = opened.buffers(30), opened.buffers(30)
    first, second = opened.features(0, 30, one), opened.features(30, 60, other)
    np.testing.assert_array_equal(np.concatenate([first, second]), X)


def test_columns_are_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_BYTES", 1000)  # 12 rows
    X = numbers((300, 10), ">f4")
    wanted = X[:, [7, 0, 3]].astype(np.float32)
    for source in (cut(X, tmp_path, "X"), X, np.asfortranarray(X)):
        opened = open_rows(source, columns=[7, 0, 3])
        assert opened.shape == (300, 3)
        buffers = opened.buffers(200)
        np.testing.assert_array_equal(opened.features(0, 150, buffers), wanted[:150])
        np.testing.assert_array_equal(opened.features(110, 300, buffers), wanted[110:])
    assert open_rows(cut(X, tmp_path, "X"), columns=range(2)).X.place(3).startswith("row 2 of ")


def test_some_columns_of_many_cost_no_memory_for_the_others(tmp_path):
    """10 000 columns in a file of 80 GB without anything in it."""
    path = tmp_path / "X.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**4)})
        file.truncate(file.tell() + 8 * 10**10)
    opened = open_rows(path, columns=[9_999])
    buffers = opened.buffers(500_000)
    assert not opened.features(999_990, 10**6, buffers).any()
    assert buffers.X.kept.rows.nbytes <= 1 << 20


def test_a_billion_rows(tmp_path):
    path = tmp_path / "X.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 2)})
        file.truncate(file.tell() + 8 * 10**9)
    opened = open_rows([path, *saved(tmp_path, last=np.ones((3, 2), np.float32))])
    assert opened.N == 10**9 + 3
    assert opened.features(10**9 - 3, 10**9 + 3, opened.buffers(6)).tolist() == [[0, 0]] * 3 + [[1, 1]] * 3


def test_files_are_closed_between_reads(tmp_path):
    X = numbers((600, 2), "<f8")
    opened = open_rows(cut(X, tmp_path, "X", sizes=[2] * 300))
    np.testing.assert_array_equal(opened.features(0, 600, opened.buffers(600)), X)
    assert not open_in(tmp_path)


def test_they_are_found_from_another_folder_and_process(tmp_path, monkeypatch):
    X, y, weights = rows(50)
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, X=X, y=y, w=weights)
    opened = pickle.loads(pickle.dumps(open_rows("X.npy", "y.npy", "w.npy")))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for part, wanted in zip(parts_of(opened), (X, y, weights), strict=True):
        np.testing.assert_array_equal(part, wanted)
    assert opened.X.place(3) == "row 3 of 'X.npy'"


def test_identity_is_the_same_wherever_files_lie(tmp_path):
    X, y, _ = rows(100)
    for name in ("here", "there", "cut"):
        (tmp_path / name).mkdir()
    here = cut(X, tmp_path / "here", "X"), saved(tmp_path / "here", y=y)
    there = [[shutil.copy(path, tmp_path / "there") for path in paths] for paths in here]
    other = cut(X, tmp_path / "cut", "X", seed=5)
    assert open_rows(*here).identity() == open_rows(*there).identity()
    assert open_rows(*here).identity() != open_rows(other, y).identity()
    assert open_rows(here[0]).identity() != open_rows([path for path in reversed(here[0])]).identity()


def test_arrays_and_lists_of_them(tmp_path):
    X, y, weights = rows(60)
    names = np.array(["red", "green", "blue"])[y]
    sources = X, X.tolist(), [X[:5], X[5:5], X[5:]], [X[:20], *saved(tmp_path, b=X[20:])], np.asfortranarray(X)
    for source in sources:
        opened = open_rows(source, names.astype(object), [weights[:30], weights[30:, None]])
        for part, wanted in zip(parts_of(opened), (X, names, weights), strict=True):
            np.testing.assert_array_equal(part, wanted)
    assert opened.y.dtype == names.dtype
    with pytest.raises(TypeError, match="^array 1 of y has dtype object, expected labels: whole numbers, bools or str"):
        open_rows(X, [y[:30], np.array([1, "a", None] * 10, object)])
    with pytest.raises(ValueError, match="^array 1 of X has 4 columns, but array 0 of X has 5 columns"):
        open_rows([X[:30], X[30:, :4]])


# --------------------------------------------------------------------------------------------------- memmaps


def mapped(path, array, mode="r"):
    np.save(path, array)
    return np.load(path, mmap_mode=mode)


@pytest.mark.parametrize("start,stop", [(0, 500), (123, 500), (499, 500)])
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_runs_of_rows_of_a_memmap(start, stop, mode, tmp_path):
    X = numbers((500, 3), ">f8")
    array = mapped(tmp_path / "X.npy", X, mode)
    for part in (array[start:stop], np.asarray(array)[start:stop], array[start:][: stop - start]):
        opened = open_rows(part)
        assert opened.X.place(0) == f"row 0 of {str(tmp_path / 'X.npy')!r}"
        np.testing.assert_array_equal(opened.features(0, stop - start, opened.buffers(500)), X[start:stop])


def test_a_memmap_of_any_file(tmp_path):
    X = numbers((20_000, 3), "<f4")  # across many pages
    (tmp_path / "raw").write_bytes(b"x" * 12_345 + X.tobytes())
    array = np.memmap(tmp_path / "raw", np.float32, "r", offset=12_345, shape=X.shape)
    opened = open_rows([array[:7_000], array[7_000:]])
    np.testing.assert_array_equal(opened.features(0, 20_000, opened.buffers(20_000)), X)


def test_what_was_written_to_a_memmap_is_there(tmp_path):
    array = mapped(tmp_path / "X.npy", np.zeros((50, 2)), "r+")
    array[7] = 1.0
    opened = open_rows(array)
    assert opened.features(7, 8, opened.buffers(1)).tolist() == [[1.0, 1.0]]


def test_memmaps_that_are_no_rows_of_a_file(tmp_path):
    X = numbers((50, 4), "<f8")
    array = mapped(tmp_path / "X.npy", X)
    for part in (array[:, :2], array[::2], array.T, array[::-1]):
        with pytest.raises(ValueError, match="^X: the memmap's rows do not lie one after the other, expected"):
            open_rows(part)
    with pytest.raises(ValueError, match="mode 'c', so that its file lacks .* expected mode 'r'"):
        open_rows(mapped(tmp_path / "c.npy", X, "c"))
    with open(tmp_path / "X.npy", "rb", buffering=0) as file:
        unnamed = np.memmap(os.fdopen(os.dup(file.fileno()), "rb"), np.float64, "r", offset=128, shape=X.shape)
    unnamed.filename = None
    with pytest.raises(ValueError, match="no name"):
        open_rows(unnamed)
    copy = open_rows(array * 2.0)  # no longer mapped
    np.testing.assert_array_equal(copy.features(0, 50, copy.buffers(50)), X * 2.0)


# --------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("kind", ["linear", "network"])
@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
@pytest.mark.parametrize(
    "dtype, weighting",
    [
        (np.float64, "none"), (np.float64, "both"), (np.float32, "sample_weight"),
        *(pytest.param(np.float64, how, marks=pytest.mark.long) for how in ("sample_weight", "balanced")),
        *(pytest.param(np.float32, how, marks=pytest.mark.long) for how in ("none", "balanced", "both")),
    ],
)  # fmt: skip
def test_training_comes_to_the_same_bits(kind, solver, dtype, weighting, tmp_path, small_pieces):
    X, y, weights = rows(2500, dtype=dtype)
    y[y == 2] *= np.arange((y == 2).sum()) % 3 > 0  # classes of different size
    weights = weights if weighting in ("sample_weight", "both") else None
    settings = {"class_weight": "balanced"} if weighting in ("balanced", "both") else {}
    wanted = digest(model(kind, solver, **settings).fit(X, y, weights))
    split = None if weights is None else cut(weights, tmp_path, "w", seed=3)
    opened = open_rows(cut(X, tmp_path, "X"), cut(y, tmp_path, "y", seed=1), split)
    for n_threads in (1, 2):
        assert digest(model(kind, solver, n_threads=n_threads, **settings).fit(opened)) == wanted


def test_conversion_and_labels_change_no_bit(tmp_path, small_pieces):
    X, y, _ = rows(2000)
    X = np.rint(4 * X).astype(">i2")
    names = np.array(["red", "green", "blue"])[y]
    wanted = model("network", "lbfgs").fit(X, names)
    for source in (cut(X, tmp_path, "X"), mapped(tmp_path / "X.npy", X)):
        found = model("network", "lbfgs").fit(open_rows(source, cut(names, tmp_path, "y", seed=2)))
        assert digest(found) == digest(wanted)
        assert found.classes_.tolist() == wanted.classes_.tolist() == ["blue", "green", "red"]


def test_validation_and_newton_come_to_the_same_bits(tmp_path, small_pieces):
    X, y, weights = rows(2000)
    judged = rows(300, seed=1)[:2]
    opened, seen = open_rows(cut(X, tmp_path, "X"), y, weights), open_rows(*saved(tmp_path, V=judged[0], v=judged[1]))
    for solver in ("lbfgs", "newton-cholesky"):
        settings = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 30}
        wanted = model("linear", solver, **settings).fit(X, y, weights, validation=judged)
        found = model("linear", solver, **settings).fit(opened, validation=seen)
        assert digest(found) == digest(wanted)
        assert found.validation_scores_ == wanted.validation_scores_


def test_prediction_and_objective_are_those_of_arrays(tmp_path, small_pieces):
    X, y, weights = rows(2000, dtype=np.float32)
    opened = open_rows(cut(X, tmp_path, "X"), cut(y, tmp_path, "y", seed=1), weights)
    fitted = model("network", "lbfgs").fit(X, y, weights)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(fitted, method)(opened), getattr(fitted, method)(X))
    assert fitted.score(opened) == pytest.approx(fitted.score(X, y, weights), rel=1e-14)
    there = Objective(opened, hidden_size=4, reg=0.1)
    here = Objective(X, y, hidden_size=4, reg=0.1, sample_weight=weights)
    theta = there.initial(0)
    assert there(theta)[0] == here(theta)[0]
    np.testing.assert_array_equal(there(theta)[1], here(theta)[1])
