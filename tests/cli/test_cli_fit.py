"""`spiralnn fit` and `spiralnn predict`: real processes where it matters, in this process elsewhere."""

import contextlib
import json
import os
import pickle
import re
import signal
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import assert_wrong_usage, run, start

import spiralnn
from spiralnn import cli, tables
from spiralnn.checks import arrays
from spiralnn.cli import console, predict

WORDS = np.array(["ant", "bee", "cat"])
ENDLESS = ("--max-iter", 10**8)  # minutes, at microseconds a step

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of POSIX")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def spiral():
    """The arrays in X.npy and y.npy: 3 classes of 40 rows, shuffled."""
    X, y = spiralnn.make_spiral(40, 3, random_state=0)
    order = np.random.RandomState(1).permutation(len(y))
    X, y = X[order], y[order]
    np.save("X.npy", X)
    np.save("y.npy", y)
    return X, y


@pytest.fixture
def model(spiral):
    """A small network, kept in model.npz."""
    net = spiralnn.TwoLayerNet(hidden_size=8, max_iter=30, random_state=0).fit(*spiral)
    net.save("model.npz")
    return net


def call(capsys, *arguments):
    """(exit code, stdout, stderr) of the command, run in this process."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def report(capsys, *arguments):
    """The JSON of a command that works and writes nothing else."""
    code, out, err = call(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    assert out.endswith("}\n") and out.count("\n") == 1
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def refusal(capsys, *arguments, code=1):
    """The message of a command that fails: one line on stderr, nothing on stdout, and no file written."""
    before = sorted(os.listdir())
    found, out, err = call(capsys, *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1), (found, out, err)
    assert sorted(os.listdir()) == before
    start = f"spiralnn {arguments[0]}: error: "
    assert err.startswith(start)
    return err.removeprefix(start).rstrip("\n")


def same_bits(path, model):
    """Whether a file holds the very bits of a model."""
    kept = spiralnn.load(path)
    pairs = zip(kept.coefs_ + kept.intercepts_, model.coefs_ + model.intercepts_, strict=True)
    same = all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)
    return same and kept.loss_curve_ == model.loss_curve_


def write(name, text, encoding="utf-8"):
    with open(name, "w", encoding=encoding, newline="") as file:
        file.write(text)
    return name


def table_text(X, *columns, header="", end="\n"):
    """CSV with the exact digits of X, and further columns."""
    rows = [",".join([*map(repr, row), *map(str, more)]) for row, *more in zip(X.tolist(), *columns, strict=True)]
    return end.join([*filter(None, [header]), *rows, ""])


# the whole way


def test_from_arrays_to_labels_in_processes(spiral, folder):
    X, y = spiral
    options = ("--model", "two-layer", "--hidden", 16, "--max-iter", 50, "--step-size", 0.5, "--reg", "1e-3",
               "--seed", 0, "--threads", 2, "--dtype", "float32", "--out", "model.npz")  # fmt: skip
    code, out, err = run("fit", "X.npy", "y.npy", *options, cwd=folder)
    assert (code, err) == (0, [])
    rows = X.astype(np.float32)
    net = spiralnn.TwoLayerNet(hidden_size=16, max_iter=50, step_size=0.5, random_state=0).fit(rows, y)
    assert same_bits("model.npz", net)
    assert out[0] == "120 rows, 2 inputs, 3 classes, float32"
    assert out[1].startswith("two-layer model of 16 hidden units: 50 steps in ")
    accuracy = f"training accuracy: {net.score(rows, y):.4f}"
    assert out[2:] == [f"loss: {net.loss_:f}", accuracy, "model: model.npz"]

    labels = net.predict(X)
    assert run("predict", "model.npz", "X.npy", "--out", "labels.npy", cwd=folder) == (0, [], [])
    assert np.load("labels.npy").dtype == y.dtype and np.array_equal(np.load("labels.npy"), labels)
    assert run("predict", "model.npz", "X.npy", cwd=folder) == (0, [str(label) for label in labels], [])
    assert run("predict", "model.npz", "X.npy", "--proba", "--out", "proba.npy", cwd=folder) == (0, [], [])
    assert np.array_equal(np.load("proba.npy"), net.predict_proba(X))


def test_the_linear_model_and_what_json_tells(spiral, capsys):
    X, y = spiral
    found = report(capsys, "fit", "X.npy", "y.npy", "--model", "linear", "--out", "model.npz")
    linear = spiralnn.SoftmaxClassifier(random_state=0).fit(X, y)
    assert same_bits("model.npz", linear)
    assert found.pop("seconds") > 0
    assert found == {
        "command": "fit", "version": spiralnn.__version__, "model": "linear", "N": 120, "N_test": 0, "D": 2, "H": None,
        "K": 3, "classes": [0, 1, 2], "features": None, "dtype": "float64", "step_size": 1.0, "reg": 1e-3,
        "class_weight": None, "sample_weight": None, "seed": 0,
        "loss": linear.loss_, "n_iter": 200, "max_iter": 200, "converged": False, "interrupted": False,
        "train_accuracy": linear.score(X, y), "test_accuracy": None, "path": "model.npz", "checkpoint": None,
    }  # fmt: skip


def test_options_reach_the_model(spiral, capsys):
    X, y = spiral
    options = ("--hidden", 5, "--init-scale", 0.3, "--tol", 1e-3, "--reg", 0.01, "--step-size", 0.4, "--seed", 7)
    found = report(capsys, "fit", "X.npy", "y.npy", *options, "--max-iter", 5000, "--out", "model.npz")
    net = spiralnn.TwoLayerNet(
        hidden_size=5, init_scale=0.3, tol=1e-3, reg=0.01, step_size=0.4, random_state=7, max_iter=5000
    ).fit(X, y)
    assert same_bits("model.npz", net)
    assert found["converged"] and net.converged_
    assert (found["n_iter"], found["seed"], found["H"]) == (net.n_iter_, 7, 5)
    code, out, err = call(capsys, "fit", "X.npy", "y.npy", *options, "--max-iter", 5000)
    assert (code, err) == (0, "") and f"loss: {net.loss_:f} (converged)\n" in out


def test_predict_reports_in_json(spiral, model, capsys):
    found = report(capsys, "predict", "model.npz", "X.npy", "--out", "labels.npy", "--threads", 1)
    assert found.pop("seconds") > 0
    assert found == {
        "command": "predict", "version": spiralnn.__version__, "model": "model.npz", "N": 120, "D": 2, "K": 3,
        "classes": [0, 1, 2], "proba": False, "path": "labels.npy",
    }  # fmt: skip


def test_json_has_no_word_for_nan(capsys):
    console.print_json({"a": float("nan"), "b": [float("inf"), -1.5], "c": {"d": float("-inf")}, "e": "é"})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, -1.5], "c": {"d": None}, "e": "é"}


# what is shown


def test_verbose_and_quiet(spiral, capsys):
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--max-iter", 50)
    losses = [f"iteration {i}: loss " for i in (0, 20, 40)]
    code, out, err = call(capsys, *fit, "--verbose", 20)
    assert (code, err) == (0, "")
    assert [line[: len(start)] for line, start in zip(out.splitlines(), losses, strict=False)] == losses
    code, out, err = call(capsys, *fit, "--verbose", 20, "--json")
    assert code == 0 and json.loads(out)["n_iter"] == 50
    assert [line[: len(start)] for line, start in zip(err.splitlines(), losses, strict=True)] == losses
    assert call(capsys, *fit, "--quiet", "--out", "model.npz") == (0, "", "")
    assert report(capsys, *fit, "--quiet")["n_iter"] == 50
    assert "not allowed with" in refusal(capsys, *fit, "--quiet", "--verbose", 3, code=2)


def on_terminal(folder, *arguments):
    """(exit code, stdout, what was shown) of a command whose stderr is a terminal."""
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    process = start(*arguments, cwd=folder, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal, on Linux
        while part := os.read(ours, 1 << 16):
            shown += part
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, shown.decode()


@needs_posix
def test_a_bar_on_a_terminal_and_lines_without_tqdm(spiral, folder, monkeypatch):
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--max-iter", 100, "--json")
    code, out, shown = on_terminal(folder, *fit)
    assert code == 0 and json.loads(out)["n_iter"] == 100
    assert "100%|" in shown and "100/100" in shown
    assert on_terminal(folder, *fit, "--quiet")[2] == ""

    (folder / "block").mkdir()
    write("block/sitecustomize.py", hidden("tqdm"))
    monkeypatch.setenv("PYTHONPATH", str(folder / "block"))
    code, out, shown = on_terminal(folder, *fit)
    assert code == 0 and json.loads(out)["n_iter"] == 100
    assert [line.split(":")[0] for line in shown.splitlines()] == [f"iteration {i}" for i in range(0, 100, 5)]


def hidden(package):
    """A sitecustomize module that makes a package impossible to find and to import."""
    return f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == {package!r} else find(name, package)
sys.modules[{package!r}] = None
"""


# tables


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


# arrays


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


# the held-out score


def test_a_test_set_of_its_own(spiral, capsys):
    X, y = spiral
    np.save("X2.npy", X[:30] * 1.1)
    np.save("y2.npy", y[:30])
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--max-iter", 300, "--dtype", "float32")
    found = report(capsys, *fit, "--test", "X2.npy", "y2.npy")
    net = spiralnn.TwoLayerNet(hidden_size=8, max_iter=300, random_state=0).fit(X.astype(np.float32), y)
    assert found["test_accuracy"] == net.score((X[:30] * 1.1).astype(np.float32), y[:30])
    assert (found["N"], found["N_test"]) == (120, 30)
    code, out, _ = call(capsys, *fit, "--test", "X2.npy", "y2.npy")
    assert code == 0 and f"test accuracy: {found['test_accuracy']:.4f} (30 rows held out)\n" in out

    pd.DataFrame(X, columns=["a", "b"]).assign(kind=WORDS[y]).to_csv("train.csv", index=False)
    pd.DataFrame(X[:30], columns=["a", "b"]).assign(kind=WORDS[y[:30]]).to_parquet("test.parquet")
    found = report(capsys, "fit", "train.csv", "--target", "kind", "--test", "test.parquet", "--model", "linear")
    linear = spiralnn.SoftmaxClassifier(random_state=0).fit(X, y)
    assert found["test_accuracy"] == linear.score(X[:30], y[:30])


def test_faults_in_a_test_set(spiral, capsys):
    X, y = spiral
    np.save("X2.npy", X[:, :1])
    np.save("y2.npy", np.array([0, 7, 1]))
    np.save("X3.npy", X[:3])
    np.save("y3.npy", np.array([1, 1, 1]))
    assert report(capsys, "fit", "X.npy", "y.npy", "--model", "linear", "--test", "X3.npy", "y3.npy")["N_test"] == 3
    fit = ("fit", "X.npy", "y.npy", "--out", "model.npz", "--test")
    assert refusal(capsys, *fit, "X2.npy", "y.npy") == "y.npy: 1 inputs, but training has 2"
    assert refusal(capsys, *fit, "X.npy", "y2.npy") == "y2.npy: y has 3 labels, but X has 120 rows"
    assert refusal(capsys, *fit, "X3.npy", "y2.npy") == "y2.npy: label 7, but training has only 0, 1, 2"
    assert refusal(capsys, *fit, "gone.npy", "y2.npy").startswith("cannot read 'gone.npy'")
    write("train.csv", table_text(X, y, header="a,b,l"))
    write("test.csv", table_text(X, y, header="b,a,l"))
    message = refusal(capsys, "fit", "train.csv", "--target", "l", "--test", "test.csv")
    assert message == "test.csv: columns b, a, but training has a, b"


def test_a_share_of_the_rows(spiral, capsys):
    X, y = spiral
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--max-iter", 200)
    found = report(capsys, *fit, "--test-fraction", 0.25, "--seed", 3, "--out", "model.npz")
    assert (found["N"], found["N_test"]) == (90, 30)
    assert report(capsys, *fit, "--test-fraction", 0.25, "--seed", 3)["loss"] == found["loss"]
    assert report(capsys, *fit, "--test-fraction", 0.25, "--seed", 4)["loss"] != found["loss"]
    # the parts make up the whole: right answers over both are those over all rows
    right = found["train_accuracy"] * 90 + found["test_accuracy"] * 30
    assert right == pytest.approx(spiralnn.load("model.npz").score(X, y) * 120)
    # and the model is that of the rows it says
    order = np.random.default_rng(3).permutation(120)
    kept = np.sort(order[30:])
    net = spiralnn.TwoLayerNet(hidden_size=8, max_iter=200, random_state=3).fit(X[kept], y[kept])
    assert same_bits("model.npz", net)
    assert found["test_accuracy"] == net.score(X[order[:30]], y[order[:30]])


def test_a_class_does_not_vanish_into_the_held_out_rows(spiral, capsys):
    X, _ = spiral
    y = np.array(["usual", "other"] * 60)
    y[5] = "rare"
    np.save("y.npy", y)
    messages = set()
    for seed in range(20):
        fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--max-iter", 2, "--test-fraction", 0.5, "--seed", seed)
        code, out, err = call(capsys, *fit, "--json")
        if code == 0:
            assert json.loads(out)["K"] == 3
        else:
            messages.add(err.replace(f"--seed {seed}", "--seed S"))
    assert messages == {
        "spiralnn fit: error: y.npy: --test-fraction 0.5 with --seed S leaves no row of class 'rare' to train with; "
        "try another --seed or a smaller fraction\n"
    }
    message = refusal(capsys, "fit", "X.npy", "y.npy", "--test-fraction", 0.001)
    assert message == "--test-fraction 0.001 of 120 rows is 0, expected 1 to 119"


# weights


def test_weights_of_rows_and_classes(spiral, capsys):
    X, y = spiral
    weights = np.random.RandomState(2).randint(0, 4, 120) / 2
    np.save("w.npy", weights)
    write("w.csv", "weight\n" + "".join(f"{w!r}\n" for w in weights.tolist()))
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--out", "model.npz")
    for name in ("w.npy", "w.csv"):
        found = report(capsys, *fit, "--sample-weight", name)
        assert same_bits("model.npz", spiralnn.SoftmaxClassifier(random_state=0).fit(X, y, weights))
        assert (found["sample_weight"], found["class_weight"]) == (name, None)
    few = np.flatnonzero((y != 1) | (np.arange(120) % 5 == 0))
    np.save("X2.npy", X[few])
    np.save("y2.npy", y[few])
    fit = ("fit", "X2.npy", "y2.npy", "--model", "linear", "--out", "model.npz", "--class-weight", "balanced")
    assert report(capsys, *fit)["class_weight"] == "balanced"
    balanced = spiralnn.SoftmaxClassifier(random_state=0, class_weight="balanced")
    assert same_bits("model.npz", balanced.fit(X[few], y[few]))


def test_weights_go_with_their_rows(spiral, capsys):
    X, y = spiral
    weights = np.arange(120.0)
    np.save("w.npy", weights)
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--out", "model.npz", "--sample-weight", "w.npy")
    assert report(capsys, *fit, "--test-fraction", 0.25)["N"] == 90
    kept = np.sort(np.random.default_rng(0).permutation(120)[30:])
    linear = spiralnn.SoftmaxClassifier(random_state=0).fit(X[kept], y[kept], weights[kept])
    assert same_bits("model.npz", linear)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(119), "sample_weight has shape (119,), expected (120,)"),
        (np.zeros(120), "sample_weight is "),
        (np.full(120, -1.0), "Negative values in data passed to `sample_weight`: -1 at [0]"),
        (np.full(120, np.nan), "sample_weight holds NaN at [0], expected finite numbers"),
        (np.full(120, "1"), "sample_weight has dtype <U1, expected real numbers"),
    ],
)
def test_faults_in_weights(weights, message, spiral, capsys):
    np.save("w.npy", weights)
    fit = ("fit", "X.npy", "y.npy", "--sample-weight", "w.npy", "--out")
    assert refusal(capsys, *fit, "model.npz").startswith(f"w.npy: {message}")
    assert refusal(capsys, *fit, "w.npy").endswith("it is read by this command")


# predict


def test_scores_that_overflow_are_told_with_their_rows(spiral, capsys, monkeypatch):
    steep = np.full((2, 3), 10.0), np.zeros(3)
    spiralnn.SoftmaxClassifier(init=steep, step_size=0.0, max_iter=1).fit(*spiral).save("model.npz")
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
    fit = ("fit", "X.npy", "y.npy", "--init-scale", 100, "--max-iter", 3)
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
        "csv": lambda path: pd.read_csv(path).to_numpy(),
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


# outputs


def test_the_output_is_known_to_be_writable_before_anything_is_read(spiral, model, capsys):
    fit = ("fit", "gone.npy", "y.npy")
    message = refusal(capsys, *fit, "--out", "gone/model.npz")
    assert message == "cannot write the model to 'gone/model.npz': No such file or directory"
    message = refusal(capsys, *fit, "--checkpoint", "gone/run.npz")
    assert message == "cannot write checkpoints to 'gone/run.npz': No such file or directory"
    message = refusal(capsys, "predict", "model.npz", "gone.npy", "--out", "gone/labels.npy")
    assert message == "cannot write predictions to 'gone/labels.npy': No such file or directory"
    message = refusal(capsys, *fit, "--out", "y.npy/model.npz")
    assert message == "cannot write the model to 'y.npy/model.npz': Not a directory"
    os.mkdir("folder.npy")
    assert "not a regular file" in refusal(capsys, *fit, "--out", "folder.npy")
    assert "not a regular file" in refusal(capsys, "predict", "model.npz", "X.npy", "--out", "folder.npy")


def test_inputs_are_not_overwritten(spiral, model, capsys):
    before = {name: Path(name).read_bytes() for name in ("X.npy", "y.npy", "model.npz")}
    os.link("X.npy", "same.npy")
    for arguments in [
        ("fit", "X.npy", "y.npy", "--out", "X.npy"),
        ("fit", "X.npy", "y.npy", "--out", "./y.npy"),
        ("fit", "X.npy", "y.npy", "--checkpoint", "X.npy"),
        ("fit", "X.npy", "y.npy", "--test", "same.npy", "y.npy", "--out", "same.npy"),
        ("predict", "model.npz", "X.npy", "--out", "X.npy"),
        ("predict", "model.npz", "X.npy", "--out", "same.npy"),
    ]:
        assert refusal(capsys, *arguments).endswith("it is read by this command")
    assert before == {name: Path(name).read_bytes() for name in before}


def test_outputs_are_replaced_at_once_or_not_at_all(spiral, model, capsys, monkeypatch):
    before = Path("model.npz").read_bytes()
    fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--out", "model.npz", "--quiet")
    write("labels.npy", "before")

    def fail(*names):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "replace", fail)
        message = "cannot write {} to '{}': No space left on device"
        assert refusal(capsys, *fit) == message.format("the model", "model.npz")
        predict = ("predict", "model.npz", "X.npy", "--out", "labels.npy")
        assert refusal(capsys, *predict) == message.format("predictions", "labels.npy")
    assert Path("model.npz").read_bytes() == before and Path("labels.npy").read_text() == "before"
    assert call(capsys, *fit) == (0, "", "")
    assert call(capsys, "predict", "model.npz", "X.npy", "--out", "labels.npy") == (0, "", "")
    assert Path("model.npz").read_bytes() != before and len(np.load("labels.npy")) == 120


def test_a_run_that_diverges_saves_nothing(spiral, capsys):
    for step_size in ("1e300", "1e6"):
        message = refusal(capsys, "fit", "X.npy", "y.npy", "--step-size", step_size, "--out", "model.npz")
        assert re.search(r"no longer finite at step \d+, with step_size=", message)
        assert message.endswith("No model is saved")


# usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "the following arguments are required: X"),
        (("fit", "X.npy"), "labels are missing: give a file y, or --target COLUMN"),
        (("fit", "X.csv"), "labels are missing: give a file y, or --target COLUMN"),
        (("fit", "X.npy", "--target", "0"), "argument --target: the labels are a column of X"),
        (("fit", "X.csv", "y.npy", "--target", "0"), "argument --target: the labels are a column of X"),
        (("fit", "X.csv", "--target", "0", "--test", "X.npy"), "argument --target: the labels are a column of X"),
        (("fit", "X.txt", "y.npy"), "'X.txt' given, expected a file ending in .npy, .csv, .tsv, "),
        (("fit", "X.npy", "y.npy", "--test", "X.npy"), "argument --test: 1 files given, expected 2"),
        (("fit", "X.csv", "--target", "0", "--test", "a.csv", "b.csv"), "argument --test: 2 files given, expected 1"),
        (("fit", "X.npy", "y.npy", "--test-fraction", "1"), "argument --test-fraction: expected a number between"),
        (("fit", "X.npy", "y.npy", "--test-fraction", "0"), "argument --test-fraction: expected a number between"),
        (("fit", "X.npy", "y.npy", "--test-fraction", "0.5", "--test", "a.npy", "b.npy"), "not allowed with"),
        (("fit", "X.npy", "y.npy", "--model", "linear", "--hidden", "3"), "argument --hidden: a linear model has no"),
        (("fit", "X.npy", "y.npy", "--model", "deep"), "argument --model: invalid choice: 'deep'"),
        (("fit", "X.npy", "y.npy", "--resume"), "argument --resume: needs --checkpoint"),
        (("fit", "X.npy", "y.npy", "--out", "a.npz", "--checkpoint", "a.npz"), "argument --checkpoint: expected"),
        (("fit", "X.npy", "y.npy", "--hidden", "0"), "argument --hidden: '0' given, expected an integer, 1"),
        (("fit", "X.npy", "y.npy", "--max-iter", "0"), "argument --max-iter: '0' given, expected an integer, 1"),
        (("fit", "X.npy", "y.npy", "--step-size", "inf"), "argument --step-size: 'inf' given, expected a finite"),
        (("fit", "X.npy", "y.npy", "--reg=-1"), "argument --reg: '-1' given, expected a finite number, 0 or more"),
        (("fit", "X.npy", "y.npy", "--dtype", "float16"), "argument --dtype: invalid choice: 'float16'"),
        (("predict", "model.npz"), "the following arguments are required: X"),
        (("predict", "model.npz", "X.npy", "--out", "labels.txt"), "argument --out: 'labels.txt' given, expected"),
        (("predict", "model.npz", "X.npy", "--target", "0"), "argument --target: needs a .csv, .tsv or .parquet file"),
        (("predict", "model.npz", "X.npy", "--json"), "argument --json: needs --out"),
    ],
)  # fmt: skip
def test_wrong_usage(arguments, message, capsys):
    assert message in refusal(capsys, *arguments, code=2)


def test_exit_codes_of_processes(spiral, folder):
    assert_wrong_usage(run("fit", "X.npy", cwd=folder), "spiralnn fit: error: labels are missing")
    code, out, err = run("fit", "gone.npy", "y.npy", cwd=folder)
    assert (code, out) == (1, []) and err == ["spiralnn fit: error: cannot read 'gone.npy': No such file or directory"]
    for name in ("fit", "predict"):
        code, out, err = run(name, "--help", cwd=folder)
        assert (code, err) == (0, []) and f"  spiralnn {name} " in "\n".join(out)


def test_warnings_are_one_line(capsys):
    def action():
        import warnings

        warnings.warn("take\ncare", RuntimeWarning, stacklevel=1)
        return 0

    assert console.guarded("fit", action) == 0
    assert capsys.readouterr().err == "spiralnn fit: warning: take care\n"


# Ctrl-C, checkpoints, pipes


def interrupted(folder, *arguments, after):
    """(exit code, stdout, lines of stderr) of a process that gets Ctrl-C once a line of its log is there."""
    process = start("fit", "X.npy", "y.npy", "--hidden", 8, *ENDLESS, *arguments, cwd=folder)
    after(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.splitlines()


def first_line(process):
    assert process.stdout.readline().startswith("iteration ")


@needs_posix
def test_ctrl_c_keeps_the_model(spiral, folder):
    X, y = spiral
    code, out, err = interrupted(folder, "--out", "model.npz", "--verbose", 1000, after=first_line)
    assert code == 130
    net = spiralnn.load("model.npz")
    assert 0 < net.n_iter_ == len(net.loss_curve_) < ENDLESS[1]
    expected = f"spiralnn fit: interrupted after {net.n_iter_} of {ENDLESS[1]} steps; the model as it is then is in "
    assert err == [f"{expected}'model.npz'"]
    assert out.splitlines()[-2:] == [f"loss: {net.loss_:f}", "model: model.npz"]
    again = spiralnn.TwoLayerNet(hidden_size=8, max_iter=net.n_iter_, random_state=0).fit(X, y)
    assert same_bits("model.npz", again)


@needs_posix
def test_ctrl_c_is_told_in_json(spiral, folder):
    def first_line_on_stderr(process):
        assert process.stderr.readline().startswith("iteration ")

    code, out, err = interrupted(folder, "--json", "--verbose", 1000, after=first_line_on_stderr)
    found = json.loads(out)
    assert (code, found["interrupted"], found["train_accuracy"], found["path"]) == (130, True, None, None)
    assert err[-1] == f"spiralnn fit: interrupted after {found['n_iter']} of {ENDLESS[1]} steps"


@needs_posix
def test_ctrl_c_before_the_first_step(folder):
    os.mkfifo("X.csv")
    process = start("fit", "X.csv", "y.npy", "--out", "model.npz", cwd=folder)
    with open("X.csv", "w") as file:  # opens once the command reads
        file.write("1,2\n")
        file.flush()
        process.send_signal(signal.SIGINT)
    # closed, lest the signal came just before the command began to wait
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "spiralnn fit: interrupted\n")
    assert not os.path.exists("model.npz")


@needs_posix
def test_a_killed_run_is_resumed_to_the_same_bits(spiral, folder, capsys):
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--checkpoint", "run.npz", "--checkpoint-every", 0)
    process = start(*fit, *ENDLESS, cwd=folder)
    deadline = time.monotonic() + 60
    while not os.path.exists("run.npz") and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    steps = len(np.load("run.npz")["losses"]) + 50_000
    found = report(capsys, *fit, "--max-iter", steps, "--resume", "--out", "model.npz")
    assert (found["n_iter"], found["checkpoint"]) == (steps, "run.npz")
    assert same_bits("model.npz", spiralnn.TwoLayerNet(hidden_size=8, max_iter=steps, random_state=0).fit(*spiral))
    message = refusal(capsys, *fit, "--max-iter", 10, "--resume")
    assert message == f"max_iter is 10, but run.npz holds {steps} steps already"
    message = refusal(capsys, *fit, "--max-iter", steps, "--resume", "--reg", 0.5)
    assert "run.npz is the checkpoint of another run: reg is 0.5 here and 0.001 there" in message
    Path("run.npz").write_bytes(b"nothing")
    assert "run.npz" in refusal(capsys, *fit, "--resume")


@needs_posix
def test_ctrl_c_then_resume(spiral, folder, capsys):
    options = ("--checkpoint", "run.npz")
    code, _, err = interrupted(folder, *options, "--verbose", 1000, after=first_line)
    assert code == 130 and err[-1].endswith(" steps; --resume goes on")
    done = int(err[-1].split(" after ")[1].split()[0])
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--max-iter", done + 100, *options, "--resume")
    assert report(capsys, *fit, "--out", "model.npz")["n_iter"] == done + 100
    net = spiralnn.TwoLayerNet(hidden_size=8, max_iter=done + 100, random_state=0).fit(*spiral)
    assert same_bits("model.npz", net)


@needs_posix
def test_a_reader_that_goes_away(spiral, model, folder):
    np.save("large.npy", np.tile(spiral[0], (5000, 1)))
    for arguments in (("predict", "model.npz", "large.npy"), ("predict", "model.npz", "large.npy", "--proba")):
        process = start(*arguments, cwd=folder)
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(timeout=60) == 1
    process = start("fit", "X.npy", "y.npy", "--model", "linear", "--json", "--out", "kept.npz", cwd=folder)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert spiralnn.load("kept.npz").n_iter_ == 200  # saved before it was told


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
