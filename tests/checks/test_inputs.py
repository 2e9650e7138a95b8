"""What comes in: every dtype in every form, numbers that are none, labels of all kinds, scales from end to end.

Either the result is that of an ordinary copy of the same values, to the last bit, or there is one clear error and
nothing has changed.
"""

import re

import mpmath
import numpy as np
import pandas as pd
import pytest
from classifiers import descents, over
from problems import JIT, TOLERANCES, problem

from spiralnn import loss_and_gradients
from spiralnn.engine import fused, passes, statistics
from spiralnn.engine.plan import plan
from spiralnn.kernels import reference
from spiralnn.kernels.models import Model
from spiralnn.solvers import quasi_newton, stochastic

pytestmark = pytest.mark.skipif(not JIT, reason="thousands of calls")

N, D, K, H = 41, 5, 3, 4


linear, network = descents(max_iter=3, init_scale=0.5, hidden_size=H)
both = over(linear, network)
default = [make.by("auto", init_scale=None) for make in (linear, network)]
by_default_too = over(linear, network, *default)


def in_order(model):
    """Parameters as loss_and_gradients takes them."""
    return [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]


def everything(model, X, y, weights):
    """All that X, y and weights go into, as a list of arrays."""
    fitted = model.fit(X, y, sample_weight=weights)
    results = [*in_order(fitted), np.array(fitted.loss_curve_), fitted.score(X, y), *of_rows(fitted, X)]
    for w in (None, weights):
        loss, gradients = loss_and_gradients(X, y, in_order(fitted), reg=0.1, sample_weight=w)
        results += [loss, *gradients]
    assert fitted.classes_.dtype == np.asarray(y).dtype
    return [np.asarray(a) for a in results]


def of_rows(fitted, X):
    methods = fitted.decision_function, fitted.predict_proba, fitted.predict_log_proba, fitted.predict
    return [method(X) if method != fitted.predict else method(X).astype(int) for method in methods]


def assert_same_bits(results, expected):
    assert len(results) == len(expected)
    for a, b in zip(results, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()


# ------------------------------------------------------------------------------------------------- dtypes and forms

OFTEN = ["f8", "f4", "f2", "i1", "i8", "u8", "?", "g", ">f4", "O"]
DTYPES = [*OFTEN, *(pytest.param(dtype, marks=pytest.mark.long) for dtype in ("i2", "i4", "u1", "u2", ">f8", ">i4"))]


def strided(a, folder):
    memory = np.zeros([2 * n for n in a.shape], a.dtype)
    part = memory[(slice(1, None, 2),) * a.ndim]
    part[...] = a
    return part


def backwards(a, folder):
    last_to_first = (slice(None, None, -1),) * a.ndim
    return a[last_to_first].copy()[last_to_first]


def read_only(a, folder):
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def unaligned(a, folder):
    if a.dtype.kind == "O":
        return a.copy()  # NumPy does not have references at odd addresses
    memory = np.zeros(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def memory_map(a, folder):
    if a.dtype.kind == "O":
        return read_only(a, folder)  # nor references in files
    np.save(folder / "a.npy", a)
    return np.load(folder / "a.npy", mmap_mode="r")


def frame(a, folder):
    return pd.DataFrame(a) if a.ndim == 2 else pd.Series(a)


FORMS = {
    "C": lambda a, folder: np.array(a, order="C"),
    "F": lambda a, folder: np.array(a, order="F"),
    "strided": strided,
    "reversed": backwards,
    "read-only": read_only,
    "unaligned": unaligned,
    "read-only memmap": memory_map,
    "list": lambda a, folder: a.tolist(),
    "DataFrame": frame,
    "masked": lambda a, folder: np.ma.masked_array(a.copy()),
}


def contents(value):
    """All that a caller could see change: the bytes of the memory behind an array, its marks, the items of a list."""
    if isinstance(value, list):
        return repr(value)
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.to_numpy().tobytes(), str(value.dtypes), str(value.index)
    whole = value
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    return whole.tobytes(), str(value.flags), value.dtype, value.strides


def values(dtype):
    """X, labels and weights that this dtype holds exactly."""
    random = np.random.default_rng(1)
    if dtype in ("f8", "f4", "f2", "g", ">f8", ">f4", "O"):
        X = (random.integers(-60, 60, (N, D)) / 16).astype(dtype)
    else:
        X = random.integers(0, 2 if dtype == "?" else 9, (N, D)).astype(dtype)
    y = random.permutation(np.arange(N) % K)
    return X, y, (random.integers(0, 9, N) / 4)


def canonical(X):
    return np.array(X, np.float32 if X.dtype.newbyteorder("=") == np.float32 else np.float64, order="C")


def flat(kinds):
    """Types, with those of a tuple one by one."""
    for kind in kinds:
        yield from flat(kind) if hasattr(kind, "types") else [kind]


def signatures():
    """How often each kernel was compiled, by its name and the dtype of its arrays: X or scores come first."""
    kernels = {" ".join(names): kernel for names, kernel in passes._loops.items()}
    for module in (fused, statistics, quasi_newton, stochastic):
        kernels |= {name: k for name, k in vars(module).items() if hasattr(k, "signatures")}
    for model in (Model(2, 0, 3), Model(2, H, 3), Model(D, 0, K), Model(D, H, K)):
        kernels |= {f"{model.kernels().name} {k.__name__}": k for k in model.kernels() if hasattr(k, "signatures")}
    counts = {}
    for name, kernel in kernels.items():
        for signature in kernel.signatures:
            arrays = [a for a in flat(signature) if getattr(a, "ndim", 0) == 2 and str(a.dtype).startswith("float")]
            key = name, str(arrays[0].dtype) if arrays else ""
            counts[key] = counts.get(key, 0) + 1
    return counts


@by_default_too
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_in_every_form_gives_the_bits_of_a_copy(make, dtype, tmp_path):
    X, y, weights = values(dtype)
    labels = dict(zip(FORMS, ["i8", "u1", "i4", "i8", "u4", ">i8", "i2", "i8", "u8", "i1"], strict=True))
    expected = everything(make(), canonical(X), y, weights.astype(canonical(X).dtype))
    in_double = everything(make(), canonical(X).astype(np.float64), y, weights)
    for form, given in FORMS.items():
        arguments = []
        for name, a in (("X", X), ("y", y.astype(labels[form])), ("weights", weights)):
            (tmp_path / form / name).mkdir(parents=True)
            arguments.append(given(a, tmp_path / form / name))
        before = [contents(a) for a in arguments]
        results = everything(make(), *arguments)
        assert [contents(a) for a in arguments] == before, form
        # the items of a list are Python's floats
        assert_same_bits(results, in_double if form == "list" else expected)
    assert max(signatures().values()) <= 2, signatures()


@by_default_too
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_one_row_and_no_columns(make, dtype):
    X, y, _ = values(dtype)
    model = make().fit(canonical(X), y)
    rows = of_rows(model, canonical(X))
    assert_same_bits(of_rows(model, X[:1]), [a[:1] for a in rows])
    loss, _ = loss_and_gradients(X[:1], y[:1], in_order(model))
    assert loss == pytest.approx(-rows[2][0, y[0]], rel=10 * TOLERANCES[rows[2].dtype.type])
    refused = [(X[:0], y[:0], "0 sample"), (X[:, :0], y, "0 feature"), (np.ma.masked_array(X, X == X), y, "masked")]
    for features, labels, message in refused:
        for call in (
            lambda features=features, labels=labels: make().fit(features, labels),
            lambda features=features, labels=labels: loss_and_gradients(features, labels, in_order(model)),
            *(lambda f=f, features=features: f(features) for f in (model.predict, model.predict_proba)),
        ):
            with pytest.raises(ValueError, match=message):
                call()
    with pytest.raises(ValueError, match="y holds 1 class"):
        make().fit(X[:1], y[:1])


@both
def test_fitted_parameters_in_any_form_predict_the_same_bits(make, tmp_path):
    X, y, _ = values("f8")
    model = make().fit(X, y)
    expected, params = of_rows(model, X), in_order(model)
    for form in ("F", "strided", "reversed", "read-only", "unaligned", "read-only memmap"):
        folders = [tmp_path / f"{form} {i}" for i in range(len(params))]
        for folder in folders:
            folder.mkdir()
        forms = [FORMS[form](a, folder) for a, folder in zip(params, folders, strict=True)]
        model.coefs_, model.intercepts_ = forms[0::2], forms[1::2]
        assert_same_bits(of_rows(model, X), expected)
    assert max(signatures().values()) <= 2, signatures()


# ---------------------------------------------------------------------------------------- numbers that are none


def edges(rows, cut):
    """First, middle and last row, and those around the edges of tiles and leaves."""
    places = {0, rows // 2, rows - 1}
    for edge in (cut.tile_rows, cut.leaf_rows, cut.leaf_rows + cut.tile_rows):
        places |= {edge - 1, edge, edge + 1}
    return sorted(i for i in places if i < rows)


def assert_refused(model, message, call):
    """ValueError, and the model is what it was: the same arrays with the same bytes."""
    before = {name: (value, contents_of(value)) for name, value in vars(model).items()}
    with pytest.raises(ValueError, match=message):
        call()
    assert vars(model).keys() == before.keys()
    for name, (value, bytes_before) in before.items():
        assert vars(model)[name] is value and contents_of(value) == bytes_before


def contents_of(value):
    return [a.tobytes() for a in value] if isinstance(value, list) and isinstance(value[0], np.ndarray) else repr(value)


@by_default_too
@pytest.mark.parametrize("columns", [2, D])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_value_that_is_no_number_is_refused_wherever_it_stands(make, columns, dtype):
    rows = 2600
    p = problem(rows, columns, 0, K, dtype)
    model = make().fit(p.X, p.y)
    cut = plan(rows, Model(columns, H if make.is_network else 0, K), np.dtype(dtype).itemsize)
    assert cut.n_leaves > 2 and cut.tile_rows < rows
    params = in_order(model)
    for i, row in enumerate(edges(rows, cut)):
        for value, word in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
            X, weights, column = p.X.copy(), np.ones(rows), i % columns
            X[row, column] = weights[row] = value
            message = rf"X holds {word} at \[{row}, {column}\], expected finite numbers"
            for call in (model.predict, model.predict_proba, lambda X: model.fit(X, p.y)):
                assert_refused(model, message, lambda call=call, X=X: call(X))
            assert_refused(model, message, lambda X=X: loss_and_gradients(X, p.y, params))
            message = rf"sample_weight holds {word} at \[{row}\], expected finite numbers"
            assert_refused(model, message, lambda w=weights: model.fit(p.X, p.y, sample_weight=w))
            assert_refused(model, message, lambda w=weights: loss_and_gradients(p.X, p.y, params, sample_weight=w))


@by_default_too
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_starting_parameters_that_are_no_numbers_are_refused(make, value):
    p = problem(N, D, 0, K)
    model = make().fit(p.X, p.y)
    for i, name in enumerate(["W", "b", "W2", "b2"][: len(in_order(model))]):
        for place in (0, -1):
            params = [a.copy() for a in in_order(model)]
            params[i].flat[place] = value
            message = f"{name} holds {'NaN' if np.isnan(value) else 'infinity'} at "
            refused = model.set_params(init=params)
            assert_refused(refused, f"init: {message}", lambda model=refused: model.fit(p.X, p.y))
            assert_refused(model, f"params: {message}", lambda params=params: loss_and_gradients(p.X, p.y, params))
            masked = [np.ma.masked_array(a, ~np.isfinite(a)) for a in params]
            refused = model.set_params(init=masked)
            assert_refused(refused, f"init: {name} holds masked values", lambda model=refused: model.fit(p.X, p.y))


def test_numbers_beyond_the_dtype_are_refused():
    y = [0, 1]
    with pytest.raises(ValueError, match=r"X holds infinity at \[1, 0\]"):
        linear().fit(np.array([[1], ["1e400"]], "g"), y)
    with pytest.raises(ValueError, match="X holds a number beyond float64"):
        linear().fit([[1], [10**400]], y)
    with pytest.raises(ValueError, match="sample_weight holds a number beyond float64"):
        linear().fit([[1], [2]], y, sample_weight=[1, 10**400])
    with pytest.raises(ValueError, match=r"init: W holds infinity at \[0, 0\]"):
        linear(init=([[1e39, 0]], [0, 0])).fit(np.ones((2, 1), np.float32), y)


# ---------------------------------------------------------------------------------------------------------- labels

MASKED = np.ma.masked_array([0, 1, 2] * 3, [0] * 8 + [1])
LABELS_REFUSED = {
    "fractions": ([0.5, 1, 2] * 3, ValueError, "y holds fractions"),
    "NaN": ([0, 1, np.nan] * 3, ValueError, r"y holds NaN at \[2\]"),
    "infinity": ([0, 1, np.inf] * 3, ValueError, r"y holds infinity at \[2\]"),
    "NaN among objects": (np.array([0, 1, np.nan] * 3, object), ValueError, r"y holds nan at \[2\]"),
    "None": ([None, 1, 2] * 3, ValueError, r"y holds None at \[0\]"),
    "None among names": (["a", None, "b"] * 3, ValueError, r"y holds None at \[1\]"),
    "NaT": (np.array(["2020-01-01", "NaT", "2021-01-01"] * 3, "M8[D]"), ValueError, r"y holds NaT at \[1\]"),
    "pandas.NaT": (pd.Series([pd.Timestamp(0), pd.NaT] * 4 + [pd.NaT], dtype=object), ValueError, r"NaT at \[1\]"),
    "pandas.NA": (pd.Series(["a", "b", pd.NA] * 3, dtype="string"), ValueError, r"y holds <NA> at \[2\]"),
    "masked": (MASKED, ValueError, "y holds masked values; expected an array without missing values"),
    "masked names": (np.ma.masked_array(["a", "b", "c"] * 3, [1] + [0] * 8), ValueError, "y holds masked values"),
    "mixed": (["a", 1, 2] * 2 + [object()] * 3, TypeError, "y holds labels that cannot be sorted"),
    "numbers and names": (np.array(["a", 1, 2] * 3, object), TypeError, "y holds labels that cannot be sorted"),
    "arrays": (np.array([np.ones(2), np.ones(3), None] * 3, object)[:9], ValueError, "y holds None"),
    "ragged": ([[0], [0, 1]] + [[0]] * 7, ValueError, "y is ragged"),
    "merged by floats": ([2**63, 0, -1] * 3, ValueError, "from 2[*][*]53 on as floats"),
    "complex": ([0j, 1, 2] * 3, ValueError, "Complex data not supported"),
    "one class": ([7] * 9, ValueError, r"y holds 1 class \(7\)"),
    "too few": ([0, 1, 2], ValueError, "y has 3 labels, but X has 9 rows"),
}


@by_default_too
@pytest.mark.parametrize("case", LABELS_REFUSED)
def test_labels_that_name_no_class_are_refused(make, case):
    y, error, message = LABELS_REFUSED[case]
    X = values("f8")[0][:9]
    model = make().fit(X, np.arange(9) % 3)
    params, state = in_order(model), dict(vars(model))
    with pytest.raises(error, match=message):
        model.fit(X, y)
    assert vars(model).keys() == state.keys() and all(vars(model)[name] is state[name] for name in state)
    if case == "masked":
        with pytest.raises(error, match=message):
            loss_and_gradients(X, y, params)
        with pytest.raises(error, match=message):
            model.score(X, y)


@by_default_too
@pytest.mark.parametrize(
    "names",
    [
        np.array([-1, 0, 1]), np.array([0, 1, 3]), np.array([0, 5, 300]), np.array([0, 7, 2**63], np.uint64),
        np.array([-(2**63), 0, 2**63 - 1]), np.array([-1.0, 0.0, 2.0]), np.array([False, True, True]),
        np.array(["a", "b", "c"]), np.array(["a", "b", "c"], object), np.array([0, 2**70, 2**71], object),
        np.array(["2020-01-01", "2020-01-02", "2020-02-01"], "M8[D]"), np.array([b"a", b"b", b"c"]),
    ],
    ids=str,
)  # fmt: skip
def test_labels_of_any_kind_are_classes_in_their_order(make, names):
    X, y, _ = values("f8")
    model, numbered = make().fit(X, names[y]), make().fit(X, np.unique(names, return_inverse=True)[1][y])
    np.testing.assert_array_equal(model.classes_, np.unique(names))
    assert model.classes_.dtype == names.dtype
    assert_same_bits(in_order(model), in_order(numbered))
    np.testing.assert_array_equal(model.predict(X), model.classes_[numbered.predict(X)])
    for form in ("strided", "reversed", "read-only", "unaligned", "DataFrame"):
        assert_same_bits(in_order(make().fit(X, FORMS[form](names[y], None))), in_order(model))


@pytest.mark.parametrize("hidden", [0, H])
def test_a_class_without_rows_has_a_gradient_too(hidden):
    p = problem(N, D, hidden, K)
    y = p.y % 2 * 2  # no row of class 1
    out = [np.empty_like(a) for a in p.params]
    kernel = reference.two_layer_loss_gradients if hidden else reference.linear_loss_gradients
    expected = kernel(p.X, y, *p.params, 0.1, *out)
    loss, gradients = loss_and_gradients(p.X, y, p.params, reg=0.1)
    assert loss == pytest.approx(expected, rel=1e-12)
    for a, b in zip(gradients, out, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


# ---------------------------------------------------------------------------------------------------------- scales

SCALES = {
    np.float64: [1e-310, 1e-300, 1e-150, 1e-12, 1.0, 1e12, 1e150, 1e300],
    np.float32: [1e-42, 1e-36, 1e-18, 1e-6, 1.0, 1e6, 1e18, 1e36],
}
STEPS = [1e-12, 1e-6, 1.0, 1e6, 1e12]


class Exact:
    """The first steps of a descent in long double: losses, parameters, and the largest number that came up by then."""

    def __init__(self, X, y, params, reg, step_size, n_steps):
        X, self.params, self.losses, self.largest = X.astype("g"), [[p.astype("g") for p in params]], [], []
        scores = np.empty((len(X), params[-1].size), "g")
        for _ in range(n_steps):
            now = self.params[-1]
            gradients = [np.empty_like(p) for p in now]
            linear = len(now) == 2
            (reference.linear_scores if linear else reference.two_layer_scores)(X, *now, scores)
            kernel = reference.linear_loss_gradients if linear else reference.two_layer_loss_gradients
            self.losses.append(kernel(X, y, *now, reg, *gradients))
            self.params.append([p - np.longdouble(step_size) * dp for p, dp in zip(now, gradients, strict=True)])
            hidden = () if linear else (np.abs(X) @ np.abs(now[0]), *gradients)
            squares = [reg * (W**2).sum() for W in now[::2]]
            sums = [len(X) * np.abs(dp).max() for dp in gradients]
            numbers = [scores, *now, *self.params[-1], *hidden, squares, sums, np.abs(X) @ np.abs(now[0]), len(X) * X]
            self.largest.append(float(max(np.abs(a).max() for a in numbers)))


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [2, D])
@both
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, from the reference
def test_data_and_steps_of_any_scale_are_right_or_name_the_step(make, columns, dtype, backend):
    p, limits = problem(30, columns, 0, K), np.finfo(dtype)
    outcomes = {"right": 0, "refused": 0}
    for scale in SCALES[dtype]:
        for constant in (None, scale):
            X = (p.X * scale).astype(dtype)
            if constant is not None:
                X[:, 1] = constant
            for step_size in STEPS:
                model = make(step_size=step_size, reg=1e-3, backend=backend, init_scale=0.1)
                start = in_order(make(step_size=0.0, max_iter=1, reg=0.0, init_scale=0.1).fit(p.X.astype(dtype), p.y))
                exact = Exact(X, p.y, start, 1e-3, step_size, 4)
                case = f"scale {scale}, step {step_size}, constant {constant}"
                try:
                    model.fit(X, p.y)
                except FloatingPointError as error:
                    step = int(re.search(r"no longer finite at step (\d+), ", str(error))[1])
                    assert max(exact.largest[: step + 1]) > limits.max / 100, case  # a number was beyond the dtype
                    outcomes["refused"] += 1
                else:
                    outcomes["right"] += 1
                    assert model.n_iter_ == 3
                assert len(model.loss_curve_) == model.n_iter_ and np.isfinite(model.loss_curve_).all()
                assert all(np.isfinite(a).all() for a in in_order(model))
                losses = np.array(exact.losses[: model.n_iter_], np.float64)
                # 3 steps; where they are long the error of a gradient goes into the next loss as it is
                rtol = 3e-4 if dtype == np.float32 else 1e-10
                np.testing.assert_allclose(model.loss_curve_, losses, rtol=rtol, err_msg=case)
    assert min(outcomes.values()) >= 5, outcomes


# --------------------------------------------------------------------------------------------------------- softmax


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_softmax_of_scores_of_ten_thousand(dtype):
    random = np.random.default_rng(0)
    scores = random.choice([-1e4, -9999.5, -1.0, 0.0, 2.0, 9998.0, 1e4], (60, 4)).astype(dtype)
    y = random.integers(0, 4, 60)
    with mpmath.workdps(60):
        rows = [[mpmath.mpf(float(s)) for s in row] for row in scores]
        totals = [mpmath.fsum(mpmath.exp(s) for s in row) for row in rows]
        logs = np.array([[float(s - mpmath.log(t)) for s in row] for row, t in zip(rows, totals, strict=True)])
        shares = np.array([[float(mpmath.exp(s) / t) for s in row] for row, t in zip(rows, totals, strict=True)])
    loss = -logs[np.arange(60), y].mean()
    gradient = (shares - np.eye(4)[y]) / 60
    eps = float(np.finfo(dtype).eps)
    dscores = np.empty_like(scores)
    assert fused.softmax_cross_entropy(scores, y, dscores) == pytest.approx(loss, rel=4 * eps)
    np.testing.assert_allclose(dscores, gradient, rtol=8 * eps, atol=np.finfo(dtype).tiny)
    # the same scores as those of a model whose inputs pick a row of its weights
    for rows in np.split(np.arange(60), 12):
        X = np.eye(5, dtype=dtype)
        W, b = scores[rows], np.zeros(4, dtype)
        result, (dW, db) = loss_and_gradients(X, y[rows], (W, b))
        assert result == pytest.approx(-logs[rows, y[rows]].mean(), rel=8 * eps, abs=8 * eps)
        np.testing.assert_allclose(dW, gradient[rows] * 12, rtol=16 * eps, atol=4 * np.finfo(dtype).tiny)
        np.testing.assert_allclose(db, gradient[rows].sum(axis=0) * 12, rtol=0, atol=16 * eps)
        model = linear(init=(W, b), step_size=0.0, max_iter=1).fit(X, np.arange(5) % 4)
        np.testing.assert_allclose(model.predict_log_proba(X), logs[rows], rtol=8 * eps, atol=8 * eps)
        np.testing.assert_allclose(model.predict_proba(X), shares[rows], rtol=16 * eps, atol=4 * np.finfo(dtype).tiny)
