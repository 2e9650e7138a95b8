"""Models of labels of every kind that can be kept: classes, dtypes and predictions come back."""

import datetime
import json
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
    "timedeltas": [datetime.timedelta(-1, 2, 3), datetime.timedelta.max],
    "decimals": [Decimal("1.10"), Decimal("1E+30")],
    "fractions": [Fraction(1, 3), Fraction(1, 2)],
    "NumPy's strings": [np.str_("a"), np.str_("")],
    "NumPy's integers": [np.int8(-1), np.int8(5)],
    "NumPy's dates": [np.datetime64(1, "ns"), np.datetime64(2, "ns")],
    "integers": [-(2**70), 2**70],
}


def fitted(labels):
    return SoftmaxClassifier(max_iter=5, random_state=0).fit(X, labels)


def same(found, expected):
    kinds = [list(map(type, array.tolist())) for array in (found, expected)]
    return found.dtype == expected.dtype and kinds[0] == kinds[1] and found.tolist() == expected.tolist()


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
    ):  # fmt: skip
        model = fitted(labels)
        model.save(tmp_path / "model.npz")
        assert same(load(tmp_path / "model.npz").classes_, model.classes_)


@pytest.mark.parametrize(
    "values",
    [{"a": 1}, [None], [[]], [{}], [{"bytes": "0g"}], [{"date": "x"}], [{"numpy": ["O", ""]}],
     [{"numpy": ["<i8", "00"]}], [{"Decimal": "x"}, 1], [{"who": "1"}], [{"timedelta": [1, 2, 3, 4, 5, 6, 7, 8]}],
     [{"date": "2020-01-01", "b": 1}]],
    ids=str,
)  # fmt: skip
def test_other_bytes_are_refused(values):
    content = np.frombuffer(json.dumps(values).encode(), np.uint8)
    with pytest.raises((ModelFileError, LookupError, ArithmeticError, AttributeError, TypeError, ValueError)):
        objects.unpacked(content)
