"""Objective: one flat vector in, loss and gradient out, as optimisers call it."""

import numpy as np
import pytest
from problems import JIT, problem

from spiralnn import Objective, SoftmaxClassifier, TwoLayerNet, loss_and_gradients, make_spiral

pytestmark = pytest.mark.kernels

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
SHAPES = [(41, 2, 0, 3), (300, 5, 0, 4), (97, 2, 7, 3), (60, 9, 11, 5), (41, 3, 300, 4)]
if not JIT:
    SHAPES = [(41, 2, 0, 3), (40, 5, 3, 4)]
shapes = pytest.mark.parametrize("N,D,H,K", SHAPES)
REG = 0.1


def objective_of(p, **options):
    H = p.params[0].shape[1] if len(p.params) == 4 else None
    return Objective(p.X, p.y, **{"hidden_size": H, "n_classes": p.params[-1].size, "reg": REG, **options})


@dtypes
@shapes
def test_it_is_loss_and_gradients_of_one_vector(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    objective = objective_of(p)
    assert objective.size == sum(a.size for a in p.params)
    theta = objective.pack(p.params)
    np.testing.assert_array_equal(theta, np.concatenate([a.reshape(-1) for a in p.params]))
    loss, gradient = objective(theta)
    expected, gradients = loss_and_gradients(p.X, p.y, p.params, reg=REG)
    assert loss == expected and gradient.dtype == np.float64 and gradient.shape == theta.shape
    for a, b in zip(objective.unpack(gradient), gradients, strict=True):
        np.testing.assert_array_equal(a.astype(dtype), b)


@shapes
def test_the_gradient_is_the_slope_of_the_loss(N, D, H, K):
    p = problem(N, D, H, K)
    objective = objective_of(p)
    theta = objective.pack(p.params)
    _, gradient = objective(theta)
    gradient = gradient.copy()
    for i in np.random.default_rng(0).choice(objective.size, min(20, objective.size), replace=False):
        step = np.zeros_like(theta)
        step[i] = 1e-6
        slope = (objective(theta + step)[0] - objective(theta - step)[0]) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@dtypes
@shapes
def test_any_number_of_threads_any_number_of_times_the_same_bits(N, D, H, K, dtype, all_threads):
    p = problem(8 * N if JIT else N, D, H, K, dtype)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(p.X))
    theta = objective_of(p).pack(p.params)
    expected = objective_of(p, sample_weight=weights, n_threads=1)(theta)
    for n_threads in (1, 2, 4):
        objective = objective_of(p, sample_weight=weights, n_threads=n_threads)
        for _ in range(5 if JIT else 2):
            loss, gradient = objective(theta)
            assert loss == expected[0]
            np.testing.assert_array_equal(gradient, expected[1])


def test_scipy_minimises_it():
    optimize = pytest.importorskip("scipy.optimize")
    X, y = make_spiral(100 if JIT else 20, random_state=0)
    objective = Objective(X, y, hidden_size=20, reg=1e-3)
    start = objective.initial(random_state=0, init_scale=0.5)
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 150 if JIT else 3})
    assert found.fun < 0.6 * objective(start)[0] if JIT else found.fun < objective(start)[0]
    W, b, W2, b2 = objective.unpack(found.x)
    accuracy = (np.argmax(np.maximum(0, X @ W + b) @ W2 + b2, axis=1) == y).mean()
    assert accuracy > (0.9 if JIT else 0.3)


@pytest.mark.parametrize("estimator", [SoftmaxClassifier, TwoLayerNet])
def test_it_begins_where_the_estimators_begin(estimator):
    X, y = make_spiral(20, random_state=0)
    network = estimator is TwoLayerNet
    objective = Objective(X, y, hidden_size=7 if network else None, reg=1e-3)
    start = objective.initial(random_state=3, init_scale=0.2)
    options = {"hidden_size": 7} if network else {}
    options |= {"solver": "gd", "random_state": 3, "init_scale": 0.2, "reg": 1e-3, "max_iter": 2, "step_size": 0.5}
    model = estimator(**options).fit(X, y)
    assert model.loss_curve_[0] == objective(start)[0]
    assert model.loss_curve_[1] == objective(start - 0.5 * objective(start)[1])[0]


def test_the_gradient_goes_where_it_is_told():
    p = problem(*SHAPES[-1])
    objective = objective_of(p)
    theta = objective.pack(p.params)
    out = np.full(objective.size, np.nan)
    loss, gradient = objective(theta, out=out)
    assert gradient is out
    np.testing.assert_array_equal(out, objective(theta)[1])
    before = out.copy()
    objective(theta, theta)  # in place of the parameters, too
    np.testing.assert_array_equal(theta, before)


def test_float32_rows_are_computed_with_parameters_rounded_to_float32():
    p = problem(*SHAPES[-1], np.float32)
    objective = objective_of(p)
    theta = objective.pack(p.params)
    off = theta * (1 + 1e-9)
    assert (off != theta).any() and objective(off)[0] == objective(theta)[0]


@dtypes
@shapes
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # with the JIT off NumPy overflows, aloud
def test_parameters_that_are_no_numbers_give_a_loss_that_is_none(N, D, H, K, dtype, value):
    p = problem(N, D, H, K, dtype)
    objective = objective_of(p)
    theta = objective.pack(p.params)
    for i in (0, objective.size // 2, objective.size - 1):
        other = theta.copy()
        other[i] = value
        assert np.isnan(objective(other)[0])
    assert np.isfinite(objective(theta)[0])  # and nothing is left of it


def test_arrays_in_any_layout():
    p = problem(*SHAPES[-1])
    objective = objective_of(p)
    theta = objective.pack(p.params)
    expected = objective(theta)
    spread = np.full(2 * objective.size, 7.0)
    spread[::2] = theta
    frozen = theta.copy()
    frozen.flags.writeable = False
    for other in (spread[::2], frozen):
        loss, gradient = objective(other)
        assert loss == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


BAD_VECTORS = {
    "size": (np.zeros(5), r"theta is float64 \(5,\), expected an array of float64 \(9,\)"),
    "float32": (np.zeros(9, np.float32), r"theta is float32 \(9,\), expected an array of float64"),
    "column": (np.zeros((9, 1)), r"theta is float64 \(9, 1\)"),
    "list": ([0.0] * 9, "theta is list"),
    "None": (None, "theta is NoneType"),
    "integers": (np.zeros(9, int), "theta is int64"),
    "big endian": (np.zeros(9, ">f8"), "theta is >f8"),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_a_vector_of_another_kind_is_one_clear_error(case):
    value, message = BAD_VECTORS[case]
    objective = Objective(np.eye(2), [0, 1], n_classes=3)
    assert objective.size == 9
    with pytest.raises(ValueError, match=message):
        objective(value)
    with pytest.raises(ValueError, match=message):
        objective.unpack(value)
    if value is not None:
        with pytest.raises(ValueError, match=message.replace("theta", "out")):
            objective(np.zeros(9), out=value)


def test_what_cannot_be_written_is_no_place_for_a_gradient():
    objective = Objective(np.eye(2), [0, 1], n_classes=3)
    frozen = np.zeros(9)
    frozen.flags.writeable = False
    for out in (frozen, np.zeros(18)[::2]):
        with pytest.raises(ValueError, match="out is not a C-contiguous array that can be written to"):
            objective(np.zeros(9), out=out)


BAD = {
    "hidden_size 0": ({"hidden_size": 0}, ValueError, "hidden_size is 0, expected an integer of at least 1"),
    "hidden_size 2.5": ({"hidden_size": 2.5}, TypeError, "hidden_size is 2.5, expected an integer"),
    "n_classes 1": ({"n_classes": 1}, ValueError, "n_classes is 1, expected an integer of at least 2"),
    "n_classes": ({"n_classes": 2}, ValueError, r"y holds label 2, but there are 2 classes: expected \[0, 2\)"),
    "reg": ({"reg": -1}, ValueError, "reg is -1, expected a finite number of at least 0"),
    "n_threads": ({"n_threads": 0}, ValueError, "n_threads is 0"),
    "X": ({"X": [[1.0, np.nan], [0, 0], [0, 0]]}, ValueError, r"X holds NaN at \[0, 1\]"),
    "y strings": ({"y": ["a", "b", "c"]}, TypeError, r"y has dtype <U1, expected integer labels in \[0, K\)"),
    "y -1": ({"y": [0, -1, 1]}, ValueError, "y holds label -1, expected labels of at least 0"),
    "y 0": ({"y": [0, 0, 0]}, ValueError, "y holds label 0 alone, expected at least 2 classes"),
    "y short": ({"y": [0, 1]}, ValueError, "y has 2 labels, but X has 3 rows"),
    "weights": ({"sample_weight": [1, 2]}, ValueError, r"sample_weight has shape \(2,\), expected \(3,\)"),
    "huge": ({"hidden_size": 10**13}, MemoryError, "hidden_size=10000000000000 with 2 features and 3 classes need"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_when_it_is_made(case, monkeypatch):
    change, error, message = BAD[case]

    def no_evaluation(*args, **kwargs):
        raise AssertionError("a kernel was about to run")

    monkeypatch.setattr("spiralnn.objective.Evaluation", no_evaluation)
    arguments = {"X": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "y": [0, 1, 2], **change}
    with pytest.raises(error, match=message):
        Objective(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_parameters_that_do_not_fit_are_refused():
    objective = Objective(np.eye(2), [0, 1], hidden_size=4)
    W, b, W2 = np.zeros((2, 3)), np.zeros(3), np.zeros((3, 2))
    for params, message in (
        ((W, b), "params holds 2 arrays, expected 4"),
        ((W, b, W2, np.zeros(2)), r"params: W has shape \(2, 3\), expected \(2, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            objective.pack(params)
