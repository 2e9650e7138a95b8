"""Parquet in folders: parts of other columns or types are refused or read as they are, never half."""

import argparse

import numpy as np
import pytest

from spiralnn import tables

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

A, Y = np.arange(8) / 2, np.arange(8) % 2


def folder_of(parts):
    """A folder of these files, by their names in it."""
    for name, columns in parts.items():
        path = tables.table_path("t.parquet") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    return tables.table_path("t.parquet")


def refusal(parts, target="y"):
    with pytest.raises(tables.TableError) as caught:
        tables.read_table(folder_of(parts), target)
    with pytest.raises(tables.TableError):
        list(tables.blocks(folder_of(parts), 3, ignore=[] if target is None else [target]))
    return str(caught.value)


def test_columns_are_found_by_their_names(folder):
    path = folder_of({"1.parquet": {"a": A, "b": -A, "y": Y}, "2.parquet": {"y": Y, "b": -A, "a": A}})
    X, y = tables.read_table(path, "y")
    assert X.columns == ["a", "b"] and X.matrix.tolist() == np.tile(np.c_[A, -A], (2, 1)).tolist()
    assert y.tolist() == [*Y, *Y]
    assert tables.shape_of(path) == (16, 3) and tables.named_columns(path, "y", ["a"]) == ("y", ["b"])


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")], ids=["first", "last"])
def test_a_column_that_is_in_some_parts_only_is_told(order, folder):
    short, wide = (f"{name}.parquet" for name in order)
    message = refusal({short: {"a": A, "y": Y}, wide: {"a": A, "b": A, "y": Y}})
    assert message == f"t.parquet: {short}: has no column 'b', but {wide} has"


def test_every_part_is_read_in_its_own_types(folder):
    third, large = np.full(8, 1 / 3), np.full(8, 2**40)
    X, y = tables.read_table(
        folder_of({
            "1.parquet": {"a": A.astype("f4"), "b": np.arange(8, dtype="i4"), "y": Y.astype("i1")},
            "2.parquet": {"a": third, "b": large, "y": Y},
            "3.parquet": {"a": Y, "b": third, "y": Y},
        }),
        "y",
    )  # fmt: skip
    expected = [*zip(A, range(8), strict=True), *zip(third, large, strict=True), *zip(Y, third, strict=True)]
    assert X.matrix.tolist() == [list(row) for row in expected] and y.tolist() == [*Y] * 3


def test_a_part_without_rows_may_have_any_types(folder):
    nothing = {name: pa.nulls(0) for name in "ay"}
    X, y = tables.read_table(folder_of({"1.parquet": nothing, "2.parquet": {"a": A, "y": Y}}), "y")
    assert X.matrix[:, 0].tolist() == A.tolist() and y.tolist() == Y.tolist()


@pytest.mark.parametrize("other", [Y.astype(float), Y.astype(str), Y == 1, Y + np.uint64(2**63)])
def test_labels_of_several_kinds_are_told(other, folder):
    message = refusal_of_labels({"1.parquet": {"a": A, "y": Y}, "2.parquet": {"a": A, "y": other}})
    assert message.startswith("t.parquet: column 'y' holds labels of different kinds in its parts")


def refusal_of_labels(parts):
    with pytest.raises(tables.TableError) as caught:
        tables.read_table(folder_of(parts), "y")
    return str(caught.value)


def test_what_is_wrong_is_told_with_its_part(folder):
    good = {"a": A, "y": Y}
    for bad, message in [
        ({"a": ["x"] * 8, "y": Y}, "column 'a' holds string, expected numbers"),
        ({"a": [None, *A[1:]], "y": Y}, "row 0, column 'a': a missing value"),
        ({"a": [*A[1:], np.inf], "y": Y}, "X holds infinity at [7, 0], expected finite numbers"),
    ]:
        assert refusal({"1.parquet": good, "2.parquet": bad}) == f"t.parquet: 2.parquet: {message}"
    assert refusal_of_labels({"1.parquet": good, "2.parquet": {"a": A[:2], "y": ["a\0", "a"]}}) == (
        "t.parquet: 2.parquet: row 0, column 'y': 'a\\x00', a label that ends in a NUL"
    )
    (folder / "t.parquet" / "2.parquet").write_bytes(b"")
    with pytest.raises(tables.TableError, match=r"^t.parquet: 2.parquet: "):
        tables.read_table(tables.table_path("t.parquet"), "y")


def test_folders_called_after_a_column(folder):
    names = ["g=0.5/y=01/a.parquet", "g=1/y=1/a.parquet", "g=2/y=a%20b/a.parquet"]
    path = folder_of({name: {"a": A} for name in names})
    (folder / "t.parquet" / "_SUCCESS").touch()
    (folder / "t.parquet" / "notes.txt").write_text("no part")
    X, y = tables.read_table(path, "y")
    assert X.columns == ["a", "g"] and X.matrix[:, 1].tolist() == [0.5] * 8 + [1.0] * 8 + [2.0] * 8
    assert y.tolist() == ["01"] * 8 + ["1"] * 8 + ["a b"] * 8  # as in text: never respelled, never merged
    y = tables.read_table(path, "g", ignore=["y"])[1]
    assert sorted(set(y)) == ["0.5", "1", "2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["g=1/a.parquet", "g=x/a.parquet"], "g=x/a.parquet: column 'g' is 'x', expected numbers"),
        (
            ["g=1/a.parquet", "g=__HIVE_DEFAULT_PARTITION__/a.parquet"],
            "g=__HIVE_DEFAULT_PARTITION__/a.parquet: column 'g' is '__HIVE_DEFAULT_PARTITION__', a missing value; "
            "expected numbers",
        ),
        (["g=1/a.parquet", "h.parquet"], "h.parquet: has no column 'g', but g=1/a.parquet has"),
        (["y=1/a.parquet"], "y=1/a.parquet: holds a column 'y', which its folder is called after, too"),
    ],
)
def test_folders_that_do_not_go_together(names, message, folder):
    assert refusal({name: {"a": A, "y": Y} for name in names}) == f"t.parquet: {message}"


def test_a_missing_label_that_a_folder_is_called_after(folder):
    names = ["y=1/a.parquet", "y=__HIVE_DEFAULT_PARTITION__/a.parquet"]
    message = refusal_of_labels({name: {"a": A} for name in names})
    assert message.endswith("column 'y' is '__HIVE_DEFAULT_PARTITION__', a missing label")


def test_files_without_an_ending_are_parts_where_there_are_no_others(folder):
    path = folder_of({"part-0": {"a": A, "y": Y}, "part-1": {"a": A, "y": Y}})
    assert len(tables.read_table(path, "y")[0]) == 16


def test_a_folder_of_any_name_is_parquet(folder):
    folder_of({"1.parquet": {"a": A, "y": Y}}).rename("rows")
    path = tables.table_path("rows")
    assert len(tables.read_table(path, "y")[0]) == 8 and tables.can_stay(path)
    with pytest.raises(argparse.ArgumentTypeError, match="expected a file ending in"):
        tables.table_path("nowhere")
