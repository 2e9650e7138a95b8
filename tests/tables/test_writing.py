"""Predictions in every kind of file, block by block, whole or not there."""

import os

import numpy as np
import pandas as pd
import pytest

from spiralnn import tables

READ = {
    "npy": np.load,
    # as text: numbers that pandas 2 makes of it may be off by an ulp
    "csv": lambda path: pd.read_csv(path, dtype=str).to_numpy(),
    "tsv": lambda path: pd.read_csv(path, dtype=str, sep="\t").to_numpy(),
    "csv.gz": lambda path: pd.read_csv(path, dtype=str).to_numpy(),
    "tsv.gz": lambda path: pd.read_csv(path, dtype=str, sep="\t").to_numpy(),
    "parquet": lambda path: pd.read_parquet(path).to_numpy(),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize(
    ("values", "columns"),
    [
        (np.arange(10), ["label"]),
        (np.array(["a,b", 'é"', "c\td"] * 3), ["label"]),
        (np.random.RandomState(0).rand(10, 2), ["0", "1,5"]),
    ],
)
def test_blocks_make_up_the_whole(kind, values, columns):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = tables.table_path(f"out.{kind}")
    for _ in range(2):  # and again over what is there
        with tables.writer(path, columns) as write:
            for start in range(0, len(values), 4):
                write(values[start : start + 4])
    assert os.listdir() == [path.name]
    found = READ[kind](path)
    assert found.reshape(values.shape).astype(values.dtype).tolist() == values.tolist()
    if kind == "npy":
        assert found.shape == values.shape and found.dtype == values.dtype


def test_lines_on_stdout(capsys):
    with tables.writer(None, ["label"]) as write:
        write(np.array([1, 2]))
        write(np.array(["x"]))
    assert capsys.readouterr().out == "1\n2\nx\n"
    with tables.writer(None, ["0", "1,5"]) as write:
        write(np.array([[0.25, 0.75]] * 5000))
    assert capsys.readouterr().out == '0,"1,5"\n' + "0.25,0.75\n" * 5000


def test_a_file_that_cannot_be_written(monkeypatch, folder):
    (folder / "out.csv").write_text("before")

    def fail(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(tables.TableError) as caught, tables.writer(tables.table_path("out.csv"), ["label"]) as write:
        write(np.arange(3))
    assert str(caught.value) == "cannot write predictions to 'out.csv': No space left on device"
    with pytest.raises(ZeroDivisionError), tables.writer(tables.table_path("out.csv.gz"), ["label"]) as write:
        write(np.arange(3))
        raise ZeroDivisionError
    assert os.listdir() == ["out.csv"] and (folder / "out.csv").read_text() == "before"


def test_zipped_text_is_the_same_every_time():
    contents = set()
    for name in ("a.csv.gz", "b.csv.gz"):
        with tables.writer(tables.table_path(name), ["label"]) as write:
            write(np.arange(100))
        with open(name, "rb") as file:
            contents.add(file.read())
    assert len(contents) == 1
