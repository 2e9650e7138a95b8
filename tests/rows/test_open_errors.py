"""What cannot be opened as rows: one error that says what came, from which file, and what is expected."""

import os

import numpy as np
import pytest
from row_files import model, rows, saved

from spiralnn import open_rows


def wrong(name, tmp_path):
    """Arguments of open_rows that are wrong in one way."""
    X, y, _ = rows(20)
    path, labels, other, single = saved(tmp_path, a=X, y=y, b=X[:, :2], c=X.astype(np.float32))
    if name == "width":
        return ([path, other],), ValueError, "b.npy' has 2 columns, but '.*a.npy' has 5 columns: expected the same"
    if name == "dtype":
        return ([path, single],), ValueError, "c.npy' has dtype float32, but '.*a.npy' has float64: expected the same"
    if name == "byte order":
        (big,) = saved(tmp_path, big=X.astype(">f8"))
        return ([path, big],), ValueError, "big.npy' has dtype >f8, but '.*a.npy' has float64"
    if name == "label dtype":
        (text,) = saved(tmp_path, text=y.astype(str))
        return (path, [labels, text]), ValueError, "text.npy' has dtype <U21, but '.*y.npy' has int64.* all of y"
    if name == "fortran":
        (turned,) = saved(tmp_path, turned=np.asfortranarray(X))
        return (turned,), ValueError, r"turned.npy' holds column after column .* numpy.ascontiguousarray\(numpy.load"
    if name == "objects":
        (objects,) = saved(tmp_path, objects=np.array([1, "a", None] * 7)[:20].astype(object))
        return (path, objects), ValueError, "objects.npy' holds pickled Python objects, which are never read: save"
    if name == "too few labels":
        return (path, saved(tmp_path, few=y[:19])), ValueError, "y has 19 labels, but X has 20 rows"
    if name == "too many weights":
        return (path, labels, np.ones(21)), ValueError, "sample_weight has 21 weights, but X has 20 rows"
    if name == "no rows":
        return (saved(tmp_path, d=X[:0], e=X[:0]),), ValueError, r"X holds no rows \('.*d.npy', \.\.\.\), expected one"
    if name == "one dimension":
        return (labels,), ValueError, r"y.npy' has shape \(20,\), expected \(N, D\)"
    if name == "a matrix of labels":
        return (path, other), ValueError, r"b.npy' has shape \(20, 2\), expected \(N,\)"
    if name == "no numbers":
        (text,) = saved(tmp_path, text=np.full((20, 2), "a"))
        return (text,), TypeError, "text.npy' has dtype <U1, expected real numbers"
    if name == "complex":
        return (X * 1j,), TypeError, "X has dtype complex128, expected real numbers"
    if name == "weights of text":
        return (path, labels, saved(tmp_path, text=y.astype(str))), TypeError, "text.npy' has dtype <U21, expected real"
    if name == "kind":
        return (tmp_path / "a.csv",), ValueError, "X: rows cannot be read from '.*a.csv', expected a .npy or .parq"
    if name == "no .npy file":
        (tmp_path / "f.npy").write_text("a,b\n1,2\n")
        return (tmp_path / "f.npy",), ValueError, "f.npy' is no whole .npy file"
    if name == "empty file":
        (tmp_path / "f.npy").write_bytes(b"")
        return (tmp_path / "f.npy",), ValueError, "f.npy' is no whole .npy file"
    if name == "cut":
        os.truncate(path, 500)
        return (path,), OSError, r"a.npy' is cut: \(20, 5\) numbers of float64 end at byte 928, but it has 500"
    if name == "missing":
        return ([path, tmp_path / "z.npy"],), FileNotFoundError, "z.npy"
    if name == "no regular file":
        os.mkfifo(tmp_path / "p.npy")
        return (tmp_path / "p.npy",), ValueError, "p.npy' is no regular file"
    if name == "empty folder":
        (tmp_path / "folder").mkdir()
        return (tmp_path / "folder",), ValueError, "folder' holds no .npy or .parquet files"
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "width", "dtype", "byte order", "label dtype", "fortran", "objects", "too few labels", "too many weights",
        "no rows", "one dimension", "a matrix of labels", "no numbers", "complex", "weights of text", "kind",
        "no .npy file", "empty file", "cut", "missing", "no regular file", "empty folder",
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_file(name, tmp_path):
    arguments, error, message = wrong(name, tmp_path)
    with pytest.raises(error, match=message):
        open_rows(*arguments)


@pytest.mark.parametrize(
    "columns,error,message",
    [
        ([5], ValueError, "columns holds 5, but '.*X.npy' has columns 0 to 4"),
        ([-1], ValueError, "a column's number is -1, expected an integer of at least 0"),
        ([True], TypeError, "a column's number is True"),
        ([1, 2, 1], ValueError, "columns holds 1 twice"),
        (["a"], TypeError, "columns holds 'a', but '.*X.npy' has no names, expected numbers from 0 to 4"),
        ([], ValueError, "columns is empty"),
        (3, TypeError, "columns is 3, expected a sequence"),
        ("ab", TypeError, "columns is 'ab', expected a sequence"),
    ],
)
def test_columns_that_are_not_there(columns, error, message, tmp_path):
    with pytest.raises(error, match=message):
        open_rows(saved(tmp_path, X=rows(20)[0]), columns=columns)


def test_empty_shards_may_be_of_any_dtype_but_not_width(tmp_path):
    X = np.ones((20, 3), np.float32)
    opened = open_rows(saved(tmp_path, a=np.empty((0, 3)), b=X))
    assert opened.dtype == np.float32
    with pytest.raises(ValueError, match="a.npy' has 2 columns, but '.*b.npy' has 3 columns"):
        open_rows(saved(tmp_path, a=np.empty((0, 2)), b=X))


def test_rows_hold_their_labels(tmp_path):
    X, y, _ = rows(20)
    path, labels = saved(tmp_path, X=X, y=y)
    with pytest.raises(ValueError, match="no labels"):
        model("linear", "gd").fit(open_rows(path))
    with pytest.raises(ValueError, match="beside rows that hold their own"):
        model("linear", "gd").fit(open_rows(path, labels), y)
    with pytest.raises(ValueError, match="X has 5 features, but SoftmaxClassifier is expecting 3"):
        model("linear", "gd").fit(X[:, :3], y).predict(open_rows(path))
