"""Columns of Parquet of seldom types, and folders in folders: as when read into memory, or one clear error."""

import datetime
import decimal

import numpy as np
import pytest

from spiralnn import SoftmaxClassifier, open_rows
from spiralnn.rows.source import RowError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

A, Y = np.arange(8) / 2, np.arange(8) % 2
MONEY = [decimal.Decimal(f"{k}.25") for k in range(8)]


@pytest.fixture(params=[False, True], ids=["decoded each time", "decoded once"])
def opened(request, tmp_path):
    def open_table(columns, y="y"):
        pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=3)
        return open_rows(tmp_path / "t.parquet", y, cache=tmp_path / "cache" if request.param else None)

    return open_table


def features(rows):
    return np.concatenate([block.copy() for _, block in rows.blocks(5)])


def labels(rows):
    return rows.labels(0, rows.N, rows.buffers(rows.N)).tolist()


def test_a_missing_decimal_is_told_with_its_row(opened):
    with pytest.raises(RowError, match="column 'm' has no value in row 4 of '.*t.parquet'"):
        features(opened({"a": A, "m": [*MONEY[:4], None, *MONEY[5:]], "y": Y}))
    assert features(opened({"a": A, "m": MONEY, "y": Y}))[:, 1].tolist() == [k + 0.25 for k in range(8)]


def test_labels_of_seldom_types(opened):
    assert labels(opened({"a": A, "y": [decimal.Decimal(int(y)) for y in Y]})) == Y.tolist()
    words = [("no", "yes")[y] for y in Y]
    for kind in filter(None, (pa.large_string(), getattr(pa, "string_view", lambda: None)())):
        assert labels(opened({"a": A, "y": pa.array(words, kind)})) == words
    with pytest.raises(ValueError, match="column 'y' of '.*t.parquet' holds labels that end in a NUL"):
        opened({"a": A, "y": ["a\0", "a"] * 4})


def test_a_part_without_rows_may_have_any_types(tmp_path):
    pq.write_table(pa.table({"a": pa.nulls(0), "y": pa.nulls(0)}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": A, "y": Y}), tmp_path / "1.parquet")
    rows = open_rows(tmp_path, "y")
    assert features(rows)[:, 0].tolist() == A.tolist() and labels(rows) == Y.tolist()


def test_a_folder_in_a_folder_is_refused(tmp_path):
    pq.write_table(pa.table({"a": A, "y": Y}), tmp_path / "1.parquet")
    (tmp_path / "g=1").mkdir()
    with pytest.raises(ValueError, match="holds the folder 'g=1', expected part files alone"):
        open_rows(tmp_path, "y")
    (tmp_path / "g=1").rename(tmp_path / "_marks")
    assert open_rows(tmp_path, "y").N == 8


def test_tables_in_memory_are_taken_column_by_column():
    table = pa.table({"a": A, "n": Y, "flag": Y > 0})
    assert features(open_rows(table, Y)).tolist() == np.c_[A, Y, Y > 0].tolist()
    with pytest.raises(TypeError, match="in column 't', expected real numbers"):
        open_rows(table.append_column("t", pa.array([datetime.date(2020, 1, 1)] * 8)), Y)


def test_score_of_rows_refuses_labels_of_another_kind():
    model = SoftmaxClassifier(max_iter=3).fit(A[:, None], Y)
    assert model.score(open_rows(A[:, None], Y == 1)) == model.score(A[:, None], Y)
    with pytest.raises(ValueError, match="y holds labels of type str .*, but the model was fitted with numbers"):
        model.score(open_rows(A[:, None], Y.astype(str)))
