"""ONNX files: another runtime computes from them what the model itself predicts."""

import datetime
import errno
import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from spiralnn import SoftmaxClassifier, TwoLayerNet
from spiralnn.files import onnx_file, whole_file

# Probabilities from scores of order 10, which are summed in another order: eps times some hundred, and room.
TOLERANCES = {np.float32: 1e-5, np.float64: 1e-9}

WORDS = np.array(["no", "yes", "später", "", "a longer one"])
NOT_MOVED = {"solver": "gd", "max_iter": 1, "step_size": 0.0, "backend": "reference"}  # which compiles nothing


def random_rows(N, D, dtype=np.float64):
    return (3 * np.random.default_rng([N, D]).standard_normal((N, D))).astype(dtype)


def fitted(kind, D=5, H=6, K=3, dtype=np.float64, init=None, classes=None):
    """A model with the parameters in init, or random ones that give scores of order 10."""
    sizes = (D, H, K) if kind is TwoLayerNet else (D, K)
    if init is None:
        random = np.random.default_rng([2, *sizes])
        shapes = [shape for n, m in zip(sizes, sizes[1:], strict=False) for shape in ((n, m), (m,))]
        init = [random.standard_normal(shape) for shape in shapes]
    own = {"hidden_size": H} if kind is TwoLayerNet else {}
    classes = np.arange(K) if classes is None else classes
    model = kind(init=init, **NOT_MOVED, **own).fit(random_rows(K, D, dtype), classes)
    return model.set_params(backend="fused")


def choosing(kind, classes, dtype=np.float64):
    """A model of as many inputs as classes, whose scores they are, or what is positive of them."""
    K = len(classes)
    eye = [np.eye(K), np.zeros(K)]
    return fitted(kind, K, K, K, dtype, eye * 2 if kind is TwoLayerNet else eye, classes)


def constant(kind, scores, dtype=np.float64):
    """A model that gives all rows these scores."""
    K = len(scores)
    layer = [np.zeros((5, 6)), np.zeros(6)] if kind is TwoLayerNet else []
    init = [*layer, np.zeros((6 if layer else 5, K)), scores]
    return fitted(kind, K=K, dtype=dtype, init=init)


def run(path, rows):
    """label and probabilities, as ONNX Runtime computes them."""
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["X"]
    assert [result.name for result in session.get_outputs()] == ["label", "probabilities"]
    return session.run(["label", "probabilities"], {"X": rows})


both = pytest.mark.parametrize("kind", [SoftmaxClassifier, TwoLayerNet])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("D", "H", "K"), [(2, 100, 3), (40, 1, 2), (4, 1, 5), (5, 8, 2), (64, 17, 10), (5, 3, 300)])
@both
def test_another_runtime_predicts_the_same(kind, D, H, K, dtype, tmp_path):
    model = fitted(kind, D, H, K, dtype)
    model.to_onnx(tmp_path / "model.onnx")
    rows = random_rows(1000, D, dtype)
    labels, probabilities = run(tmp_path / "model.onnx", rows)
    expected = model.predict_proba(rows)
    assert labels.shape == (1000,) and labels.dtype == np.int64
    assert probabilities.shape == (1000, K) and probabilities.dtype == expected.dtype == dtype
    assert len(np.unique(labels)) > 1 and expected.std(axis=0).min() > 0
    np.testing.assert_array_equal(labels, model.predict(rows))
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=TOLERANCES[dtype])


def objects(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


LABELS = {
    "strings": (WORDS[:3], object),
    "strings as objects": (objects(*WORDS), object),
    "NumPy's strings as objects": (objects(*(np.str_(word) for word in WORDS)), object),
    "strings that NumPy would shorten": (objects("a", "a\0", ""), object),
    "any integers": (np.array([-(2**63), 7, 2**63 - 1]), np.int64),
    "small integers": (np.array([-3, 0, 5], np.int8), np.int64),
    "unsigned": (np.array([0, 3, 2**63 - 1], np.uint64), np.int64),
    "integers as objects": (objects(-1, 0, 2**62), np.int64),
    "bools": (np.array([False, True]), np.int64),
    "bools as objects": (objects(False, True), np.int64),
    "NumPy's bools as objects": (objects(np.False_, np.True_), np.int64),
    "short floats as objects": (objects(np.float16(-2), np.float16(0), np.float16(3)), np.int64),
    "floats": (np.array([-1.0, 0.0, 20.0], np.float32), np.int64),
    "long floats": (np.array([-1.0, 0.0, 20.0], np.longdouble), np.int64),
    "floats as objects": (objects(-1.0, 0.0, 2.0**62), np.int64),
}


@pytest.mark.parametrize("case", LABELS)
@both
def test_labels_are_the_classes(kind, case, tmp_path):
    classes, dtype = LABELS[case]
    model = choosing(kind, classes)
    model.to_onnx(tmp_path / "model.onnx")
    rows = random_rows(500, len(classes))
    labels, probabilities = run(tmp_path / "model.onnx", rows)
    assert labels.dtype == dtype
    assert labels.tolist() == model.predict(rows).tolist()
    assert set(labels.tolist()) == set(classes.tolist())
    np.testing.assert_allclose(probabilities, model.predict_proba(rows), rtol=0, atol=1e-9)


@both
def test_of_equal_scores_the_first_class_wins(kind, tmp_path):
    model = constant(kind, [-1.0, 2.0, 2.0])
    model.to_onnx(tmp_path / "model.onnx")
    rows = random_rows(9, 5)
    labels, probabilities = run(tmp_path / "model.onnx", rows)
    np.testing.assert_array_equal(probabilities[:, 1], probabilities[:, 2])
    assert labels.tolist() == model.predict(rows).tolist() == [1] * 9


@both
def test_scores_decide_where_probabilities_are_equal(kind, tmp_path):
    model = constant(kind, [1e-9, 2e-9, 0.0], np.float32)
    model.to_onnx(tmp_path / "model.onnx")
    rows = random_rows(9, 5, np.float32)
    labels, probabilities = run(tmp_path / "model.onnx", rows)
    assert (probabilities == probabilities[0, 0]).all()
    assert labels.tolist() == model.predict(rows).tolist() == [1] * 9


@both
def test_large_scores_do_not_overflow(kind, tmp_path):
    model = choosing(kind, np.arange(5), np.float32)
    model.to_onnx(tmp_path / "model.onnx")
    rows = 1000 * random_rows(200, 5, np.float32)
    labels, probabilities = run(tmp_path / "model.onnx", rows)
    np.testing.assert_array_equal(labels, model.predict(rows))
    np.testing.assert_allclose(probabilities, model.predict_proba(rows), rtol=0, atol=1e-5)


@both
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_what_a_file_says_of_itself(kind, dtype, tmp_path):
    fitted(kind, dtype=dtype).to_onnx(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (7, [("", 13)])
    assert (model.producer_name, model.graph.name) == ("spiralnn", kind.__name__)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"X": ["N", 5], "label": ["N"], "probabilities": ["N", 3]}
    # ONNX Runtime before 1.18 makes of the first two in float64 what it has in float32 alone
    layer = ["Gemm", "Relu" if dtype == np.float32 else "Max"] * (kind is TwoLayerNet)
    assert [node.op_type for node in model.graph.node] == [*layer, "Gemm", "ArgMax", "Gather", "Softmax"]


@both
def test_the_same_model_makes_the_same_bytes_and_is_left_as_it_was(kind, tmp_path):
    model = fitted(kind)
    before = [part.copy() for part in (*model.coefs_, *model.intercepts_)]
    model.to_onnx(tmp_path / "a.onnx")
    model.to_onnx(str(tmp_path / "b"))
    assert sorted(os.listdir(tmp_path)) == ["a.onnx", "b"]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b").read_bytes()
    for part, kept in zip((*model.coefs_, *model.intercepts_), before, strict=True):
        np.testing.assert_array_equal(part, kept)


# --------------------------------------------------------------------------------------------------- errors


def refused(model, folder, error, match):
    """One clear error, and a file that was there stays."""
    path = folder / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(error, match=match):
        model.to_onnx(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(folder) == ["model.onnx"]


DATES = [datetime.date(2000, 1, day) for day in (1, 2, 3)]


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        (np.array([b"no", b"yes", b"both"]), "classes holds a bytes object"),
        (np.array(DATES, "datetime64[D]"), "classes holds a datetime64 object"),
        (np.array(DATES, "datetime64[ns]"), "classes holds a datetime64 object"),
        (np.array([1, 2, 3], "timedelta64[ns]"), "classes holds a timedelta64 object"),
        (objects(*DATES), "classes holds a date object"),
        (objects(*np.array([1, 2, 3], "timedelta64[ns]")), "classes holds a timedelta64 object"),
        (objects((0,), (1,), (2,)), "classes holds a tuple object"),
        (objects(0.5, 1.0, 2.0), "classes holds 0.5: "),
        (objects(0.0, 1.0, float("inf")), "classes holds inf: "),
        (objects(0, 1, 10**400), "classes holds 1000"),
        (objects(-(10**30), 0, 1), "classes holds -1000"),
        (objects(0.0, 1.0, 2.0**63), "classes holds 9.22"),
        (np.array([0, 1, 2**63], np.uint64), "classes holds 9223372036854775808: "),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{value.dtype}-{value[-1]!r:.20}",
)
def test_classes_that_would_come_back_as_something_else_are_refused(classes, match, tmp_path):
    model = fitted(SoftmaxClassifier)
    model.classes_ = classes
    refused(model, tmp_path, TypeError, f"{match}.*an ONNX file keeps")


def test_classes_that_a_fit_takes_are_refused(tmp_path):
    refused(fitted(SoftmaxClassifier, classes=[b"a", b"b", b"c"]), tmp_path, TypeError, "an ONNX file keeps str")


def test_a_model_that_is_not_fitted_is_refused(tmp_path):
    refused(TwoLayerNet(), tmp_path, ValueError, "This TwoLayerNet instance is not fitted yet")


def test_parameters_beyond_protobuf_are_refused(tmp_path, monkeypatch):
    model = fitted(SoftmaxClassifier)
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 8 * (3 + 5 * 3 + 3))
    model.to_onnx(tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 8 * (3 + 5 * 3 + 3) - 1)
    refused(model, tmp_path, ValueError, "the parameters take 168 bytes, an ONNX file keeps at most 167")


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnx"]:
        monkeypatch.setitem(sys.modules, name, None)
    match = r"to_onnx needs onnx: pip install 'spiralnn\[onnx\]'"
    refused(fitted(SoftmaxClassifier), tmp_path, ImportError, match)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_file.os, "fsync", full)
    refused(fitted(SoftmaxClassifier), tmp_path, OSError, "No space left")
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        fitted(SoftmaxClassifier).to_onnx(tmp_path / "nowhere" / "model.onnx")
