"""Labels and single columns: classes never merge, are never respelled, and no row goes with the wrong label."""

import numpy as np
import pytest
from readers import reading, write

from spiralnn import tables


def labels_of(*texts, **options):
    """Of a column of a table with a header, and the same of a file of its own."""
    rows = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
    with reading("exact", 1):
        in_pieces = tables.read_table(write("t.csv", "a,l\n" + rows), "l", **options)[1]
    labels = tables.read_table(write("t.csv", "a,l\n" + rows), "l", **options)[1]
    column = tables.read_column(write("y.csv", "".join(f"{text}\n" for text in texts)), len(texts), **options)
    for other in (in_pieces, column):
        assert other.dtype == labels.dtype and other.tolist() == labels.tolist()
    return labels


@pytest.mark.parametrize(
    ("texts", "dtype"),
    [
        (["1", "0", "-3", "1"], np.int64),
        (["9223372036854775807", "-9223372036854775808"], np.int64),
        (["9223372036854775807", "9223372036854775808"], str),
        (["1" * 5000, "1"], str),
        (["1_1", "1_2", "11"], str),
        (["01", "1", "2"], str),
        (["1e2", "1E2", "100"], str),
        (["1.0", "1", "2"], str),
        (["+1", "1", "-0"], str),
        ([" 1", "1", "1 "], str),
        (["0.5", "1"], str),
        (["\u0661", "1"], str),
        (["x", "1", "x"], str),
        (["NA", "US", "NA"], str),  # Namibia
        (["True", "False"], str),
        (["nan", "nan"], str),
    ],
)
def test_what_labels_become(texts, dtype, reader):
    labels = labels_of(*texts)
    assert labels.dtype.kind == np.dtype(dtype).kind and list(map(str, labels)) == texts


@pytest.mark.parametrize(
    ("classes", "texts", "expected"),
    [
        (["1", "2", "3a"], ["1", "2"], ["1", "2"]),  # alone these would be integers
        (["1", "NA", "x"], ["1", "NA"], ["1", "NA"]),
        ([1, 2, 3], ["2", "1"], [2, 1]),
        ([1, 2, 3], ["2", "02"], ["2", "02"]),
        ([1, 2, 3], ["2", "x"], ["2", "x"]),
        (np.array([1, 2], np.uint8), ["2", "1"], [2, 1]),
        ([1.0, 2.0], ["2", "1.0"], [2.0, 1.0]),
        ([1.0, 2.0], ["2", "True"], ["2", "True"]),
        ([False, True], ["True", "false"], [True, False]),
        ([False, True], ["True", "1"], ["True", "1"]),
        (np.array(["1", 2], object), ["1", "2"], ["1", "2"]),
    ],
)
def test_labels_beside_classes(classes, texts, expected, reader):
    labels = labels_of(*texts, classes=np.asarray(classes))
    assert labels.tolist() == expected and [type(label) for label in labels.tolist()] == list(map(type, expected))


def test_missing_labels(reader):
    for text, beside, message in [
        ("", "1", "line 3, column 'l': a missing label"),
        ('"  "', "x", "line 3, column 'l': a missing label"),
        ("NA", "1", "line 3, column 'l': 'NA' beside numbers, a missing label"),
        ("nan", "1.5", "line 3, column 'l': 'nan' beside numbers, a missing label"),
    ]:
        for piece in (1, None):
            with reading(reader, piece), pytest.raises(tables.TableError) as caught:
                tables.read_table(write("t.csv", f"a,l\n1,{beside}\n2,{text}\n3,{beside}\n4,None\n"), "l")
            assert str(caught.value) == f"t.csv: {message}"
            with reading(reader, piece), pytest.raises(tables.TableError) as caught:
                tables.read_column(write("y.csv", f"{beside}\n{text or chr(34) * 2}\n"), 2)
            assert str(caught.value) == "y.csv: " + message.replace("line 3, column 'l'", "line 2")
    with pytest.raises(tables.TableError, match="line 2, column 'l': 'NA' beside numbers"):
        tables.read_table(write("t.csv", "a,l\n1,NA\n2,1\n"), "l", classes=np.array([1, 2]))


# a column of its own


def column(text, N, header=None, **options):
    return tables.read_column(write("y.csv", text), N, header, **options).tolist()


def test_the_number_of_lines_tells_a_header(reader):
    words = "ant\n" + "bee\nant\n" * 60
    assert column(words, 121)[:3] == ["ant", "bee", "ant"]
    assert column(words, 120)[:3] == ["bee", "ant", "bee"]
    assert len(column(words, 121, True)) == 120 and len(column(words, 120, False)) == 121
    numbers = "2024\n1\n0\n1\n"
    assert column(numbers, 4) == [2024, 1, 0, 1] and column(numbers, 3) == [1, 0, 1]
    assert column(numbers, 4, kind="numbers") == [2024, 1, 0, 1] and column(numbers, 3, kind="numbers") == [1, 0, 1]
    assert column("y\n0\n1\n", 2) == [0, 1] and column("w\n0.5\n1\n", 2, kind="numbers") == [0.5, 1.0]
    assert column("7\n", 1) == [7] and column("y\n", 0) == []
    # neither: whatever is taken for a header, the number of rows is not that of the labels
    for N in (0, 1, 5, 100):
        assert column("y\n0\n1\n1\n", N) == [0, 1, 1]
        assert column("0\n0\n1\n1\n", N) == [0, 0, 1, 1]
        assert column("a\na\nb\nb\n", N) == ["a", "a", "b", "b"]
        assert column("w\n0.5\n1\n1\n", N, kind="numbers") == [0.5, 1, 1]


def test_faults_in_a_column(reader):
    for text, options, message in [
        ("", {}, "the file is empty"),
        ("0,1\n", {}, "line 1: 2 fields, expected 1 (separated by ',')"),
        ("0\n1\n0,1\n", {}, "line 3: 2 fields, expected 1 (separated by ',')"),
        ("1\nx\n2\n", {"kind": "numbers"}, "line 2: 'x', expected a finite number"),
        ("x\n1\n2\n", {"kind": "numbers"}, "line 1: 'x', expected a finite number"),
        ("x\n1\n2\n3\n", {"kind": "numbers", "header": False}, "line 1: 'x', expected a finite number"),
        ("1\n\n \n\n2\nnan\n", {"kind": "numbers"}, "line 6: 'nan', a missing value; expected a finite number"),
        ("1\n2\n1_0\n", {"kind": "numbers"}, "line 3: '1_0', expected a finite number"),
        ("1\n2\n1e999\n", {"kind": "numbers"}, "line 3: '1e999', expected a finite number"),
    ]:
        with pytest.raises(tables.TableError) as caught:
            column(text, 3, **options)
        assert str(caught.value) == f"y.csv: {message}"


def test_weights_are_those_of_float(reader):
    texts = ["0.1", " 2 ", "1e-320", "3.0000000000000004"]
    assert column("".join(f"{text}\n" for text in texts), 4, kind="numbers") == list(map(float, texts))
    assert column("0.5;\n", 1, separator=",") == ["0.5;"]
