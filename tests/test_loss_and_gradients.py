"""Loss and gradients as one function: right against the reference, the same bits from every form of the same data."""

from typing import NamedTuple

import numpy as np
import pytest
from numba import typeof

from spiralnn import loss_and_gradients
from spiralnn.checks.arrays import feature_matrix
from spiralnn.checks.labels import label_bytes, label_view
from spiralnn.kernels import reference

# (dtype, rtol): rounding of one unit in some hundred additions, relative to the largest entry of each gradient
DTYPES = [(np.float64, 1e-12), (np.float32, 2e-5)]


class Shape(NamedTuple):
    N: int
    D: int
    H: int  # 0: the linear model
    K: int


SHAPES = [
    Shape(1, 1, 0, 2),
    Shape(101, 2, 0, 3),
    Shape(67, 9, 0, 5),
    Shape(1, 2, 1, 2),
    Shape(101, 2, 7, 3),
    Shape(300, 2, 100, 3),
    Shape(61, 5, 6, 4),
    Shape(530, 17, 33, 11),
]


def problem(shape, dtype=np.float64, seed=0):
    """X, y, params: seeded, with every class present where there are rows for it."""
    N, D, H, K = shape
    draw = np.random.RandomState(seed)
    X = draw.randn(N, D).astype(dtype)
    y = draw.permutation(np.arange(N) % K)
    sizes = [(D, K), (K,)] if H == 0 else [(D, H), (H,), (H, K), (K,)]
    return X, y, tuple((0.5 * draw.randn(*size)).astype(dtype) for size in sizes)


def of_reference(X, y, params, reg):
    gradients = tuple(np.empty_like(p) for p in params)
    kernel = reference.linear_loss_gradients if len(params) == 2 else reference.two_layer_loss_gradients
    return kernel(X, y, *params, reg, *gradients), gradients


def assert_same_bits(result, expected):
    assert result[0] == expected[0]
    for gradient, same in zip(result[1], expected[1], strict=True):
        assert gradient.dtype == same.dtype
        np.testing.assert_array_equal(gradient, same)


# ------------------------------------------------------------------------------------------------- right


@pytest.mark.parametrize(("dtype", "rtol"), DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_equals_the_reference(shape, dtype, rtol, reg):
    X, y, params = problem(shape, dtype)
    loss, gradients = loss_and_gradients(X, y, params, reg=reg)
    # the reference in float64: what is compared is the rounding of the fused kernels alone
    exact, expected = of_reference(X.astype(np.float64), y, [p.astype(np.float64) for p in params], reg)
    assert isinstance(loss, float)
    assert loss == pytest.approx(exact, rel=rtol)
    assert len(gradients) == len(params)
    for gradient, right, p in zip(gradients, expected, params, strict=True):
        assert gradient.shape == p.shape
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, right, rtol=0, atol=rtol * max(1e-3, np.abs(right).max()))


def test_value_by_hand():
    X = np.array([[1.0, 2.0], [3.0, -1.0]])
    W = np.array([[0.0, np.log(3.0)], [0.0, 0.0]])
    loss, (dW, db) = loss_and_gradients(X, [0, 1], (W, np.zeros(2)), reg=0.5)
    # scores (0, log 3) and (0, 3 log 3): probabilities (1/4, 3/4) and (1/28, 27/28)
    expected = (np.log(4) - np.log(27 / 28)) / 2 + 0.25 * np.log(3) ** 2
    assert loss == pytest.approx(expected, rel=1e-14)
    dscores = np.array([[-3 / 4, 3 / 4], [1 / 28, -1 / 28]]) / 2
    np.testing.assert_allclose(dW, X.T @ dscores + 0.5 * W, rtol=1e-13)
    np.testing.assert_allclose(db, dscores.sum(axis=0), rtol=1e-13)


@pytest.mark.parametrize("shape", [Shape(40, 3, 0, 4), Shape(40, 2, 5, 3), Shape(40, 6, 5, 4)], ids=str)
def test_is_the_objective_of_an_optimiser(shape):
    X, y, params = problem(shape)
    params = [p.copy() for p in params]
    out = [np.empty_like(p) for p in params]
    losses = []
    for _ in range(25):
        loss, gradients = loss_and_gradients(X, y, params, reg=1e-2, out=out)
        losses.append(loss)
        for p, dp in zip(params, gradients, strict=True):
            p -= 0.1 * dp
    assert all(after < before for before, after in zip(losses, losses[1:], strict=False))
    assert losses[-1] < 0.95 * losses[0]


def test_overflowing_scores_give_a_loss_that_is_not_finite():
    W = np.array([[1e200, -1e200]] * 2)
    loss, _ = loss_and_gradients(np.full((2, 2), 1e200), [0, 1], (W, np.zeros(2)))
    assert not np.isfinite(loss)


@pytest.mark.parametrize("shape", [Shape(40, 3, 0, 4), Shape(40, 2, 5, 3), Shape(40, 6, 5, 4)], ids=str)
def test_weights_whose_squares_overflow_count_only_with_an_l2_term(shape):
    X, y, (W, *rest) = problem(shape)
    loss, gradients = loss_and_gradients(X, y, (W, *rest))
    scaled = loss_and_gradients(X * 2.0**-600, y, (W * 2.0**600, *rest))
    assert scaled[0] == loss
    assert_same_bits((loss, scaled[1][1:]), (loss, gradients[1:]))
    np.testing.assert_array_equal(scaled[1][0], gradients[0] * 2.0**-600)
    assert of_reference(X * 2.0**-600, y, (W * 2.0**600, *rest), 0)[0] == pytest.approx(loss, rel=1e-13)
    assert loss_and_gradients(X * 2.0**-600, y, (W * 2.0**600, *rest), reg=0.1)[0] == np.inf


# --------------------------------------------------------------------------------------------------- out


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [Shape(50, 2, 0, 3), Shape(50, 2, 4, 3), Shape(50, 5, 4, 3)], ids=str)
def test_out_is_written_in_place_and_returned(shape, dtype):
    X, y, params = problem(shape, dtype)
    expected = loss_and_gradients(X, y, params, reg=0.1)
    out = [np.full_like(p, np.nan) for p in params]
    loss, gradients = loss_and_gradients(X, y, params, reg=0.1, out=out)
    assert isinstance(gradients, tuple)
    for gradient, target in zip(gradients, out, strict=True):
        assert gradient is target
    assert_same_bits((loss, out), expected)


def test_out_may_be_strided_and_may_be_params():
    X, y, params = problem(Shape(50, 5, 4, 3))
    expected = loss_and_gradients(X, y, params)
    strided = tuple(np.zeros([2 * n for n in p.shape])[(slice(None, None, 2),) * p.ndim] for p in params)
    assert_same_bits(loss_and_gradients(X, y, params, out=strided), expected)
    own = tuple(np.asfortranarray(p.copy()) for p in params)
    assert_same_bits(loss_and_gradients(X, y, own, out=own), expected)


def test_results_are_the_callers_own():
    X, y, params = problem(Shape(50, 5, 4, 3))
    first = loss_and_gradients(X, y, params)
    kept = [g.copy() for g in first[1]]
    loss_and_gradients(2 * X, y, params)
    assert_same_bits((first[0], kept), first)


@pytest.mark.parametrize("shape", [Shape(50, 3, 0, 3), Shape(50, 2, 4, 3), Shape(50, 5, 4, 3)], ids=str)
def test_biases_may_be_rows_as_in_the_case_study(shape):
    X, y, params = problem(shape)
    loss, gradients = loss_and_gradients(X, y, params)
    rows = [p.reshape(1, -1) if p.ndim == 1 else p for p in params]
    loss_of_rows, gradients_of_rows = loss_and_gradients(X, y, rows)
    assert [g.shape for g in gradients_of_rows] == [p.shape for p in rows]
    assert_same_bits((loss_of_rows, [g.reshape(p.shape) for g, p in zip(gradients_of_rows, params, strict=True)]),
                     (loss, gradients))  # fmt: skip
    out = [np.empty_like(p) for p in rows]
    assert_same_bits(loss_and_gradients(X, y, rows, out=out), (loss, gradients_of_rows))


# ---------------------------------------------------------------------------------------- forms of the data


def forms_of_labels(y):
    for kind in "bBhHiIlLqQ":
        for order in "<>":
            yield y.astype(np.dtype(kind).newbyteorder(order))
    column = np.zeros((len(y), 3), np.int64)
    column[:, 1] = y
    yield column[:, 1]
    yield np.repeat(y, 2)[::2]
    yield np.ascontiguousarray(y[::-1])[::-1]
    yield y.astype(np.uint8)[::-1][::-1]
    frozen = y.astype(np.int32)
    frozen.flags.writeable = False
    yield frozen
    memory = np.zeros(8 * len(y) + 1, np.uint8)
    memory[1:].view(np.int64)[:] = y
    yield memory[1:].view(np.int64)
    yield y.tolist()


def test_every_form_of_labels_gives_the_same_bits():
    X, y, params = problem(Shape(103, 2, 5, 3))
    expected = loss_and_gradients(X, y, params, reg=0.1)
    for labels in forms_of_labels(y):
        before = np.array(labels)
        assert_same_bits(loss_and_gradients(X, labels, params, reg=0.1), expected)
        np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize(("N", "K"), [(700, 300), (20, 70_000)])
def test_more_classes_than_a_byte_can_name(N, K):
    X, y, params = problem(Shape(N, 2, 0, K))
    y[-1] = K - 1
    expected = of_reference(X, y, params, 0.0)
    result = loss_and_gradients(X, y, params)
    assert result[0] == pytest.approx(expected[0], rel=1e-12)
    for gradient, right in zip(result[1], expected[1], strict=True):
        np.testing.assert_allclose(gradient, right, rtol=0, atol=1e-12 * np.abs(right).max())
    for kind in (">i2", "u2", "i4", ">u4", "i8", ">i8", "u8")[0 if K < 2**15 else 2 :]:
        assert_same_bits(loss_and_gradients(X, y.astype(kind), params), result)
        assert_same_bits(loss_and_gradients(X, np.repeat(y.astype(kind), 3)[::3], params), result)


def forms_of_features(X, folder):
    yield np.asfortranarray(X)
    yield np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    yield np.ascontiguousarray(X[::-1])[::-1]
    yield np.ascontiguousarray(X[:, ::-1])[:, ::-1]
    yield X.astype(X.dtype.newbyteorder())
    frozen = X.copy()
    frozen.flags.writeable = False
    yield frozen
    memory = np.zeros(X.nbytes + 1, np.uint8)
    unaligned = memory[1:].view(X.dtype).reshape(X.shape)
    unaligned[:] = X
    yield unaligned
    np.save(folder / "X.npy", X)
    for mode in ("r", "r+", "c"):
        yield np.load(folder / "X.npy", mmap_mode=mode)
    yield np.ma.masked_array(X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [Shape(103, 3, 0, 3), Shape(103, 2, 5, 3), Shape(103, 6, 5, 3)], ids=str)
def test_every_form_of_features_gives_the_same_bits(shape, dtype, tmp_path):
    X, y, params = problem(shape, dtype)
    expected = loss_and_gradients(X, y, params, reg=0.1)
    for features in forms_of_features(X, tmp_path):
        assert_same_bits(loss_and_gradients(features, y, params, reg=0.1), expected)
        np.testing.assert_array_equal(features, X)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


def test_kernels_see_one_form_of_features_and_of_labels(tmp_path):
    # another form is another type to the compiler, and so another compilation of every kernel
    X, y, _ = problem(Shape(103, 2, 0, 3))
    for features in (X, *forms_of_features(X, tmp_path)):
        matrix = feature_matrix(features)
        assert type(matrix) is np.ndarray
        assert matrix.dtype == np.float64 and matrix.dtype.isnative
        assert matrix.flags.c_contiguous and matrix.flags.aligned and matrix.flags.writeable
    for K in (3, 300):
        for labels in (y, *forms_of_labels(y)):
            for first in (0, len(y) - 1):  # one label is contiguous memory, however it lies there
                part = label_view(labels, len(y), K)[first:]
                view = label_bytes(part, K)
                assert str(typeof(view)) == "array(uint8, 2d, A)"
                assert view.shape == (len(part), 4 if K == 300 else 2)
                np.testing.assert_array_equal(view @ ([0, 1] if K == 3 else [1 << 24, 1 << 16, 1 << 8, 1]), y[first:])


def test_what_is_canonical_is_not_copied():
    X, y, _ = problem(Shape(103, 2, 0, 3))
    assert np.shares_memory(feature_matrix(X), X)
    read_only = X.view()
    read_only.flags.writeable = False
    assert np.shares_memory(feature_matrix(read_only), X)
    for kind in "bBhHiIlLqQ":
        labels = y.astype(kind)
        assert np.shares_memory(label_bytes(label_view(labels, len(y), 3), 3), labels)
    for kind in ("i4", "u8"):
        labels = y.astype(kind)
        assert np.shares_memory(label_bytes(label_view(labels, len(y), 300), 300), labels)


def test_lists_are_arrays():
    X, y, params = problem(Shape(20, 2, 4, 3))
    result = loss_and_gradients(X.tolist(), y.tolist(), [p.tolist() for p in params])
    assert_same_bits(result, loss_and_gradients(X, y, params))


@pytest.mark.parametrize("kind", ["f2", "g", "i1", "u1", "i2", "i4", "u4", "i8", "u8", "?", "O"])
def test_other_numbers_are_computed_in_float64(kind):
    _, y, params = problem(Shape(60, 3, 4, 3))
    X = np.random.RandomState(1).randint(0, 2 if kind == "?" else 5, (60, 3)).astype(kind)
    result = loss_and_gradients(X, y, params)
    assert all(g.dtype == np.float64 for g in result[1])
    assert_same_bits(result, loss_and_gradients(X.astype(np.float64), y, params))


def test_params_are_converted_to_the_dtype_of_the_features():
    X, y, params = problem(Shape(60, 3, 4, 3), np.float32)
    result = loss_and_gradients(X, y, [p.astype(np.float64) for p in params])
    assert_same_bits(result, loss_and_gradients(X, y, params))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [Shape(40_001, 2, 0, 3), Shape(20_011, 2, 16, 3), Shape(9_001, 7, 16, 4)], ids=str)
def test_threads_do_not_change_a_bit(shape, dtype):
    X, y, params = problem(shape, dtype)
    expected = loss_and_gradients(X, y, params, reg=0.1, n_threads=1)
    for n_threads in (None, 2, 3, 5, 64):
        assert_same_bits(loss_and_gradients(X, y, params, reg=0.1, n_threads=n_threads), expected)


def test_arguments_are_not_modified():
    X, y, params = problem(Shape(50, 5, 4, 3))
    copies = [a.copy() for a in (X, y, *params)]
    loss_and_gradients(X, y, params, reg=1.0)
    for array, copy in zip((X, y, *params), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# --------------------------------------------------------------------------------------------- bad input

N, D, H, K = 30, 2, 4, 3


def with_value(array, place, value):
    array = array.astype(np.float64)
    array[place] = value
    return array


def replaced(**changes):
    """A function of (X, y, params) that replaces arguments of the call; changes are functions of the old value."""

    def change(X, y, params):
        arguments = {"X": X, "y": y, "params": params}
        return {**arguments, **{k: f(arguments.get(k)) for k, f in changes.items()}}

    return change


def part(i, f):
    """A function of params that applies f to one of them."""
    return lambda params: tuple(f(p) if j == i else p for j, p in enumerate(params))


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


SPARSE = type("Sparse", (), {"toarray": lambda self: None, "nnz": 1})

BAD = {
    "X of 1 dimension": (replaced(X=lambda X: X[:, 0]), ValueError, "X has 1 dimension, expected 2"),
    "X of 3 dimensions": (replaced(X=lambda X: X[None]), ValueError, "X has 3 dimensions, expected 2"),
    "X a number": (replaced(X=lambda X: 1.0), ValueError, "X has 0 dimensions, expected 2"),
    "X None": (replaced(X=lambda X: None), ValueError, "X has 0 dimensions, expected 2"),
    "X ragged": (replaced(X=lambda X: [[1.0, 2.0], [3.0]]), ValueError, "X is ragged, expected an array"),
    "X without rows": (replaced(X=lambda X: X[:0]), ValueError, "X needs a minimum of 1"),
    "X without columns": (replaced(X=lambda X: X[:, :0]), ValueError, "X holds no columns"),
    "X complex": (replaced(X=lambda X: X + 1j), ValueError, "X has dtype complex128, expected real numbers"),
    "X of text": (replaced(X=lambda X: X.astype(str)), TypeError, "X has dtype <U32, expected real numbers"),
    "X of dates": (replaced(X=lambda X: X.astype("M8[s]")), TypeError, "X has dtype datetime64[s], expected real"),
    "X of objects": (replaced(X=lambda X: [[{}, 1.0]] * N), TypeError, "X has dtype object, expected real numbers"),
    "X sparse": (replaced(X=lambda X: SPARSE()), TypeError, "X is a sparse matrix; expected a dense array"),
    "X masked": (replaced(X=lambda X: np.ma.masked_array(X, X > 0)), ValueError, "X holds masked values; expected"),
    "X beyond float64": (
        replaced(X=lambda X: X.astype(np.longdouble) * np.longdouble("1e600")),
        ValueError,
        "X holds infinity at [0, 0], expected finite numbers",
    ),
    "y of 2 dimensions": (replaced(y=lambda y: y[:, None]), ValueError, "y has shape (30, 1), expected (30,)"),
    "y None": (replaced(y=lambda y: None), ValueError, "y has shape (), expected (30,)"),
    "y ragged": (replaced(y=lambda y: [[0], [0, 1]]), ValueError, "y is ragged, expected an array"),
    "y too short": (replaced(y=lambda y: y[:-1]), ValueError, "y has 29 labels, but X has 30 rows"),
    "y too long": (replaced(y=lambda y: np.append(y, 0)), ValueError, "y has 31 labels, but X has 30 rows"),
    "y float": (replaced(y=lambda y: y * 1.0), TypeError, "y has dtype float64, expected integer labels in [0, 3)"),
    "y bool": (replaced(y=lambda y: y > 0), TypeError, "y has dtype bool, expected integer labels in [0, 3)"),
    "y text": (replaced(y=lambda y: y.astype(str)), TypeError, "expected integer labels in [0, 3)"),
    "label -1": (replaced(y=lambda y: [*y[:-1], -1]), ValueError, "y holds label -1, but there are 3 classes"),
    "label K": (replaced(y=lambda y: [3, *y[1:]]), ValueError, "y holds label 3, but there are 3 classes"),
    "label 256": (replaced(y=lambda y: [256, *y[1:]]), ValueError, "y holds label 256, but there are 3 classes"),
    "label 2^63": (
        replaced(y=lambda y: np.array([2**63, *y[1:]], np.uint64)),
        ValueError,
        "y holds label 9223372036854775808, but there are 3 classes: expected [0, 3)",
    ),
    "no params": (
        replaced(params=lambda p: ()),
        ValueError,
        "params holds 0 arrays, expected (W, b) or (W, b, W2, b2)",
    ),
    "three params": (replaced(params=lambda p: p[:3]), ValueError, "params holds 3 arrays, expected (W, b) or"),
    "five params": (replaced(params=lambda p: (*p, p[0])), ValueError, "params holds 5 arrays, expected (W, b) or"),
    "params None": (replaced(params=lambda p: None), ValueError, "params holds NoneType, expected (W, b) or"),
    "params an iterator": (replaced(params=iter), ValueError, "params holds tuple_iterator, expected (W, b) or"),
    "params an array": (replaced(params=lambda p: p[0]), ValueError, "params holds ndarray, expected (W, b) or"),
    "W ragged": (
        replaced(params=part(0, lambda W: [[1], [1, 2]])),
        ValueError,
        "params: W is ragged, expected an array",
    ),
    "W of text": (
        replaced(params=part(0, lambda W: W.astype(str))),
        TypeError,
        "params: W has dtype <U32, expected real",
    ),
    "W for other features": (
        replaced(params=part(0, lambda W: np.zeros((5, H)))),
        ValueError,
        "params: W has shape (5, 4), expected (2, 4)",
    ),
    "W transposed": (replaced(params=part(0, np.transpose)), ValueError, "params: W has shape (4, 2), expected (2, 4)"),
    "W of 1 dimension": (
        replaced(params=part(0, np.ravel)),
        ValueError,
        "params: W has shape (8,), expected (2, 4)",
    ),
    "b a column": (
        replaced(params=part(1, lambda b: b[:, None])),
        ValueError,
        "params: b has shape (4, 1), expected (4,)",
    ),
    "W2 too narrow": (
        replaced(params=part(2, lambda W2: W2[:, :2])),
        ValueError,
        "params: W2 has shape (4, 2), expected (4, 3)",
    ),
    "W2 for other units": (
        replaced(params=part(2, lambda W2: W2[:3])),
        ValueError,
        "params: W2 has shape (3, 3), expected (4, 3)",
    ),
    "b2 of 3 dimensions": (
        replaced(params=part(3, lambda b2: b2[None, None])),
        ValueError,
        "params: b2 has shape (1, 1, 3), expected (3,)",
    ),
    "no hidden units": (
        replaced(params=lambda p: (np.zeros((2, 0)), np.zeros(0), np.zeros((0, 3)), p[3])),
        ValueError,
        "params: b holds 0 units, expected at least 1",
    ),
    "one class": (
        replaced(params=lambda p: (p[0], p[1], p[2][:, :1], p[3][:1])),
        ValueError,
        "params: b2 holds 1 class, expected at least 2",
    ),
    "one class, linear": (
        replaced(params=lambda p: (np.zeros((2, 1)), np.zeros(1))),
        ValueError,
        "params: b holds 1 class, expected at least 2",
    ),
    "negative reg": (
        replaced(reg=lambda _: -1e-9),
        ValueError,
        "reg is -1e-09, expected a finite number of at least 0",
    ),
    "reg NaN": (replaced(reg=lambda _: np.nan), ValueError, "reg is nan, expected a finite number of at least 0"),
    "reg infinite": (replaced(reg=lambda _: np.inf), ValueError, "reg is inf, expected a finite number of at least 0"),
    "reg beyond float": (replaced(reg=lambda _: 10**400), ValueError, "expected a finite number of at least 0"),
    "reg text": (replaced(reg=lambda _: "1"), TypeError, "reg is '1', expected a finite number of at least 0"),
    "reg None": (replaced(reg=lambda _: None), TypeError, "reg is None, expected a finite number of at least 0"),
    "no threads": (replaced(n_threads=lambda _: 0), ValueError, "n_threads is 0, expected an integer of at least 1"),
    "half a thread": (replaced(n_threads=lambda _: 0.5), TypeError, "n_threads is 0.5, expected an integer of at"),
    "out a number": (replaced(out=lambda _: 5), ValueError, "out holds int, expected 4 arrays"),
}


def bad_out(i, f):
    def change(X, y, params):
        out = tuple(f(np.zeros_like(p)) if j == i else np.zeros_like(p) for j, p in enumerate(params))
        return {"X": X, "y": y, "params": params, "out": out}

    return change


BAD |= {
    "out too short": (replaced(out=lambda _: [np.zeros((D, H))]), ValueError, "out holds 1 arrays, expected 4 arrays"),
    "out of another dtype": (
        bad_out(0, lambda a: a.astype(np.float32)),
        TypeError,
        "out[0] is float32, expected an array of float64",
    ),
    "out of lists": (bad_out(1, np.ndarray.tolist), TypeError, "out[1] is list, expected an array of float64"),
    "out of another shape": (bad_out(2, np.transpose), ValueError, "out[2] has shape (3, 4), expected (4, 3)"),
    "out read-only": (bad_out(3, frozen), ValueError, "out[3] is read-only, expected an array to write to"),
}
for row in (0, N // 2, N - 1):
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
        BAD[f"X {value} in row {row}"] = (
            replaced(X=lambda X, row=row, value=value: with_value(X, (row, 1), value)),
            ValueError,
            f"X holds {word} at [{row}, 1], expected finite numbers",
        )
for i, name in enumerate(("W", "b", "W2", "b2")):
    for value, word in ((np.nan, "NaN"), (-np.inf, "infinity")):
        BAD[f"{name} {value}"] = (
            replaced(params=part(i, lambda p, value=value: with_value(p, (-1,) * p.ndim, value))),
            ValueError,
            f"params: {name} holds {word} at [",
        )


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_any_kernel_runs(case, monkeypatch):
    def no_evaluation(*args, **kwargs):
        raise AssertionError("a kernel was about to run")

    monkeypatch.setattr("spiralnn.objective.Evaluation", no_evaluation)
    change, error, message = BAD[case]
    X, y, params = problem(Shape(N, D, H, K))
    arguments = change(X, y, params)
    with pytest.raises((ValueError, TypeError)) as raised:
        loss_and_gradients(arguments.pop("X"), arguments.pop("y"), arguments.pop("params"), **arguments)
    assert type(raised.value) is error
    assert message in str(raised.value)


def test_bad_input_leaves_out_alone():
    X, y, params = problem(Shape(N, D, H, K))
    out = [np.full_like(p, 7.0) for p in params]
    with pytest.raises(ValueError, match="y holds label 3"):
        loss_and_gradients(X, np.full(N, 3), params, out=out)
    assert all((a == 7.0).all() for a in out)


@pytest.mark.parametrize("row", [0, 65_535, 65_536, 65_537, 99_999])
def test_a_single_nan_among_many_rows_is_found(row):
    X = np.ones((100_000, 2), np.float32)
    X[row, 1] = np.nan
    with pytest.raises(ValueError, match=rf"X holds NaN at \[{row}, 1\], expected finite numbers"):
        loss_and_gradients(X, np.zeros(100_000, int), (np.zeros((2, 2)), np.zeros(2)))


def test_large_finite_values_are_not_mistaken_for_infinity():
    X = np.full((4, 2), np.finfo(np.float64).max)
    loss, _ = loss_and_gradients(X, [0, 1, 0, 1], (np.zeros((2, 2)), np.zeros(2)))
    assert loss == pytest.approx(np.log(2), rel=1e-15)
