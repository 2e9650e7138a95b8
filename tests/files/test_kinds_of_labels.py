"""Models of labels of every kind that can be kept: classes, dtypes and predictions come back."""

import datetime
import json
import sys
import uuid
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from spiralnn import ModelFileError, SoftmaxClassifier, load
from spiralnn.files import objects

X = np.random.default_rng(0).standard_normal((30, 2))
K = (X[:, 0] > 0).astype(int)
ZONE = datetime.timezone(datetime.timedelta(hours=2))
OBJECTS = {
    "bytes": [b"a\0", b"a"],
    "dates": [datetime.date(1, 1, 1), datetime.date(2020, 2, 29)],
    "times": [datetime.datetime(2020, 1, 1, 1, 2, 3, 4), datetime.datetime.max],
    "times with a zone": [datetime.datetime(2020, 1, 1, tzinfo=ZONE), datetime.datetime(2021, 1, 1, tzinfo=ZONE)],
    "times of day": [datetime.time(0), datetime.time(23, 59, 59, 999999)],
    "times of day with a zone": [datetime.time(1, tzinfo=ZONE), datetime.time(2, tzinfo=ZONE)],
    "timedeltas": [datetime.timedelta(-1, 2, 3), datetime.timedelta.max],
    "decimals": [Decimal("1.10"), Decimal("1E+30")],
    "fractions": [Fraction(1, 3), Fraction(1, 2)],
    "NumPy's strings": [np.str_("a"), np.str_("")],
    "NumPy's integers": [np.int8(-1), np.int8(5)],
    "NumPy's dates": [np.datetime64(1, "ns"), np.datetime64(2, "ns")],
    "integers": [-(2**70), 2**70],
    "identifiers": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
    "tuples": [("a", (1, b"")), ("a", (2, b""))],
    "Timestamps": [pd.Timestamp(1), pd.Timestamp("2262-01-01 00:00:00.000000001")],
    "Timestamps of seconds": [pd.Timestamp("0001-01-01").as_unit("s"), pd.Timestamp("9999-01-01").as_unit("s")],
    "Timestamps with a zone": [pd.Timestamp(stamp, tz="Europe/Paris") for stamp in ("2020-01-01", "2020-07-01")],
    "Timestamps in the hour that comes twice": [
        pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert("Europe/Paris"),
        pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert("Europe/Paris"),
    ],
    "Timestamps with an offset": [pd.Timestamp("2020-01-01", tz=ZONE), pd.Timestamp("2020-01-02", tz=ZONE)],
    "Timedeltas": [pd.Timedelta(-1, "ns"), pd.Timedelta(5, "h").as_unit("ms")],
    "quarters": list(pd.period_range("2020Q1", periods=2, freq="Q-NOV")),
    "hours": list(pd.period_range("2020-01-01", periods=2, freq="h")),
    "intervals": [pd.Interval(-np.inf, 0.1, "left"), pd.Interval(0.1, 7, "left")],
    "intervals of integers": [pd.Interval(0, 1, "both"), pd.Interval(2, 3, "both")],
    "intervals of days": list(pd.interval_range(pd.Timestamp("2020-01-01", tz="UTC"), periods=2)),
}


def fitted(labels):
    return SoftmaxClassifier(max_iter=5, random_state=0).fit(X, labels)


def same(found, expected):
    kinds = [list(map(type, array.tolist())) for array in (found, expected)]
    as_told = [list(map(repr, array.tolist())) for array in (found, expected)]  # zones and units, too
    return found.dtype == expected.dtype and kinds[0] == kinds[1] and as_told[0] == as_told[1]


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_come_back(kind, tmp_path):
    labels = np.empty(2, object)
    labels[:] = OBJECTS[kind]
    model = fitted(labels[K])
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert same(loaded.classes_, model.classes_) and same(loaded.predict(X), model.predict(X))
    assert loaded.score(X, labels[K]) == model.score(X, labels[K])


@pytest.mark.parametrize("dtype", ["?", "u1", ">i4", "u8", "f2", "f4", "g", "U3", "S3", "M8[D]", "M8[ns]", "m8[s]"])
def test_dtypes_come_back(dtype, tmp_path):
    model = fitted(K.astype(dtype))
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert same(loaded.classes_, model.classes_) and same(loaded.predict(X), model.predict(X))


def test_labels_of_tables_come_back(tmp_path):
    for labels in (
        pd.Series(K, dtype="Int64"), pd.Series(K == 1, dtype="boolean"), pd.Series(K.astype(str), dtype="string"),
        pd.Series(K.astype(str), dtype="category"), pd.Series(K).astype("M8[ns]"),
        pd.Series(K).astype("M8[ns, Europe/Paris]"), pd.Series(pd.cut(X[:, 0], 3)), pd.Series(pd.qcut(X[:, 0], 2)),
        pd.Series(pd.PeriodIndex.from_ordinals(K, freq="M")), pd.Series(K).astype("timestamp[us, UTC][pyarrow]"),
    ):  # fmt: skip
        model = fitted(labels)
        model.save(tmp_path / "model.npz")
        assert same(load(tmp_path / "model.npz").classes_, model.classes_)


@pytest.mark.parametrize(
    "values",
    [{"a": 1}, [None], [[]], [{}], [{"bytes": "0g"}], [{"date": "x"}], [{"numpy": ["O", ""]}],
     [{"numpy": ["<i8", "00"]}], [{"Decimal": "x"}, 1], [{"who": "1"}], [{"timedelta": [1, 2, 3, 4, 5, 6, 7, 8]}],
     [{"date": "2020-01-01", "b": 1}], [{"tuple": [None]}], [{"UUID": "0"}], [{"Timestamp": ["x", "ns", None]}],
     [{"Timestamp": ["2020-01-01", "s", "Europe/../x"]}], [{"Timestamp": ["2020-01-01T00:00Z", "s", "Nowhere"]}],
     [{"Timedelta": [1, "x"]}], [{"Period": [1, "x"]}], [{"Interval": [2, 1, "both"]}]],
    ids=str,
)  # fmt: skip
def test_other_bytes_are_refused(values):
    content = np.frombuffer(json.dumps(values).encode(), np.uint8)
    with pytest.raises((ModelFileError, LookupError, ArithmeticError, AttributeError, TypeError, ValueError)):
        objects.unpacked(content)


def test_objects_of_pandas_need_pandas(tmp_path, monkeypatch):
    fitted(pd.Series(pd.qcut(X[:, 0], 2))).save(tmp_path / "model.npz")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModelFileError, match=r"model.npz: .* objects of pandas, which cannot be had"):
        load(tmp_path / "model.npz")


class Own(str):
    """A type that is nobody else's."""


def test_what_cannot_be_kept_is_named(tmp_path):
    labels = np.empty(2, object)
    labels[:] = [Own("a"), Own("b")]
    with pytest.raises(TypeError, match="classes holds a Own object: .* file keeps str, .*, Interval"):
        fitted(labels[K]).save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())
