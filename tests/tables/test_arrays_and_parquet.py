"""Files that hold types: arrays, Parquet; what is no file of a table."""

import argparse
import decimal
import os
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from readers import write

from spiralnn import tables
from spiralnn.tables import npy, parquet

WORDS = np.array(["ant", "bee", "cat"])


def refusal(read, *given, **options):
    with pytest.raises(tables.TableError) as caught:
        read(tables.table_path(given[0]), *given[1:], **options)
    return str(caught.value)


def test_paths():
    for name in ("a.npy", "a.CSV", "b.tsv", "a.b.csv.gz", "a.TSV.gz", "a.parquet"):
        assert str(tables.table_path(name)) == name and tables.is_npy(tables.table_path(name)) == (name == "a.npy")
    for name in ("a.txt", "csv", "a.gz", "a.npy.gz", "a.csv/b"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a file ending in .npy, .csv, .tsv, .csv.gz, "):
            tables.table_path(name)


def test_files_that_are_missing_or_something_else(folder):
    (folder / "folder.npy").mkdir()
    for name in ("gone.npy", "gone.csv", "gone.csv.gz", "gone.parquet", "folder.npy"):
        for read, given in [(tables.read_table, ()), (tables.read_column, (3,))]:
            assert refusal(read, name, *given).startswith(f"cannot read '{name}': ")
    with pytest.raises(tables.TableError, match="t.txt: expected a file ending in "):
        tables.read_table(write("t.txt", "1.5\n"))


# arrays


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int8", "uint64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(dtype, order):
    X = np.array([[0, 1, 1], [1, 0, 1]], dtype, order=order)
    np.save("X.npy", X)
    table, labels = tables.read_table(tables.table_path("X.npy"))
    assert labels is None and table.columns is None and table.is_finite
    assert table.matrix.dtype == X.dtype and np.array_equal(table.matrix, X)
    assert [len(block) for block in tables.blocks(tables.table_path("X.npy"), 1)] == [1, 1]
    np.save("y.npy", X[:, :1])  # a column is one label a row, too
    assert tables.read_column(tables.table_path("y.npy"), 2).tolist() == X[:, 0].tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3), "X has 1 dimension, expected 2"),
        (np.ones((2, 3, 4)), "X has 3 dimensions, expected 2"),
        (np.array(1.0), "X has 0 dimensions, expected 2"),
        (np.ones((0, 3)), "Found array with 0 sample(s)"),
        (np.ones((3, 0)), "0 feature(s)"),
        (np.zeros((3, 1), [("a", float)]), "X has dtype [('a', '<f8')], expected real numbers"),
        (np.array([["a"]]), "X has dtype <U1, expected real numbers"),
        (np.ones((2, 2), complex), "Complex data not supported"),
        (np.array([[0.0, 1.0], [2.0, np.nan]]), "X holds NaN at [1, 1], expected finite numbers"),
        (np.array([[0.0, -np.inf], [2.0, 3.0]], np.float16), "X holds infinity at [0, 1], expected finite numbers"),
    ],
)
def test_arrays_that_are_no_inputs(array, message):
    np.save("bad.npy", array)
    assert refusal(tables.read_table, "bad.npy").startswith(f"bad.npy: {message}")
    with pytest.raises(tables.TableError) as caught:
        list(tables.blocks(tables.table_path("bad.npy"), 1))
    assert str(caught.value).startswith(f"bad.npy: {message}")


def test_arrays_of_labels():
    for words in (WORDS, WORDS.astype("S")):
        np.save("y.npy", words)
        assert tables.read_column(tables.table_path("y.npy"), 3).tolist() == WORDS.tolist()
    for bad in (np.zeros(3, complex), np.zeros(3, [("a", int)])):
        np.save("y.npy", bad)
        assert refusal(tables.read_column, "y.npy", 3) == f"y.npy: holds {bad.dtype}, expected numbers or strings"


def test_an_array_has_no_columns_to_choose():
    np.save("X.npy", np.ones((2, 2)))
    expected = "X.npy: an array has no columns to choose from; expected text or Parquet"
    assert refusal(tables.read_table, "X.npy", "0") == expected
    assert refusal(tables.read_table, "X.npy", ignore=["0"]) == expected
    with pytest.raises(tables.TableError, match="no columns to choose from"):
        list(tables.blocks(tables.table_path("X.npy"), 1, "0"))


def test_rows_are_counted_from_the_first_of_the_file():
    X = np.zeros((100, 2))
    X[77, 1] = np.nan
    np.save("X.npy", X)
    with pytest.raises(tables.TableError, match=r"X.npy: X holds NaN at \[77, 1\]"):
        list(tables.blocks(tables.table_path("X.npy"), 15))


def test_arrays_larger_than_memory_stay_on_disk(monkeypatch):
    np.save("X.npy", np.ones((30, 2)))
    path = tables.table_path("X.npy")
    assert type(tables.read_table(path)[0].matrix) is np.ndarray
    monkeypatch.setattr(npy, "available_memory", lambda: 1000)
    matrix = tables.read_table(path)[0].matrix
    assert isinstance(matrix, np.memmap) and not matrix.flags.writeable


def test_arrays_that_are_cut():
    np.save("X.npy", np.ones((30, 2)))
    with open("X.npy", "rb") as file:
        content = file.read()
    for cut in (0, 5, 60, len(content) - 1):
        write("cut.npy", content[:cut])
        assert refusal(tables.read_table, "cut.npy").startswith("cut.npy: no whole .npy file")
        assert refusal(tables.read_column, "cut.npy", 3).startswith("cut.npy: no whole .npy file")


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_nothing_is_unpickled():
    np.save("bomb.npy", np.array([Bomb()] * 3), allow_pickle=True)
    write("raw.npy", pickle.dumps(Bomb()))
    for read, given in [(tables.read_table, ()), (tables.read_column, (3,))]:
        assert refusal(read, "bomb.npy", *given).startswith("bomb.npy: holds pickled Python objects, which are never ")
        assert refusal(read, "raw.npy", *given).startswith("raw.npy: no whole .npy file")
    assert not os.path.exists("exploded")


# Parquet


@pytest.fixture
def frame():
    pytest.importorskip("pyarrow")
    X = np.random.RandomState(0).randn(100, 3)
    return pd.DataFrame(X, columns=list("abc")).assign(kind=pd.Categorical(WORDS[np.arange(100) % 3]))


def test_parquet(frame, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH_ROWS", 7)
    X, y = frame[list("abc")].to_numpy(), frame["kind"].tolist()
    frame.to_parquet("t.parquet", row_group_size=17)
    path = tables.table_path("t.parquet")
    for target in ("kind", "3", "-1"):
        table, labels = tables.read_table(path, target)
        assert np.array_equal(table.matrix, X) and labels.tolist() == y
        assert table.columns == list("abc") and table.is_finite
        parts = list(tables.blocks(path, 30, target))
        assert max(map(len, parts)) <= 30 and np.array_equal(np.concatenate([part.matrix for part in parts]), X)
    for ignore in (["b", "0"], ["-3", "a"]):
        table, labels = tables.read_table(path, "kind", ignore=ignore)
        assert np.array_equal(table.matrix, X[:, 2:]) and table.columns == ["c"] and labels.tolist() == y
    parts = [block.matrix for block in tables.blocks(path, 1000, ignore=["kind", "a"])]
    assert np.array_equal(np.concatenate(parts), X[:, 1:])
    assert refusal(tables.read_table, "t.parquet", "kind", ignore=["d"]) == (
        "t.parquet: has no column 'd': 'a', 'b', 'c', 'kind'"
    )
    frame[["kind"]].to_parquet("y.parquet")
    assert tables.read_column(tables.table_path("y.parquet"), 100).tolist() == y


def test_what_pandas_adds_to_parquet_is_no_input(frame):
    frame = frame[["a", "b"]].astype(np.float32).set_index(pd.Index([f"row {i}" for i in range(100)], name="id"))
    frame.assign(kind=1).to_parquet("t.parquet")
    table, _ = tables.read_table(tables.table_path("t.parquet"), "kind")
    assert table.columns == ["a", "b"] and table.matrix.dtype == np.float32
    frame.assign(c=1, kind=1).to_parquet("t.parquet")
    assert tables.read_table(tables.table_path("t.parquet"), "kind")[0].matrix.dtype == np.float64


def test_faults_in_parquet(frame):
    bad = pd.DataFrame({"a": [1.0, 2.0], "b": [1, None], "c": ["x", "y"], "d": [1.0, np.inf], "l": [0, 1]})
    bad["e"] = pd.to_datetime(["2020", "2021"])
    for columns, message in [
        (["a", "b", "l"], "row 1, column 'b': a missing value"),
        (["a", "c", "l"], "column 'c' holds "),
        (["a", "d", "l"], "X holds infinity at [1, 1], expected finite numbers"),
        (["a"], "has no column 'l': 'a'"),
        (["l"], "holds no column beside the labels"),
    ]:
        bad[columns].to_parquet("t.parquet")
        assert refusal(tables.read_table, "t.parquet", "l").startswith(f"t.parquet: {message}")
    for columns, message in [
        (["a", "l"], "holds 2 columns, expected 1"),
        (["b"], "row 1, column 'b': a missing value"),
        (["e"], "column 'e' holds timestamp"),
    ]:
        bad[columns].to_parquet("y.parquet")
        assert refusal(tables.read_column, "y.parquet", 2).startswith(f"y.parquet: {message}")
    for read, given in [(tables.read_column, (2,)), (tables.read_table, ())]:
        bad[["a"]].head(0).to_parquet("t.parquet")
        assert refusal(read, "t.parquet", *given) == "t.parquet: holds no rows"
    bad[["a", "l"]].to_parquet("t.parquet")
    with open("t.parquet", "rb") as file:
        content = file.read()
    for cut in (0, 5, len(content) // 2, len(content) - 1):
        write("t.parquet", content[:cut])
        assert "t.parquet" in refusal(tables.read_table, "t.parquet", "l")


def test_parquet_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    write("t.parquet", "")
    expected = "t.parquet: Parquet files need pyarrow: pip install 'spiralnn[parquet]'"
    for read, given in [(tables.read_table, ()), (tables.read_column, (3,)), (tables.check_installed, ())]:
        assert refusal(read, "t.parquet", *given) == expected
    tables.check_installed(tables.table_path("t.csv"))


# decimals, and folders of parts


def test_decimals_are_the_nearest_numbers(folder):
    money = [decimal.Decimal(text) for text in ("0.10", "-7.35", "123456789.01", "4.35")]
    pd.DataFrame({"x": money, "label": [0, 1, 0, 1]}).to_parquet("t.parquet", index=False)
    X, y = tables.read_table(tables.table_path("t.parquet"), "label")
    assert X.matrix.tolist() == [[float(value)] for value in money] and y.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("cut", [[], ["label"]], ids=["parts", "a column of folders"])
def test_folders_of_parts_are_read_in_the_order_of_their_names(cut, folder):
    frame = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20) % 3, "label": np.arange(20) % 2})
    if cut:
        frame.to_parquet("t.parquet", partition_cols=cut)
        expected = pd.concat([frame[frame.label == k] for k in (0, 1)])
    else:
        (folder / "t.parquet").mkdir()
        for i, rows in enumerate((frame[:7], frame[7:7], frame[7:])):
            rows.to_parquet(folder / "t.parquet" / f"part-{i}.parquet", index=False)
        expected = frame
    X, y = tables.read_table(tables.table_path("t.parquet"), "label")
    assert X.columns == ["a", "b"]
    np.testing.assert_array_equal(X.matrix, expected[["a", "b"]])
    np.testing.assert_array_equal(y.astype(int), expected.label)
    blocks = list(tables.blocks(tables.table_path("t.parquet"), 4, "label"))
    np.testing.assert_array_equal(np.concatenate([block.matrix for block in blocks]), expected[["a", "b"]])
    (folder / "none.parquet").mkdir()
    assert "without Parquet files" in refusal(tables.read_table, "none.parquet")
