"""`spiralnn fit` on rows that stay in their files: the bits of rows in memory, and what it says where it cannot."""

import numpy as np
import pandas as pd
import pytest
from calls import call, refusal, report, same_bits, write

import spiralnn
from spiralnn.cli import streams

LBFGS = ("--solver", "lbfgs", "--hidden", 4, "--max-iter", 5)


def in_memory(X, y, *arguments, **settings):
    return spiralnn.TwoLayerNet(solver="lbfgs", hidden_size=4, max_iter=5, random_state=0, **settings).fit(
        X, y, *arguments
    )


def test_files_that_stay_where_they_are(spiral, capsys):
    X, y = spiral
    weights = np.linspace(0.0, 1.0, len(y))
    np.save("w.npy", weights)
    files = ("X.npy", "y.npy", "--sample-weight", "w.npy", "--class-weight", "balanced", "--test", "X.npy", "y.npy")
    found = report(capsys, "fit", *files, *LBFGS, "--out-of-core", "--out", "model.npz")
    net = in_memory(X, y, weights, class_weight="balanced")
    assert same_bits("model.npz", net)
    assert found["out_of_core"] and found["solver"] == "lbfgs" and (found["N"], found["N_test"]) == (120, 120)
    assert found["test_accuracy"] == net.score(X, y) and found["train_accuracy"] == net.score(X, y, weights)


def test_columns_of_parquet_that_stay_where_they_are(spiral, capsys):
    X, y = spiral
    frame = pd.DataFrame({"id": range(len(y)), "x": X[:, 0], "label": np.array(["a", "b", "c"])[y], "z": X[:, 1]})
    frame.to_parquet("table.parquet", index=False)
    options = ("--target", "label", "--ignore", "id", *LBFGS, "--out-of-core", "--out", "model.npz")
    found = report(capsys, "fit", "table.parquet", *options)
    assert found["features"] == ["x", "z"] and found["classes"] == ["a", "b", "c"]
    assert same_bits("model.npz", in_memory(X, y))


def test_labels_of_text_and_another_dtype(spiral, capsys):
    X, y = spiral
    write("y.csv", "\n".join(map(str, y.tolist())) + "\n")
    options = ("--no-header", *LBFGS, "--dtype", "float32", "--out-of-core", "--out", "model.npz")
    found = report(capsys, "fit", "X.npy", "y.csv", *options)
    assert found["dtype"] == "float32"
    assert same_bits("model.npz", in_memory(X.astype(np.float32), y))


def test_what_does_not_fit_stays_in_its_file_and_a_line_says_so(spiral, capsys, monkeypatch):
    monkeypatch.setattr(streams, "available_memory", lambda: 2_000)  # bytes; X takes 1920
    code, out, err = call(capsys, "fit", "X.npy", "y.npy", *LBFGS)
    assert code == 0 and "lbfgs: 5 iterations" in out
    assert err.startswith("spiralnn fit: X.npy takes ") and err.count("\n") == 1 and "--out-of-core" in err
    assert not report(capsys, "fit", "X.npy", "y.npy", *LBFGS, "--no-out-of-core")["out_of_core"]
    monkeypatch.setattr(streams, "available_memory", lambda: 4_000)
    assert not report(capsys, "fit", "X.npy", "y.npy", *LBFGS)["out_of_core"]


def test_validation_rows_stay_in_their_files_too(spiral, capsys):
    X, y = spiral
    np.save("Xv.npy", X[:30])
    np.save("yv.npy", y[:30])
    options = ("--validation", "Xv.npy", "yv.npy", "--early-stopping", "--n-iter-no-change", 2)
    found = report(capsys, "fit", "X.npy", "y.npy", *LBFGS, *options, "--out-of-core", "--out", "model.npz")
    net = spiralnn.TwoLayerNet(
        solver="lbfgs", hidden_size=4, max_iter=5, random_state=0, early_stopping=True, n_iter_no_change=2
    ).fit(X, y, validation=(X[:30], y[:30]))
    assert same_bits("model.npz", net)
    assert found["best_validation_accuracy"] == net.best_validation_score_ and found["N_validation"] == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--solver", "adam"), "solver is 'adam', which takes batches"),
        (("--early-stopping",), "rows that are not in memory cannot be held out: expected validation=(X, y)"),
        (("--test", "wide.npy", "y.npy"), "3 inputs, but training has 2"),
        (("--sample-weight", "short.npy"), "sample_weight has 1 weights, but X has 120 rows"),
    ],
)
def test_what_does_not_go_together(options, message, spiral, capsys):
    np.save("wide.npy", np.ones((120, 3)))
    np.save("short.npy", np.ones(1))
    assert message in refusal(capsys, "fit", "X.npy", "y.npy", "--out-of-core", *options)


def test_what_is_no_usage(spiral, capsys):
    write("table.csv", "a,b\n1,2\n3,4\n")
    message = refusal(capsys, "fit", "table.csv", "--target", "b", "--out-of-core", code=2)
    assert message == "argument --out-of-core: X is a .npy or .parquet file"
    message = refusal(capsys, "fit", "X.npy", "y.npy", "--out-of-core", "--test-fraction", "0.5", code=2)
    assert message.startswith("argument --test-fraction: rows that are not in memory")


def test_a_row_that_is_wrong_is_told_with_its_file(spiral, capsys):
    X, _ = spiral
    X[77, 1] = np.nan
    np.save("X.npy", X)
    message = refusal(capsys, "fit", "X.npy", "y.npy", "--out-of-core", *LBFGS)
    assert "X holds NaN at [77, 1]" in message and "'X.npy'" in message
