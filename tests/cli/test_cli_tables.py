"""`spiralnn fit` on text and Parquet files: what is read, and what is said of faults in them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from calls import call, hidden, refusal, report, same_bits, table_text, write
from commands import run

import spiralnn
from spiralnn.checks import arrays


def test_the_same_model_from_every_kind_of_file(spiral, capsys):
    X, y = spiral
    net = spiralnn.TwoLayerNet(hidden_size=4, max_iter=20, random_state=0).fit(X, y)
    frame = pd.DataFrame(X, columns=["left", "right"]).assign(label=y)
    frame.to_csv("table.csv", index=False)
    frame.to_parquet("table.parquet")
    frame[["label"]].to_parquet("y.parquet")
    frame[["left", "right"]].to_csv("X.csv", index=False)
    write("bare.csv", table_text(X, y))
    write("first.csv", "\n".join(f"{label},{a!r},{b!r}" for label, (a, b) in zip(y, X.tolist(), strict=True)))
    write("y.csv", "label\n" + "".join(f"{label}\n" for label in y))
    write("bare-y.csv", "".join(f"{label}\n" for label in y))
    names = ["left", "right"]
    cases = [
        (("table.csv", "--target", "label"), names),
        (("table.csv", "--target", "-1"), names),
        (("table.parquet", "--target", "label"), names),
        (("table.parquet", "--target", "2"), names),
        (("bare.csv", "--target", "2"), None),
        (("first.csv", "--target", "0"), None),
        (("X.npy", "y.csv"), None),
        (("X.npy", "bare-y.csv"), None),
        (("X.npy", "y.parquet"), None),
        (("X.csv", "y.npy"), names),
    ]
    for arguments, features in cases:
        found = report(capsys, "fit", *arguments, "--hidden", 4, "--max-iter", 20, "--out", "model.npz")
        assert same_bits("model.npz", net), arguments
        assert found["features"] == features
        known = getattr(spiralnn.load("model.npz"), "feature_names_in_", None)
        assert features == (None if known is None else known.tolist())


@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\n"), ("utf-8", "\r\n")])
def test_words_quotes_line_ends_and_byte_order_marks(spiral, encoding, end, capsys):
    X, y = spiral
    words = np.array(["ant", "bee, or wasp", 'the "cat" é'])[y]
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    rows = [f'"{a!r}", {b!r} ,{word}' for (a, b), word in zip(X.tolist(), quoted, strict=True)]
    write("table.csv", end.join(['"width, left",height,kind', *rows, ""]), encoding)
    found = report(capsys, "fit", "table.csv", "--target", "kind", "--model", "linear", "--out", "model.npz")
    assert found["classes"] == sorted(set(words)) and found["features"] == ["width, left", "height"]
    linear = spiralnn.SoftmaxClassifier(random_state=0).fit(X, words)
    assert same_bits("model.npz", linear)

    arguments = ("predict", "model.npz", "table.csv", "--target", "kind")
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "") and out.split("\n")[:-1] == linear.predict(X).tolist()
    assert call(capsys, *arguments, "--out", "labels.csv")[0] == 0
    assert pd.read_csv("labels.csv")["label"].tolist() == linear.predict(X).tolist()


def test_rows_of_a_table_are_checked_once(capsys, monkeypatch):
    looked_at, check = [], arrays.check_finite
    monkeypatch.setattr(arrays, "check_finite", lambda name, *rest: (looked_at.append(name), check(name, *rest)))
    write("t.csv", "a,b,l\n1,2,0\n3,4,1\n")
    assert report(capsys, "fit", "t.csv", "--target", "l", "--model", "linear")["N"] == 2
    assert "X" not in looked_at
    with pytest.raises(ValueError, match="X holds NaN"):
        spiralnn.SoftmaxClassifier().fit([[np.nan], [1.0]], [0, 1])
    assert "X" in looked_at


def test_what_pandas_adds_to_parquet_is_no_input(spiral, capsys):
    X, y = spiral
    frame = pd.DataFrame(X.astype(np.float32), columns=["a", "b"], index=[f"row {i}" for i in range(len(y))])
    frame.assign(kind=y).to_parquet("table.parquet")
    found = report(capsys, "fit", "table.parquet", "--target", "kind", "--model", "linear")
    assert (found["features"], found["dtype"]) == (["a", "b"], "float32")
    frame.assign(c=1, kind=y).to_parquet("table.parquet")
    assert report(capsys, "fit", "table.parquet", "--target", "kind", "--model", "linear")["dtype"] == "float64"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b,l\n1,2,0\n3,four,1\n", (), "t.csv: line 3, column 'b': 'four', expected a finite number"),
        ("a,b,l\n1,2,0\n3,4,NA\n", (), "t.csv: line 3, column 'l': 'NA' beside numbers, a missing label"),
        ("a,b,c\n1,2,0\n3,4,1\n", (), "t.csv: has no column 'l': 'a', 'b', 'c' (separated by ',')"),
        ("a;b;l\n1;2;0\n3;4;1\n", (), "t.csv: has no column 'l': 'a;b;l' (separated by ','; "),
        ("a,b,l\n1,2,0\n", ("--separator", "\\t"), "t.csv: has no column 'l': 'a,b,l' (separated by '\\t'"),
        ("a,b,l\n1,2,0\n", ("--ignore", "c"), "t.csv: has no column 'c': 'a', 'b', 'l' (separated by ',')"),
        ("0,1,2\n1,2,0\n", ("--target", "2"), "t.csv: are these names or numbers: '0', '1', '2'? Say --header or"),
    ],
)
def test_faults_in_a_table(text, options, message, capsys):
    write("t.csv", text)
    target = () if "--target" in options else ("--target", "l")
    assert refusal(capsys, "fit", "t.csv", *target, *options).startswith(message)


def test_header_or_not_can_be_said(spiral, capsys):
    X, y = spiral
    pd.DataFrame(np.column_stack([X, y])).to_csv("table.csv", index=False)  # named 0, 1 and 2
    fit = ("fit", "table.csv", "--target", "2", "--model", "linear")
    assert report(capsys, *fit, "--header")["N"] == 120
    assert report(capsys, *fit, "--no-header")["N"] == 121


def test_faults_in_files_of_labels(spiral, capsys):
    for name, text, message in [
        ("short.csv", "0\n1\n", "short.csv: y has 2 labels, but X has 120 rows"),
        ("wide.csv", "0,1\n", "wide.csv: line 1: 2 fields, expected 1 (separated by ',')"),
        ("empty.csv", "", "empty.csv: the file is empty"),
        ("gap.csv", '0\n""\n', "gap.csv: line 2: a missing label"),
    ]:
        write(name, text)
        assert refusal(capsys, "fit", "X.npy", name) == message
    frame = pd.DataFrame({"a": [0, 1], "b": [0.5, None], "c": pd.to_datetime(["2020", "2021"])})
    for columns, message in [
        (["a", "b"], "holds 2 columns, expected 1"),
        (["b"], "row 1, column 'b': a missing value"),
        (["c"], "column 'c' holds timestamp"),
    ]:
        frame[columns].to_parquet("y.parquet")
        assert refusal(capsys, "fit", "X.npy", "y.parquet").startswith(f"y.parquet: {message}")
    frame[["a"]].head(0).to_parquet("y.parquet")
    assert refusal(capsys, "fit", "X.npy", "y.parquet") == "y.parquet: holds no rows"


def test_faults_in_parquet(spiral, capsys):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [1, None], "c": ["x", "y"], "d": [1.0, np.inf], "l": [0, 1]})
    for columns, message in [
        (["a", "b", "l"], "row 1, column 'b': a missing value"),
        (["a", "c", "l"], "column 'c' holds"),
        (["a", "d", "l"], "X holds infinity at [1, 1], expected finite numbers"),
        (["a"], "has no column 'l': 'a'"),
        (["l"], "holds no column beside the labels"),
    ]:
        frame[columns].to_parquet("t.parquet")
        assert refusal(capsys, "fit", "t.parquet", "--target", "l").startswith(f"t.parquet: {message}")
    frame[["a", "l"]].to_parquet("t.parquet")
    content = Path("t.parquet").read_bytes()
    for cut in (0, 5, len(content) // 2, len(content) - 1):
        Path("t.parquet").write_bytes(content[:cut])
        assert "t.parquet" in refusal(capsys, "fit", "t.parquet", "--target", "l")


def test_without_pyarrow(spiral, model, folder, monkeypatch):
    (folder / "block").mkdir()
    write("block/sitecustomize.py", hidden("pyarrow"))
    monkeypatch.setenv("PYTHONPATH", str(folder / "block"))
    write("t.parquet", "")
    message = "Parquet files need pyarrow: pip install 'spiralnn[parquet]'"
    for arguments in (("fit", "t.parquet", "--target", "l"), ("predict", "model.npz", "t.parquet")):
        assert run(*arguments, cwd=folder) == (1, [], [f"spiralnn {arguments[0]}: error: t.parquet: {message}"])
    out = run("predict", "model.npz", "X.npy", "--out", "o.parquet", cwd=folder)
    assert out == (1, [], [f"spiralnn predict: error: o.parquet: {message}"])
