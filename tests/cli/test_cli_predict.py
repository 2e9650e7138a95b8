"""`spiralnn predict`: block by block, to files and to stdout."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from calls import call, refusal, report, table_text, write
from commands import run, start

import spiralnn
from spiralnn import cli
from spiralnn.cli import predict


def test_predict_reports_in_json(spiral, model, capsys):
    found = report(capsys, "predict", "model.npz", "X.npy", "--out", "labels.npy", "--threads", 1)
    assert found.pop("seconds") > 0
    assert found == {
        "command": "predict", "version": spiralnn.__version__, "model": "model.npz", "N": 120, "D": 2, "K": 3,
        "classes": [0, 1, 2], "proba": False, "path": "labels.npy",
    }  # fmt: skip


def test_scores_that_overflow_are_told_with_their_rows(spiral, capsys, monkeypatch):
    steep = np.full((2, 3), 10.0), np.zeros(3)
    spiralnn.SoftmaxClassifier(solver="gd", init=steep, step_size=0.0, max_iter=1).fit(*spiral).save("model.npz")
    X = spiral[0].copy()
    X[17] = 1e308
    np.save("X.npy", X)
    monkeypatch.setattr(predict, "BLOCK_NUMBERS", 21)  # 7 rows
    for proba in ([], ["--proba"]):
        code, out, err = call(capsys, "predict", "model.npz", "X.npy", "--out", "labels.npy", *proba)
        assert (code, out) == (1, "") and not Path("labels.npy").exists()
        assert err.startswith("spiralnn predict: error: X.npy: in the 7 rows from 14 on, scores of row 3 are not ")
    np.save("X.npy", spiral[0])
    np.save("y.npy", spiral[1])
    np.save("X_test.npy", X)
    fit = ("fit", "X.npy", "y.npy", "--solver", "gd", "--init-scale", 100, "--max-iter", 3)
    code, out, err = call(capsys, *fit, "--test", "X_test.npy", "y.npy")
    assert (code, out) == (1, "") and err.splitlines()[-1].startswith("spiralnn fit: error: scores of row 17 are not")


@pytest.mark.parametrize("kind", ["npy", "csv", "parquet"])
def test_predictions_in_blocks_are_those_of_the_whole(kind, spiral, model, capsys, monkeypatch):
    X, y = spiral
    expected = {"labels": model.predict(X), "proba": model.predict_proba(X)}
    if kind != "npy":
        model.fit(pd.DataFrame(X, columns=["a", "b"]), y).save("model.npz")
    monkeypatch.setattr(predict, "BLOCK_NUMBERS", 21)  # 7 rows
    pd.DataFrame(X, columns=["a", "b"]).to_csv("X.csv", index=False)
    pd.DataFrame(X, columns=["a", "b"]).to_parquet("X.parquet")
    read = {
        "npy": np.load,
        "csv": lambda path: pd.read_csv(path, engine="pyarrow").to_numpy(),  # that of pandas 2 may be off by an ulp
        "parquet": lambda path: pd.read_parquet(path).to_numpy(),
    }
    for out, load in read.items():
        assert call(capsys, "predict", "model.npz", f"X.{kind}", "--out", f"labels.{out}") == (0, "", "")
        labels = load(f"labels.{out}")
        assert labels.dtype == np.int64 and np.array_equal(labels.ravel(), expected["labels"])
        assert call(capsys, "predict", "model.npz", f"X.{kind}", "--proba", "--out", f"proba.{out}") == (0, "", "")
        assert np.array_equal(load(f"proba.{out}"), expected["proba"])
    assert np.load("labels.npy").shape == (120,)
    assert list(pd.read_csv("labels.csv")) == list(pd.read_parquet("labels.parquet")) == ["label"]
    assert list(pd.read_csv("proba.csv")) == list(pd.read_parquet("proba.parquet")) == ["0", "1", "2"]
    code, out, err = call(capsys, "predict", "model.npz", f"X.{kind}", "--proba")
    assert (code, err) == (0, "") and out == Path("proba.csv").read_text()


def test_memory_is_bounded(spiral, model, capsys, monkeypatch):
    monkeypatch.setattr(predict, "BLOCK_NUMBERS", 3000)
    N = 200_000
    array = np.lib.format.open_memmap("large.npy", "w+", np.float64, (N, 2))
    array[:] = np.tile(spiral[0], (N // 120 + 1, 1))[:N]
    call(capsys, "predict", "model.npz", "X.npy", "--out", "labels.npy")  # imports and kernels
    tracemalloc.start()
    try:
        code = cli.main(["predict", "model.npz", "large.npy", "--proba", "--out", "proba.npy"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert code == 0 and np.load("proba.npy", mmap_mode="r").shape == (N, 3)
    assert peak < 1 << 20, f"{peak} bytes, where the inputs take {array.nbytes}"


def test_rows_are_counted_from_the_first_of_the_file(spiral, model, capsys, monkeypatch):
    monkeypatch.setattr(predict, "BLOCK_NUMBERS", 30)
    X = np.zeros((100, 2))
    X[77, 1] = np.nan
    np.save("bad.npy", X)
    assert refusal(capsys, "predict", "model.npz", "bad.npy", "--out", "o.npy").startswith(
        "bad.npy: X holds NaN at [77, 1]"
    )
    model.fit(pd.DataFrame(spiral[0], columns=["a", "b"]), spiral[1]).save("model.npz")
    pd.DataFrame(X, columns=["a", "b"]).to_csv("bad.csv", index=False)
    message = refusal(capsys, "predict", "model.npz", "bad.csv", "--out", "o.npy")
    assert message.startswith("bad.csv: line 79, column 'b'")
    X[77, 1] = np.inf
    pd.DataFrame(X, columns=["a", "b"]).to_parquet("bad.parquet")
    message = refusal(capsys, "predict", "model.npz", "bad.parquet", "--out", "o.npy")
    assert message.startswith("bad.parquet: X holds infinity at [77, 1]")


def test_inputs_that_do_not_fit_the_model(spiral, model, capsys):
    X, y = spiral
    np.save("wide.npy", np.ones((3, 5)))
    message = refusal(capsys, "predict", "model.npz", "wide.npy", "--out", "o.npy")
    assert message.startswith("wide.npy: X has 5 features, but ") and "expecting 2 features" in message
    write("train.csv", table_text(X, y, header="a,b,l"))
    assert call(capsys, "fit", "train.csv", "--target", "l", "--max-iter", 2, "--out", "model.npz", "--quiet")[0] == 0
    write("other.csv", table_text(X, header="a,c"))
    message = refusal(capsys, "predict", "model.npz", "other.csv")
    assert message == (
        "other.csv: The feature names should match those that were passed during fit. "
        "Feature names unseen at fit time: - c Feature names seen at fit time, yet now missing: - b"
    )
    write("turned.csv", table_text(X, header="b,a"))
    assert "must be in the same order" in refusal(capsys, "predict", "model.npz", "turned.csv")
    assert call(capsys, "predict", "model.npz", "X.npy")[0] == 0  # without names


# stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_full_disk_behind_stdout(spiral, model, folder, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "")  # the error comes with the last flush
    with open("/dev/full", "w") as full:
        process = start("predict", "model.npz", "X.npy", cwd=folder, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "spiralnn predict: error: [Errno 28] No space left on device\n"


def test_labels_that_stdout_cannot_show(spiral, folder, monkeypatch):
    X, y = spiral
    spiralnn.SoftmaxClassifier(max_iter=2).fit(X, np.array(["é", "ü", "ä"])[y]).save("model.npz")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code, out, err = run("predict", "model.npz", "X.npy", cwd=folder)
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("spiralnn predict: error: stdout takes no ")
