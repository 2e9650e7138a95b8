"""Text with separators: one grammar and the same bits from every reader."""

import contextlib
import gzip
import os
import signal
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from readers import READERS, reading, write

from spiralnn import tables
from spiralnn.tables import csv

WORDS = np.array(["ant", "bee", "cat"])


def read(text, target=None, header=None, name="t.csv", **options):
    return tables.read_table(write(name, text), target, header, **options)


def refusal(text, *given, **options):
    with pytest.raises(tables.TableError) as caught:
        read(text, *given, **options)
    return str(caught.value)


# numbers


@pytest.mark.parametrize(
    "field",
    [
        "0.1", " 1e-320 ", "-0", "+.5", "1.", "1E308", "\t2", "123456789012345678901", "2.2250738585072011e-308",
        "9007199254740993", "2.4703282292062328e-324", "1e-400", "0." + "3" * 300, '"1.5"', '" 7 "', "\u20038\xa0",
    ],
)  # fmt: skip
def test_numbers_are_those_of_float(field, reader):
    table, labels = read(f"a,b\n0.5,1\n{field},2\n")
    assert labels is None and table.columns == ["a", "b"] and table.is_finite
    assert table.matrix.tobytes() == np.array([[0.5, 1.0], [float(field.strip('"')), 2.0]]).tobytes()


@pytest.mark.parametrize("field", ["True", "true", "TRUE", "False", "false", "FALSE", " True "])
def test_truth_values_are_numbers(field, reader):
    value = float("t" in field.lower())
    for first in ("False", "0.5", field):
        table, _ = read(f"a,b\n{first},1\n{field},2\n")
        assert table.matrix[1].tolist() == [value, 2.0]


@pytest.mark.parametrize(
    "field",
    [
        "2024_01", "1_0", "0x10", "inf", "-infinity", "1e999", "four", "1 2", "--1", "1e", "1d5", "1;5",
        "tRUE", "nan(1)", "\u0661", "'1'", "1f", "$1", "#", "a\x0bb", "1\x85\u20282",
    ],
)  # fmt: skip
def test_what_is_no_number(field, reader):
    message = f"t.csv: line 3, column 'b': {field!r}, expected a finite number"
    assert refusal(f"a,b,c\n1,2,3\n3,{field},4\n") == message
    assert refusal(f"1.5,2,3\n3,4,5\n3,{field},4\n") == message.replace("'b'", "1 (counted from 0)")


@pytest.mark.parametrize("field", ["", " ", "NA", "nan", "NaN", "null", "None", "<NA>", "N/A", "?", '""'])
def test_missing_values(field, reader):
    expected = f"t.csv: line 3, column 'b': {field.strip(chr(34))!r}, a missing value; expected a finite number"
    assert refusal(f"a,b,c\n1,2,3\n3,{field},4\n") == expected


# records


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("", (), "the file is empty"),
        ("\n  \n\r\n", (), "the file is empty"),
        ("a,b,l\n", (), "holds a header and no rows"),
        ("a,b,l\n \n", (), "holds a header and no rows"),
        ("a,b,l\n1,2,0\n3,4\n", (), "line 3: 2 fields, expected 3 (separated by ',')"),
        ("a,b,l\n1,2,0\n\n3\n", (), "line 4: 1 field, expected 3 (separated by ',')"),
        ("a,b,l\n1,2,0\n3,4,1,5\n", (), "line 3: 4 fields, expected 3 (separated by ',')"),
        ("a,b,l\n1,2,0\n3,4,1,\n", (), "line 3: 4 fields, expected 3 (separated by ',')"),
        ('a,b,l\n1,2,0\n3,"4,1\n', (), "line 3: unexpected end of data"),
        ('a,b,l\n1,2,0\n3,"4,1\n5,6,7\n', (), "lines 3 to 4: unexpected end of data"),
        ('a,b,l\n1,2,0\n3,4,"1"2\n', (), "line 3: ',' expected after '\"'"),
        ('a,b,l\n1,2,0\n3,4"4,1\n', (), "line 3, column 'b': '4\"4', expected a finite number"),
        ("a,b,l\n1,2,0\n3,4,1\n".encode("utf-16"), (), "no text in UTF-8 (line 1: a NUL byte)"),
        (b"a,b,l\n1,2,0\n3,4,\xe9t\xe9\n", (), "no text in UTF-8 (line 3: invalid continuation byte)"),
        (b"a,b,l\n1,2,0\n3,4,\0\n", (), "no text in UTF-8 (line 3: a NUL byte)"),
        ("a,b,l\n1,2,0\n3,4," + 140_000 * "x" + "\n", (), "line 3: field larger than field limit (131072)"),
        ("l\n0\n1\n", (), "holds no column beside the labels (separated by ',')"),
        ("l,l,b\n0,1,2\n", (), "2 columns are called 'l' (separated by ',')"),
        (",a,l\n0,1,2\n", (), "line 1: field 1 of the header is empty: a table's index?"),
        ("a,b,c\n1,2,0\n3,4,1\n", (), "has no column 'l': 'a', 'b', 'c' (separated by ',')"),
        ("a, l\n1, 2\n", (), "has no column 'l': 'a', ' l' (separated by ',')"),
        ("a,b,l\n1,2,0\n", ("3",), "has no column 3: expected 0 to 2, or -1 for the last (separated by ',')"),
        ("1,2,0\n", ("l", False), "has no column 'l': they have no names (separated by ',')"),
        ("a;l\n1;2\n", (), "has no column 'l': 'a;l' (separated by ','; 'a;l' holds none, try --separator ';')"),
        ("a\tl\n1\t2\n", (), "has no column 'l': 'a\\tl' (separated by ','; 'a\\tl' holds none, try "
         "--separator '\\t')"),
        ("a|l\n1|2\n", ("-1",), "holds no column beside the labels (separated by ','; 'a|l' holds none, try "
         "--separator '|')"),
        ("1;2\n1,5;2\n", (None,), "line 2: 2 fields, expected 1 (separated by ','; '1;2' holds none, try "
         "--separator ';')"),
        ("a;b\n1;2\n", (None,), "line 2, column 'a;b': '1;2', expected a finite number (separated by ','; '1;2' holds "
         "none, try --separator ';')"),
        ("# by hand\na,l\n1,2\n", (), "has no column 'l': '# by hand' (separated by ','; a line of comments is read "
         "like any other)"),
    ],
)  # fmt: skip
def test_faults_in_a_table(text, given, message, reader):
    assert refusal(text, *(given or ("l",))) == f"t.csv: {message}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_quotes_line_ends_byte_order_marks_and_blank_lines(encoding, end, reader):
    words = ["ant", "bee, or wasp", 'the "cat" é', "two\n\nlines", " ant", ""]
    quoted = ['"' + word.replace('"', '""') + '"' for word in words[:5]]
    rows = [f'"{i}.5", {i} ,{word}' for i, word in enumerate(quoted)]
    text = end.join(['"width, left",height,"ki\nnd"', *rows[:2], "", *rows[2:], "  \t", ""])
    for piece in (1, 40, None):
        with reading(reader, piece):
            table, labels = read(text.encode(encoding), "ki\nnd")
            assert table.columns == ["width, left", "height"] and labels.tolist() == words[:5]
            assert table.matrix.tolist() == [[i + 0.5, i] for i in range(5)]


def test_faults_are_told_with_their_line_in_every_piece(reader):
    rows = [f"{i / 7!r},{i},{i % 3}\n" for i in range(400)]
    rows[1] = '1.5,"2","x\ny"\n'  # two lines
    rows[300] = "1.5,x,0\n"
    for piece in (1, 100, 5000):
        with reading(reader, piece):
            assert refusal("a,b,l\n" + "".join(rows), "l") == (
                "t.csv: line 303, column 'b': 'x', expected a finite number"
            )


# kinds of text, separators, columns that are left out


@pytest.mark.parametrize("separator", [";", "\t", "|", " ", "§", ":"])
def test_separators(separator, reader):
    text = f'a{separator}b{separator}l\n1{separator}2{separator}"x{separator}y"\n3{separator}4{separator}z\n'
    table, labels = read(text, "l", separator=separator)
    assert table.columns == ["a", "b"] and table.matrix.tolist() == [[1, 2], [3, 4]]
    assert labels.tolist() == [f"x{separator}y", "z"]
    if separator == "\t":
        assert read(text, "l", name="t.TSV")[1].tolist() == labels.tolist()


@pytest.mark.parametrize("separator", ["ab", '"', "\n", "1", "e", ".", "-", "\0"])
def test_what_is_no_separator(separator):
    assert refusal("1.5,2\n", separator=separator).startswith(f"t.csv: separator is {separator!r}, expected one ")


@pytest.mark.parametrize("name", ["t.csv.gz", "T.CSV.GZ", "t.tsv.gz"])
def test_zipped(name, reader):
    text = "a,l\n1.5,x\n2,y\n".replace(",", "," if "csv" in name.lower() else "\t")
    content = gzip.compress(text.encode())
    table, labels = read(content, "l", name=name)
    assert table.matrix.tolist() == [[1.5], [2.0]] and labels.tolist() == ["x", "y"]
    assert "no whole gzip file" in refusal(content[:-9], "l", name=name)
    assert refusal(text, "l", name=name).startswith(f"cannot read '{name}': Not a gzipped file")


def test_columns_that_are_left_out(reader):
    text = "id,a,note,b,l\nA1,1.5,,2,x\nA2,3,n/a,4,y\n"
    for ignore in (("id", "note"), ("0", "2"), ("-5", "note"), ("note", "id", "0")):
        table, labels = read(text, "l", ignore=ignore)
        assert table.columns == ["a", "b"] and table.matrix.tolist() == [[1.5, 2], [3, 4]]
        assert labels.tolist() == ["x", "y"]
        [block] = tables.blocks(write("t.csv", text), 10, "l", ignore=ignore)
        assert block.matrix.tolist() == table.matrix.tolist()
    assert refusal(text, "l", ignore=["age"]).startswith("t.csv: has no column 'age': 'id', 'a', 'note', 'b', 'l'")
    assert refusal(text, "l", ignore=["9"]).startswith("t.csv: has no column 9: expected 0 to 4")
    assert refusal(text, "l", ignore=["-1"]).startswith("t.csv: column 'l' holds the labels and is to be left out")
    assert refusal("a,b\n1,2\n", ignore=["a", "b"]).startswith("t.csv: holds no column beside those to leave out")
    assert read(",a,l\n0,1.5,x\n", "l", ignore=["0"])[0].matrix.tolist() == [[1.5]]  # a DataFrame's index
    # in columns left out nothing is looked at, when predicting those of the labels, too
    [block] = tables.blocks(write("t.csv", "a,l\n1,\n2,nan\n"), 10, "l")
    assert block.matrix.tolist() == [[1], [2]]


# header or not


@pytest.mark.parametrize(
    ("first", "target", "names"),
    [
        ("1,2,l", "l", ["1", "2"]),  # a column is called so
        ("a,b,c", None, ["a", "b", "c"]),
        ("a,True,0", "2", ["a", "True"]),
        ("a,b,0", "-1", ["a", "b"]),
        ("nan,NA,l", "2", ["nan", "NA"]),
        ("1,2,1", None, None),  # names are not twice the same
        ("1,2.5,3", None, None),
        ("1,2,x", "2", None),
        ("01,2,3", None, None),
        ("True,False,1.5", None, None),
        ("0,1,2", "2", "ask"),  # as pandas numbers columns
        ("2019,2020,2021", None, "ask"),
        ("7", None, "ask"),
        ("2019,b,l", "2", "ask"),
        ("1.5,b,x", "2", "ask"),
    ],
)
def test_header_or_not(first, target, names, reader):
    width = len(first.split(","))
    text = first + "\n" + ",".join("4" * width) + "\n"
    if names == "ask":
        fields = ", ".join(map(repr, first.split(",")))
        assert refusal(text, target) == f"t.csv: are these names or numbers: {fields}? Say --header or --no-header"
        assert len(read(text, target, True)[0]) == 1
    else:
        table, _ = read(text, target)
        assert table.columns == names and len(table) == (2 if names is None else 1)


def test_header_or_not_can_be_said(reader):
    assert read("0,1,2\n3,4,5\n", "2", True)[0].columns == ["0", "1"]
    table, labels = read("0,1,2\n3,4,5\n", "2", False)
    assert table.columns is None and table.matrix.tolist() == [[0, 1], [3, 4]] and labels.tolist() == [2, 5]
    assert read("1.5,2.5\n3,4\n", None, True)[0].columns == ["1.5", "2.5"]
    assert refusal("a,b\n3,4\n", None, False).startswith("t.csv: line 1, column 0 (counted from 0): 'a', expected")


# how fast readers are used


@pytest.mark.parametrize("reader", ["numpy", "pyarrow"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_tables_need_no_exact_reader(reader, end, monkeypatch):
    """Quoted words, truth values, columns left out, further digits: all of what others write."""
    rows = [f'{i / 7!r},x{i}y,{i % 2 == 0},"{WORDS[i % 3]}, or so",{i}{end}' for i in range(300)]
    sizes = []
    exactly = csv._read_exactly

    def counted(records, *given):
        found = exactly(records, *given)
        sizes.append(len(found[0]))
        return found

    monkeypatch.setattr(csv, "_read_exactly", counted)
    with reading(reader, 2000):
        table, labels = read(f"a,id,is,kind,b{end}" + "".join(rows), "kind", ignore=["id"])
    assert sizes == [1]
    assert table.matrix.tolist() == [[i / 7, float(i % 2 == 0), i] for i in range(300)]
    assert labels.tolist() == [f"{WORDS[i % 3]}, or so" for i in range(300)]


def test_large_files_are_read_by_pyarrow_where_it_is(monkeypatch):
    arrow_csv = pytest.importorskip("pyarrow.csv")

    def refuse(*given):
        raise AssertionError("by pyarrow")

    monkeypatch.setattr(arrow_csv, "read_csv", refuse)
    text = "1.5,2\n" * 1000
    assert len(read(text)[0]) == 1000  # a small file
    monkeypatch.setattr("spiralnn.tables.fast.ARROW_SIZE", 5000)
    with pytest.raises(AssertionError, match="by pyarrow"):
        read(text)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert len(read(text)[0]) == 1000


@pytest.mark.parametrize("reader", READERS)
def test_tables_are_read_in_parts(reader):
    X = np.random.RandomState(0).randn(1000, 3)
    pd.DataFrame(X, columns=list("abc")).assign(kind=WORDS[np.arange(1000) % 3]).to_csv("t.csv", index=False)
    path = tables.table_path("t.csv")
    for piece in (500, 10_000):
        with reading(reader, piece):
            table, labels = tables.read_table(path, "kind")
            assert np.array_equal(table.matrix, X) and labels.tolist() == WORDS[np.arange(1000) % 3].tolist()
            for rows in (1, 300, 5000):
                parts = list(tables.blocks(path, rows, "kind"))
                assert {len(part) for part in parts[:-1]} <= {rows} and 0 < len(parts[-1]) <= rows
                assert np.array_equal(np.concatenate([part.matrix for part in parts]), X)
                assert all(part.columns == ["a", "b", "c"] and part.is_finite for part in parts)


def test_memory_is_bounded():
    """By what the table takes, twice, and a piece; in blocks by a piece."""
    X = np.random.RandomState(0).randn(10_000, 10)
    pd.DataFrame(X).to_csv("t.csv", index=False)
    for reader in ("exact", "numpy"):  # what pyarrow takes is not traced
        with reading(reader, 1 << 15):
            for run, most in [
                (lambda: tables.read_table(tables.table_path("t.csv"), header=True), 2.3 * X.nbytes),
                (lambda: sum(map(len, tables.blocks(tables.table_path("t.csv"), 100, header=True))), X.nbytes / 2),
            ]:
                tracemalloc.start()
                run()
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                assert peak < most, f"{reader}: {peak} bytes, where the table takes {X.nbytes}"


@pytest.mark.skipif(os.name != "posix", reason="named pipes and signals of POSIX")
def test_a_pipe_is_read_once(reader):
    os.mkfifo("t.csv")
    text = "a,b\n" + "1.5,2\n" * 5000
    feeder = threading.Thread(target=write, args=("t.csv", text))
    feeder.start()
    with reading(reader, 1000):
        assert len(tables.read_table(tables.table_path("t.csv"))[0]) == 5000
    feeder.join()


@pytest.mark.skipif(os.name != "posix", reason="named pipes and signals of POSIX")
@pytest.mark.parametrize("reader", READERS)
def test_ctrl_c(reader):
    job = """
import sys
from pathlib import Path
from readers import reading
from spiralnn import tables
with reading(sys.argv[1], 1 << 20):
    for block in tables.blocks(Path("t.csv"), 1000):
        print("on", flush=True)
"""
    os.mkfifo("t.csv")
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", job, reader],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stop = threading.Event()

    def feed():
        with contextlib.suppress(BrokenPipeError), open("t.csv", "w") as file:
            while not stop.is_set():
                file.write("1.5,2\n" * 10_000)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    stop.set()
    feeder.join()
    assert process.returncode != 0 and errors.rstrip().endswith("KeyboardInterrupt")


def test_what_is_known_of_a_table():
    table, _ = read("a,b\n1e39,2\n")
    assert table.is_finite and table.rows(np.array([0])).is_finite and len(table) == 1 and table.shape == (1, 2)
    assert np.asarray(table).tolist() == [[1e39, 2.0]]
    assert not table.astype(np.float32).is_finite and table.astype(np.float64).is_finite
