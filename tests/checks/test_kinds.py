"""Labels of every kind and library: fit, score, partial_fit and validation= take them, or refuse them, alike."""

import datetime
import enum
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spiralnn import SoftmaxClassifier
from spiralnn.checks.kinds import label_array

X = np.random.default_rng(0).standard_normal((40, 2))
K = (X[:, 0] > 0).astype(int)
DAYS = [datetime.date(2020, 1, 1), datetime.date(2021, 6, 1)]
NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"  # which has strings of any length
TIMES = [datetime.datetime(2020, 1, 1), datetime.datetime(2021, 6, 1)]


class Letter(str, enum.Enum):
    A = "first"
    B = "second"


def of(first, second):
    return [(first, second)[k] for k in K]


def linear(**settings):
    return SoftmaxClassifier(max_iter=5, random_state=0, **settings)


# the same labels in each group, whoever holds them
SAME = {
    "numbers": [
        K, K.astype("f2"), K.astype(">i4"), K.astype("g"), K == 1, K.astype(object), pd.Series(K, dtype="Int64"),
        pd.Series(K == 1, dtype="boolean"), pd.Series(K, dtype="category"), pa.chunked_array([K[:9], K[9:]]),
        np.array([np.int64(k) for k in K], object), pd.DataFrame({"y": K}), of(Decimal(0), Decimal(1)),
        of(Fraction(0), Fraction(1)),
    ],
    "strings": [
        of("no", "yes"), np.array(of("no", "yes")), np.array(of("no", "yes"), object), pd.Categorical(of("no", "yes")),
        pd.Series(of("no", "yes"), dtype="string"), pa.array(of("no", "yes")).dictionary_encode(),
    ],
    "bytes": [np.array(of(b"no", b"yes")), np.array(of(b"no", b"yes"), object)],
    "dates": [
        np.array(of(*DAYS), "M8[D]"), np.array(of(*DAYS), "M8[ns]"), pd.Series(of(*TIMES)), of(*DAYS), of(*TIMES),
        pa.array(of(*DAYS)), pd.Series(of(*DAYS), dtype=pd.ArrowDtype(pa.date32())),
    ],
    "timedeltas": [
        np.array(of(1, 2), "m8[s]"), pd.Series(np.array(of(1, 2), "m8[s]")).astype("m8[ns]"),
        of(datetime.timedelta(seconds=1), datetime.timedelta(seconds=2)),
    ],
}  # fmt: skip
if NUMPY_2:
    SAME["strings"].append(np.array(of("no", "yes"), np.dtypes.StringDType()))


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("kind", SAME)
def test_labels_that_mean_the_same_are_the_same_everywhere(kind):
    right = linear().fit(X, K).score(X, K)
    for first, other in zip(SAME[kind], SAME[kind][1:] + SAME[kind][:1], strict=True):
        model = linear(solver="adam").fit(X, first, validation=(X, other))
        assert model.validation_scores_[-1] == model.score(X, first) == model.score(X, other) > 0.5
        model.partial_fit(X, other)
        assert linear().fit(X, first).score(X, other) == right


@pytest.mark.parametrize("kind", SAME)
def test_labels_of_other_kinds_are_refused_by_score(kind):
    model = linear().fit(X, SAME[kind][0])
    for other in SAME.keys() - {kind}:
        for labels in SAME[other]:
            if not isinstance(labels, pd.DataFrame):
                with pytest.raises(ValueError, match="y holds .*, but the model was fitted with"):
                    model.score(X, labels)


def at(place, value, labels):
    """The labels, another in one place."""
    labels = list(labels)
    labels[place] = value
    return labels


REFUSED = {
    "NaN in a list of strings": (at(5, np.nan, of("a", "b")), ValueError, r"y holds nan at \[5\]"),
    "a number in a list of strings": (at(5, 1, of("a", "b")), TypeError, "y holds labels that cannot be sorted"),
    "bytes among strings": (at(5, b"a", of("a", "b")), TypeError, "y holds labels that cannot be sorted"),
    "NaN in a nullable column": (pd.Series(at(5, None, K), dtype="Int64"), ValueError, r"y holds NaN at \[5\]"),
    "null of Arrow": (pa.array(at(5, None, of("a", "b"))), ValueError, r"y holds None at \[5\]"),
    "signalling NaN": (at(5, Decimal("sNaN"), of(Decimal(1), Decimal(2))), ValueError, r"y holds .*sNaN.* at \[5\]"),
    "infinity among objects": (np.array(at(5, np.inf, K), object), ValueError, r"y holds inf at \[5\]"),
    "fraction": (K + np.where(np.arange(40) == 5, 0.5, 0), ValueError, r"Unknown label type: continuous.*5 at \[5\]"),
    "fraction among objects": (np.array(at(5, 0.5, K), object), ValueError, r"continuous.*0.5 at \[5\]"),
    "True among numbers": (np.array(at(5, True, K.tolist()), object), TypeError, "y holds labels of different kinds"),
    "masked": (np.ma.masked_array(K, np.arange(40) == 5), ValueError, r"y holds masked values.*one at \[5\]"),
    "records": (np.array([(k,) for k in K.tolist()], [("y", "i4")]), TypeError, "y has dtype .* expected class labels"),
    "raw bytes": (K.astype("u1").view("V1"), TypeError, "y has dtype .V1, expected class labels"),
}
if NUMPY_2:
    missing = np.array(at(5, None, of("a", "b")), np.dtypes.StringDType(na_object=None))
    REFUSED["null of strings of any length"] = (missing, ValueError, r"y holds None at \[5\]")


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_label_is_refused_everywhere(case):
    y, error, message = REFUSED[case]
    model = linear(solver="adam").fit(X, K)
    for call in (
        lambda: linear().fit(X, y),
        lambda: model.score(X, y),
        lambda: model.partial_fit(X, y),
        lambda: linear().fit(X, K, validation=(X, y)),
    ):
        with pytest.raises(error, match=message):
            call()


def test_the_first_row_with_an_unknown_label_is_told():
    model = linear(solver="adam").fit(X, K)
    y = np.array(at(7, 9, K))
    message = r"y holds label 9, which is not among the classes \[0, 1\] \(the first such at \[7\]\)"
    for call in (lambda: model.partial_fit(X, y), lambda: linear().fit(X, K, validation=(X, y))):
        with pytest.raises(ValueError, match=message):
            call()
    assert model.score(X, y) == (model.predict(X) == y).mean()  # which no prediction can be


def test_lists_keep_what_arrays_of_strings_would_lose():
    assert label_array("y", ["a\0", "a"]).tolist() == ["a\0", "a"]
    assert label_array("y", [b"a\0", b"a"]).tolist() == [b"a\0", b"a"]
    members = label_array("y", [Letter.A, Letter.B])
    assert members.dtype.kind == "U" and members.tolist() == ["first", "second"]
    assert linear().fit(X, of("a\0", "a")).classes_.tolist() == ["a", "a\0"]


@pytest.mark.parametrize("unit", ["D", "us", "ns"])
def test_class_weights_of_dates(unit):
    y = np.array(of(*DAYS), f"M8[{unit}]")
    expected = linear(class_weight={0: 1.0, 1: 5.0}).fit(X, K).coefs_[0]
    for keys in (DAYS, TIMES, map(pd.Timestamp, DAYS), map(np.datetime64, DAYS), np.unique(y)):
        weights = dict(zip(keys, (1.0, 5.0), strict=True))
        np.testing.assert_array_equal(linear(class_weight=weights).fit(X, y).coefs_[0], expected)
    with pytest.raises(ValueError, match="are not in class_weight"):
        linear(class_weight={DAYS[0]: 1.0, datetime.date(1999, 1, 1): 5.0}).fit(X, y)
