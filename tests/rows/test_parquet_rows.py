"""Rows of Parquet files: decoded where they are read, or once into raw files."""

import decimal
import os
import pickle
import resource
import shutil
import sys

import numpy as np
import pytest
from row_files import digest, model, rows, saved

from spiralnn import RowsError, open_rows
from spiralnn.rows import parquet
from spiralnn.rows.npy import RawRows
from spiralnn.rows.source import RowError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LONG_AGO = 10**18  # nanoseconds


def table(path, columns, group=200, **options):
    pq.write_table(pa.table(columns), path, row_group_size=group, **options)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def data():
    X, y, weights = rows(1500, D=3)
    return X, np.array(["no", "yes", "perhaps"])[y], weights


def columns_of(X, y, weights, **changed):
    return {"a": X[:, 0], "label": y, "b": X[:, 1], "weight": weights, "c": X[:, 2], **changed}


@pytest.fixture
def folder(data, tmp_path):
    """Part files in the order of their names, one without rows; other programs' marks beside them."""
    X, y, weights = data
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, (start, stop) in enumerate([(0, 5), (5, 700), (700, 700), (700, 1500)]):
        table(folder / f"part-{i}.parquet", columns_of(X[start:stop], y[start:stop], weights[start:stop]))
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet").write_text("a sum")
    return folder


def features(opened, start=0, stop=None):
    stop = opened.N if stop is None else stop
    return opened.features(start, stop, opened.buffers(stop - start)).copy()


caches = pytest.mark.parametrize("cached", [False, True], ids=["decoded each time", "decoded once"])


@caches
def test_part_files_are_the_table(cached, data, folder, tmp_path):
    X, y, weights = data
    opened = open_rows(folder, "label", "weight", cache=tmp_path / "cache" if cached else None)
    assert opened.shape == (1500, 3) and opened.names == ["a", "b", "c"] and opened.dtype == np.float64
    random, buffers = np.random.default_rng(0), opened.buffers(300)
    for _ in range(30):
        start = int(random.integers(0, 1500))
        stop = min(start + int(random.integers(1, 301)), 1500)
        np.testing.assert_array_equal(opened.features(start, stop, buffers), X[start:stop])
        np.testing.assert_array_equal(opened.labels(start, stop, buffers), y[start:stop])
        np.testing.assert_array_equal(opened.checked_weights(start, stop, buffers), weights[start:stop])
    assert opened.y.dtype == "U7"
    assert opened.X.place(6) == f"row 1 of {str(folder / 'part-1.parquet')!r}"


@caches
@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_training_comes_to_the_same_bits(cached, solver, data, folder, tmp_path, small_pieces):
    X, y, weights = data
    opened = open_rows(folder, "label", "weight", cache=tmp_path / "cache" if cached else None)
    wanted, found = model("network", solver).fit(X, y, weights), model("network", solver).fit(opened)
    assert digest(found) == digest(wanted)
    assert found.classes_.tolist() == wanted.classes_.tolist()
    np.testing.assert_array_equal(found.predict(opened), wanted.predict(X))


def test_numbers_of_all_kinds(tmp_path):
    random = np.random.default_rng(0)
    money = [decimal.Decimal(int(n)).scaleb(-2) for n in random.integers(-(10**9), 10**9, 500)]
    kinds = {
        "double": random.standard_normal(500), "single": random.standard_normal(500).astype(np.float32),
        "half": random.standard_normal(500).astype(np.float16), "long": random.integers(-9, 9, 500),
        "byte": random.integers(0, 255, 500).astype(np.uint8), "truth": random.integers(0, 2, 500).astype(bool),
        "money": pa.array(money, pa.decimal128(20, 2)),
    }  # fmt: skip
    opened = open_rows(table(tmp_path / "t.parquet", kinds, group=60))
    wanted = {**kinds, "money": [float(number) for number in money]}
    np.testing.assert_array_equal(features(opened), np.column_stack([wanted[name] for name in kinds]).astype(float))
    single = open_rows(tmp_path / "t.parquet", columns=["single"])
    assert single.dtype == np.float32
    np.testing.assert_array_equal(features(single)[:, 0], kinds["single"])
    assert open_rows(tmp_path / "t.parquet", columns=["single", "half"]).dtype == np.float64


@caches
@pytest.mark.parametrize("kind", ["int8", "int64", "bool", "double", "string", "large_string", "categories"])
def test_labels_of_all_kinds(kind, cached, tmp_path):
    y = np.array([0, 1, 1, 0, 1] * 50)
    values = {"bool": y.astype(bool), "string": y.astype(str), "large_string": y.astype(str)}.get(kind, y)
    if kind == "categories":
        values = np.array(["left", "right"])[y]
        column = pa.array(values).dictionary_encode()
    else:
        column = pa.array(values, kind)
    path = table(tmp_path / "t.parquet", {"x": np.zeros(250), "y": column}, group=100)
    opened = open_rows(path, "y", cache=tmp_path / "cache" if cached else None)
    found = opened.labels(0, 250, opened.buffers(250))
    np.testing.assert_array_equal(found, values)
    assert found.dtype.kind == {"bool": "b", "double": "f", "int8": "i", "int64": "i"}.get(kind, "U")


def test_columns_by_name_and_number(data, folder):
    X = data[0]
    np.testing.assert_array_equal(features(open_rows(folder, "label", columns=["c", 0])), X[:, [2, 0]])
    assert open_rows(folder, columns=["c", 0]).names == ["c", "a"]
    for columns, error, message in (
        (["d"], ValueError, "part-0.parquet' has no column 'd', expected one of 'a', 'label', 'b', 'weight', 'c'"),
        ([5], ValueError, "columns holds 5, but '.*part-0.parquet' has columns 0 to 4"),
        (["a", 0], ValueError, "columns holds 'a' twice"),
        (["a", "weight"], TypeError, None),
        (["a", "label"], ValueError, "columns holds 'label', which is y"),
    ):
        if message is not None:
            with pytest.raises(error, match=message):
                open_rows(folder, "label", columns=columns)


def test_labels_and_weights_of_other_files(data, folder, tmp_path):
    X, y, weights = data
    of_labels = table(tmp_path / "y.parquet", {"y": y})
    for labels in (of_labels, str(of_labels), y, *saved(tmp_path, y=y)):
        opened = open_rows(folder, labels, "weight", columns=["a", "b", "c"])
        buffers = opened.buffers(1500)
        np.testing.assert_array_equal(opened.labels(0, 1500, buffers), y)
    assert open_rows(X, of_labels).N == 1500
    with pytest.raises(ValueError, match="part-0.parquet' has 5 columns, expected 1 for y"):
        open_rows(X, folder)


def test_an_index_of_pandas_is_no_column(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.0, 2.0], "y": [0, 1]}, index=pandas.Index(["r", "s"], name="key"))
    frame.to_parquet(tmp_path / "t.parquet")
    assert open_rows(tmp_path / "t.parquet", "y").names == ["x"]


def test_they_can_be_pickled(data, folder):
    opened = pickle.loads(pickle.dumps(open_rows(folder, "label", "weight")))
    np.testing.assert_array_equal(features(opened, 3, 900), data[0][3:900])


# ------------------------------------------------------------------------------------------------------- what is wrong


@caches
def test_missing_values_are_told_with_file_and_row(cached, data, tmp_path, small_pieces):
    X, y, weights = data
    names, numbers, shares = y.tolist(), X[:, 1].tolist(), weights.tolist()
    numbers[703] = numbers[1400] = None
    cache = tmp_path / "cache" if cached else None

    def message(**changed):
        path = table(tmp_path / "t.parquet", columns_of(X, y, weights, **changed), group=500)
        with pytest.raises(ValueError) as caught:
            model("linear", "gd").fit(open_rows(path, "label", "weight", cache=cache))
        return str(caught.value).replace(str(tmp_path) + os.sep, "")

    wanted = "column {!r} has no value in row {} of 't.parquet', expected one in every row".format
    assert message(b=numbers) == wanted("b", 703)
    shares[702] = None
    assert message(weight=shares) == wanted("weight", 702)
    names[40] = None
    assert message(label=names) == wanted("label", 40)
    if not cached:  # an earlier row of the same group, which another column has wrong
        late = X[:, 1].tolist()
        late[990], X[510, 0] = None, np.nan
        text = "X holds NaN at [510, 0], expected finite numbers (row 510 of 't.parquet')"
        assert message(b=late) == text


def test_rows_before_a_missing_value_can_be_read(tmp_path):
    path = table(tmp_path / "t.parquet", {"x": [*map(float, range(50)), None, 3.0]})
    opened = open_rows(path)
    buffers = opened.buffers(52)
    assert opened.features(0, 50, buffers)[:, 0].tolist() == list(range(50))
    with pytest.raises(ValueError, match="row 50 of"):
        opened.features(49, 51, buffers)


def test_a_missing_value_has_its_number_among_all_rows(data, folder):
    X, y, weights = data
    gap = [None, *weights[701:].tolist()]
    table(folder / "part-3.parquet", columns_of(X[700:], y[700:], weights[700:], weight=gap))
    opened = open_rows(folder, "label", "weight")
    with pytest.raises(RowError, match="column 'weight' has no value in row 0 of '.*part-3.parquet'") as caught:
        opened.checked_weights(690, 710, opened.buffers(20))
    assert caught.value.row == 700
    assert pickle.loads(pickle.dumps(caught.value)).row == 700


@pytest.mark.parametrize(
    "columns,arguments,error,message",
    [
        (
            {"x": ["a"], "y": [1]},
            ["y"],
            TypeError,
            "column 'x' of '.*t.parquet' holds string, expected real numbers in X",
        ),
        ({"x": [1.0], "y": [[1]]}, ["y"], TypeError, "column 'y' of '.*t.parquet' holds list.*, expected labels"),
        (
            {"x": [1.0], "y": [1]},
            ["z"],
            ValueError,
            "y is 'z', but '.*t.parquet' has no such column: expected one of 'x'",
        ),
        ({"x": [1.0], "y": [1]}, ["y", "w"], ValueError, "sample_weight is 'w', but '.*t.parquet' has no such column"),
        ({"y": [1]}, ["y"], ValueError, "t.parquet' has no columns but 'y', expected some for X"),
        ({"x": pa.array([], pa.float64())}, [], ValueError, "X holds no rows"),
        ({"x": [1.0]}, [[1, 2]], ValueError, "y has 2 labels, but X has 1 rows"),
    ],
)
def test_tables_that_are_refused(columns, arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        open_rows(table(tmp_path / "t.parquet", columns), *arguments)


def test_files_that_are_no_parquet_or_not_alike(tmp_path):
    path = table(tmp_path / "a.parquet", {"x": [1.0], "y": [1]})
    other = table(tmp_path / "b.parquet", {"x": [1.0], "z": [1]})
    text = table(tmp_path / "c.parquet", {"x": [1.0], "y": ["a"]})
    with pytest.raises(ValueError, match="b.parquet' has no column 'y', but '.*a.parquet' has"):
        open_rows([path, other])
    with pytest.raises(ValueError, match="c.parquet' has dtype <U1, but '.*a.parquet' has int64"):
        open_rows([path, text], "y")
    with pytest.raises(ValueError, match="X.npy' is of another kind than '.*a.parquet', expected one kind"):
        open_rows([path, *saved(tmp_path, X=np.ones((1, 1)))])
    os.truncate(text, 50)
    with pytest.raises(ValueError, match="c.parquet' is no whole Parquet file"):
        open_rows(text)
    with pytest.raises(FileNotFoundError, match="d.parquet"):
        open_rows(tmp_path / "d.parquet")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = table(tmp_path / "a.parquet", {"x": [1.0]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install spiralnn\[parquet\]"):
        open_rows(path)


FAULTS = {
    "truncated": lambda path: os.truncate(path, os.path.getsize(path) // 2),
    "touched": lambda path: os.utime(path, ns=(LONG_AGO, LONG_AGO + 1)),
    "replaced": lambda path: (shutil.copy2(path, f"{path}.new"), os.replace(f"{path}.new", path)),
    "deleted": os.unlink,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_changes_ends_a_run_that_can_go_on(fault, folder, tmp_path, small_pieces):
    wanted = digest(model("linear", "lbfgs").fit(open_rows(folder, "label", "weight")))
    path, checkpoint = folder / "part-3.parquet", tmp_path / "run.ckpt"
    shutil.copy2(path, tmp_path / "backup")

    def spoil(step, loss, fitted):
        if step == 1:
            FAULTS[fault](path)

    with pytest.raises(RowsError, match=f"cannot read '{path}' at row "):
        model("linear", "lbfgs", callback=spoil).fit(
            open_rows(folder, "label", "weight"), checkpoint=checkpoint, checkpoint_every=0
        )
    shutil.copy2(tmp_path / "backup", path)
    gone_on = model("linear", "lbfgs").fit(open_rows(folder, "label", "weight"), checkpoint=checkpoint, resume=True)
    assert digest(gone_on) == wanted


# -------------------------------------------------------------------------------------------------------- raw files


def test_decoded_rows_are_found_again_as_long_as_a_file_stays(data, folder, tmp_path, monkeypatch):
    X, y, weights = data
    cache, made = tmp_path / "deep" / "cache", []
    replacing = parquet.replacing
    monkeypatch.setattr(parquet, "replacing", lambda path: made.append(path) or replacing(path))
    first = open_rows(folder, "label", "weight", cache=cache)
    assert len(made) == 4 * 3 and all(path.parent == cache and path.is_file() for path in made)
    del made[:]
    again = open_rows(str(folder), "label", "weight", cache=cache)
    assert not made and again.identity() == first.identity() == open_rows(folder, "label", "weight").identity()
    assert isinstance(again.X.parts[1], RawRows)
    np.testing.assert_array_equal(features(again), X)

    X[5:700] += 1.0
    table(folder / "part-1.parquet", columns_of(X[5:700], y[5:700], weights[5:700]))
    os.utime(folder / "part-1.parquet", ns=(LONG_AGO, LONG_AGO + 1))
    np.testing.assert_array_equal(features(open_rows(folder, "label", "weight", cache=cache)), X)
    assert len(made) == 3
    del made[:]
    np.testing.assert_array_equal(features(open_rows(folder, columns=["b", "a"], cache=cache)), X[:, [1, 0]])
    assert len(made) == 4
    del made[:]
    os.truncate(max(cache.glob("*.npy"), key=os.path.getsize), 1000)
    np.testing.assert_array_equal(features(open_rows(folder, "label", "weight", cache=cache)), X)
    assert len(made) == 1
    assert not list(cache.glob("*.tmp"))


def test_a_wrong_row_of_a_raw_file_is_told_by_where_it_came_from(data, tmp_path, small_pieces):
    X, y, weights = data
    X[1234, 2] = np.inf
    path = table(tmp_path / "t.parquet", columns_of(X, y, weights))
    opened = open_rows(path, "label", "weight", cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"X holds infinity at \[1234, 2\], .* \(row 1234 of '.*t.parquet'\)"):
        model("linear", "gd").fit(opened)


def test_a_full_disk_is_one_error_and_leaves_nothing(data, tmp_path):
    path = table(tmp_path / "t.parquet", columns_of(*data))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(
            RowsError, match="cannot write the decoded rows of '.*t.parquet' to '.*cache.*npy': File too"
        ):
            open_rows(path, "label", cache=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path / "cache") == []
    np.testing.assert_array_equal(features(open_rows(path, "label", "weight", cache=tmp_path / "cache")), data[0])


def test_decoding_goes_in_batches(data, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH_NUMBERS", 100)
    lengths, array = [], parquet.DecodedRows._array

    def watched(self, table, first_row):
        lengths.append(len(table))
        return array(self, table, first_row)

    monkeypatch.setattr(parquet.DecodedRows, "_array", watched)
    np.testing.assert_array_equal(features(open_rows(folder, "label", "weight", cache=tmp_path / "cache")), data[0])
    assert max(lengths) <= 100


def test_each_row_group_is_decoded_once_by_who_reads_on(data, tmp_path, monkeypatch):
    path = table(tmp_path / "t.parquet", columns_of(*data), group=500)
    groups, array = [], parquet.DecodedRows._array
    monkeypatch.setattr(
        parquet.DecodedRows, "_array", lambda self, table, row: groups.append(row) or array(self, table, row)
    )
    opened = open_rows(path, columns=["a", "b", "c"])
    buffers = opened.buffers(100)
    for start in range(0, 1500, 100):
        opened.features(start, start + 100, buffers)
    assert groups == [0, 500, 1000]
