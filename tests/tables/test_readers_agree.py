"""Whatever a file holds: every reader finds the same, in pieces of every size, and fails only as a TableError."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, outcome, reading, write

from spiralnn import tables
from spiralnn.tables import fast
from spiralnn.tables.layout import Layout

pytest.importorskip("pyarrow")

COMMON = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = {"True": 1.0, "false": 0.0}
PIECES = st.sampled_from([1, 7, 50, 1 << 24])

floats = st.floats(-1.7e308, 1.7e308)
spelled = [repr, "{:.3g}".format, " {!r} ".format, "{:.25e}".format, "{!r}\t".format, lambda value: f"{value:+}"]
numbers = st.builds(lambda value, spell: spell(value), floats, st.sampled_from(spelled))
fields = st.one_of(numbers, st.sampled_from(["True", "false", "1.", ".5", "1E5", "-0", "007", "9" * 25, "1e-400"]))
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
labels = st.one_of(words, st.sampled_from(['"', 'a"b', "x,y", "1", "01", "é\n\nö", "a\rb", "#", " b"]))


@st.composite
def legal_tables(draw):
    """(text, the numbers in it, the labels in it): quoted where it must be and elsewhere, with blank lines between."""
    D = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(st.lists(fields, min_size=D, max_size=D), labels), min_size=1, max_size=25))
    end, quote_all = draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.booleans())

    def written(field):
        return '"' + field.replace('"', '""') + '"' if quote_all or set('",\r\n') & set(field) else field

    lines = [",".join([*(f"x{j}" for j in range(D)), "label"])]
    for row, label in rows:
        lines += draw(st.sampled_from([[], [], [""], [" \t"]]))
        lines.append(",".join(map(written, [*row, label])))
    X = [[WORDS[field] if field in WORDS else float(field) for field in row] for row, _ in rows]
    return end.join(lines) + draw(st.sampled_from(["", end])), X, [label for _, label in rows]


@COMMON
@given(table=legal_tables(), piece=PIECES, rows=st.integers(1, 30))
def test_legal_tables(table, piece, rows):
    text, X, y = table
    path = write("t.csv", text)
    for reader in READERS:
        with reading(reader, piece):
            found, labels = tables.read_table(path, "label", classes=np.array(["a"]))
            assert found.matrix.tobytes() == np.array(X).tobytes() and labels.tolist() == y
            parts = [block.matrix for block in tables.blocks(path, rows, "label")]
            assert np.concatenate(parts).tobytes() == found.matrix.tobytes()
            assert all(len(part) == rows for part in parts[:-1])


odd = st.sampled_from(
    ["", " ", '"', '""', '"1"', '"a', 'a"b', '"a"b', "nan", "inf", "1e999", "0x1", "1_0", "NA", "a,b", "1\r2", "#1",
     "\x0b1", "\x1c1", "1\xa0", "\u0661", "tRUE", "1;2", "\u2028", "-", "1e", "1 2", "\n", "\r", "nan(1)", "$1",
     "\ufeff1"]
)  # fmt: skip
rough = st.lists(st.lists(st.one_of(fields, fields, fields, odd, words), min_size=1, max_size=4), max_size=12)
garbage = st.one_of(
    st.binary(max_size=200),
    rough.map(lambda rows: "\n".join(",".join(row) for row in rows).encode()),
    st.builds(lambda line, n: "\n".join([line] * n).encode(), st.text(max_size=12).map(str.strip), st.integers(1, 9)),
    st.builds(
        lambda content, place, byte: content[:place] + bytes([byte]) + content[place:],
        st.just(b"a,b,label\n1.5,2,x\n-3,4e5,y\n0,0,x\n"), st.integers(0, 40), st.integers(0, 255),
    ),
)  # fmt: skip


@settings(COMMON, max_examples=150)
@given(
    content=garbage,
    piece=PIECES,
    target=st.sampled_from([None, "0", "-1", "label"]),
    header=st.sampled_from([None, True, False]),
    ignore=st.sampled_from([(), ("1",)]),
)
def test_garbage(content, piece, target, header, ignore):
    path = write("t.csv", content)
    found = set()
    for reader in READERS:
        with reading(reader, piece):
            found.add(repr(outcome(lambda: tables.read_table(path, target, header, ignore=ignore))))
            for kind in ("labels", "numbers"):
                try:
                    column = tables.read_column(path, 3, header, kind=kind)
                except tables.TableError as error:
                    assert str(error).startswith("t.csv: ")
                else:
                    assert column.ndim == 1
    assert len(found) == 1


@settings(COMMON, max_examples=100)
@given(content=st.lists(st.one_of(fields, odd, words), max_size=12).map("\n".join), piece=PIECES)
def test_columns(content, piece):
    path = write("y.csv", content)
    for kind in ("labels", "numbers"):
        found = set()
        for reader in READERS:
            with reading(reader, piece):
                try:
                    column = tables.read_column(path, 5, kind=kind)
                    found.add(repr((column.dtype, column.tolist())))
                except tables.TableError as error:
                    found.add(str(error))
        assert len(found) == 1


def test_a_mark_of_byte_order_within_a_file_is_seen_wherever_a_piece_begins():
    path = write("t.csv", "\ufeffa,b,label\n1,2,x\n\ufeff3,4,y\n")  # as of two files, one behind the other
    for reader in READERS:
        for piece in (1, 7, 50):
            with reading(reader, piece):
                found = outcome(lambda: tables.read_table(path, "label"))
            assert found == "t.csv: line 3, column 'a': '\\ufeff3', expected a finite number"


def test_a_wide_table_is_none_for_pyarrow():
    for width, reader in ((fast.ARROW_WIDTH, "_arrow_reader"), (fast.ARROW_WIDTH + 1, "_numpy_reader")):
        layout = Layout(",", ["0"] * width, False, None, list(range(width)))
        assert fast.fast_reader(layout, [], fast.ARROW_SIZE).__qualname__.startswith(reader)
