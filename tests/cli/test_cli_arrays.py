"""`spiralnn fit` and `spiralnn predict` on .npy files of every kind, damaged ones too."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from calls import call, refusal, report, same_bits

import spiralnn
from spiralnn import tables

WORDS = np.array(["ant", "bee", "cat"])


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int8", "uint64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_kind(dtype, order, capsys):
    y = np.arange(60) % 3
    X = np.array(np.column_stack([y == 0, y == 1, y]) * 3, dtype, order=order)
    np.save("X.npy", X)
    np.save("y.npy", y.reshape(-1, 1))  # a column is one label a row, too
    found = report(capsys, "fit", "X.npy", "y.npy", "--hidden", 4, "--max-iter", 20, "--out", "model.npz")
    net = spiralnn.TwoLayerNet(hidden_size=4, max_iter=20, random_state=0).fit(X, y)
    assert same_bits("model.npz", net)
    assert found["dtype"] == ("float32" if dtype == "float32" else "float64")
    assert call(capsys, "predict", "model.npz", "X.npy", "--out", "labels.npy") == (0, "", "")
    assert np.array_equal(np.load("labels.npy"), net.predict(X))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3), "X has 1 dimension, expected 2"),
        (np.array([[0.0, 1.0], [2.0, np.nan]]), "X holds NaN at [1, 1], expected finite numbers"),
    ],
)
def test_arrays_that_are_no_inputs(array, message, model, capsys):
    np.save("bad.npy", array)
    assert refusal(capsys, "fit", "bad.npy", "y.npy").startswith(f"bad.npy: {message}")
    assert refusal(capsys, "predict", "model.npz", "bad.npy", "--out", "out.npy").startswith(f"bad.npy: {message}")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(4), "y has 4 labels, but X has 120 rows"),
        (np.zeros((120, 2), int), "y has shape (120, 2), expected (120,)"),
        (np.linspace(0, 1, 120), "Unknown label type: continuous"),
        (np.full(120, np.nan), "y holds NaN at [0]"),
        (np.zeros(120, complex), "holds complex128, expected numbers or strings"),
        (np.zeros(120, [("a", int)]), "holds [('a', '<i8')], expected numbers or strings"),
    ],
)
def test_arrays_that_are_no_labels(labels, message, spiral, capsys):
    np.save("bad.npy", labels)
    assert refusal(capsys, "fit", "X.npy", "bad.npy").startswith(f"bad.npy: {message}")


def test_labels_of_words_and_bytes(spiral, capsys):
    X, y = spiral
    for words in (WORDS[y], WORDS[y].astype("S")):
        np.save("words.npy", words)
        found = report(capsys, "fit", "X.npy", "words.npy", "--model", "linear", "--out", "model.npz")
        assert found["classes"] == WORDS.tolist()
        linear = spiralnn.SoftmaxClassifier(random_state=0).fit(X, WORDS[y])
        assert same_bits("model.npz", linear)
        for name, read in [
            ("labels.npy", np.load),
            ("labels.csv", lambda path: pd.read_csv(path)["label"].to_numpy()),
            ("labels.parquet", lambda path: pd.read_parquet(path)["label"].to_numpy()),
        ]:
            assert call(capsys, "predict", "model.npz", "X.npy", "--out", name) == (0, "", "")
            assert read(name).tolist() == linear.predict(X).tolist()


def test_one_class_is_not_enough(spiral, capsys):
    np.save("y.npy", np.zeros(120, int))
    for more in ((), ("--test-fraction", 0.5)):
        assert "y holds 1 class (0), expected at least 2 classes" in refusal(capsys, "fit", "X.npy", "y.npy", *more)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_nothing_is_unpickled(spiral, model, capsys):
    bomb = np.array([Bomb()] * 120)
    np.save("bomb.npy", bomb, allow_pickle=True)
    with open("raw.npy", "wb") as file:
        pickle.dump(Bomb(), file)
    expected = "bomb.npy: holds pickled Python objects, which are never read; save an array of numbers or of strings"
    for arguments in (("fit", "bomb.npy", "y.npy"), ("fit", "X.npy", "bomb.npy"), ("predict", "model.npz", "bomb.npy")):
        assert refusal(capsys, *arguments).startswith(expected)
    for arguments in (("fit", "raw.npy", "y.npy"), ("fit", "X.npy", "raw.npy"), ("predict", "model.npz", "raw.npy")):
        assert refusal(capsys, *arguments).startswith("raw.npy: no whole .npy file")
    assert "raw.npy" in refusal(capsys, "predict", "raw.npy", "X.npy")
    assert not os.path.exists("exploded")


def test_files_that_are_cut_or_missing_or_something_else(spiral, model, capsys):
    content = Path("X.npy").read_bytes()
    for cut in (0, 5, 60, len(content) - 1):
        Path("cut.npy").write_bytes(content[:cut])
        assert refusal(capsys, "fit", "cut.npy", "y.npy").startswith("cut.npy: no whole .npy file")
        assert refusal(capsys, "fit", "X.npy", "cut.npy").startswith("cut.npy: no whole .npy file")
    os.mkdir("folder.npy")
    for name in ("gone.npy", "gone.csv", "gone.parquet", "folder.npy"):
        assert refusal(capsys, "fit", name, "y.npy").startswith(f"cannot read '{name}'")
    assert refusal(capsys, "fit", "X.npy", "gone.csv").startswith("cannot read 'gone.csv': No such file")
    assert refusal(capsys, "predict", "gone.npz", "X.npy").startswith("cannot read 'gone.npz': No such file")
    assert refusal(capsys, "predict", "model.npz", "gone.npy").startswith("cannot read 'gone.npy': No such file")
    assert "X.npy" in refusal(capsys, "predict", "X.npy", "X.npy")
    Path("wide.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    assert refusal(capsys, "fit", "wide.csv", "y.npy").startswith("wide.csv: no text in UTF-8")


def test_float32_that_overflows(capsys):
    np.save("X.npy", np.array([[1.0], [1e39], [3.0]]))
    np.save("y.npy", np.array([0, 1, 0]))
    message = refusal(capsys, "fit", "X.npy", "y.npy", "--dtype", "float32")
    assert message == "X.npy: X as float32 holds infinity at [1, 0], expected finite numbers"


def test_arrays_larger_than_memory_stay_on_disk(spiral, capsys, monkeypatch):
    path = tables.table_path("X.npy")
    assert type(tables.read_table(path)[0].matrix) is np.ndarray
    monkeypatch.setattr("spiralnn.tables.npy.available_memory", lambda: 1000)
    table, _ = tables.read_table(path)
    assert isinstance(table.matrix, np.memmap) and not table.matrix.flags.writeable
    fit = ("fit", "X.npy", "y.npy", "--hidden", 4, "--max-iter", 20, "--out", "model.npz")
    assert call(capsys, *fit)[0] == 0
    assert same_bits("model.npz", spiralnn.TwoLayerNet(hidden_size=4, max_iter=20, random_state=0).fit(*spiral))
