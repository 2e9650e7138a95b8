"""Fused kernels against the reference, and the same bits from any number of threads."""

import numpy as np
import pytest
from problems import JIT, LINEAR_SHAPES, SHAPES, TOLERANCES, TWO_LAYER_SHAPES, problem, relative_error, small_only

from spiralnn.engine import fused, passes, threads
from spiralnn.kernels import reference

pytestmark = pytest.mark.kernels

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
REG = 0.1  # large enough to be seen in every digit that is compared


def names(params):
    """Functions of this model for loss and gradients, scores, backward."""
    model = "linear" if len(params) == 2 else "two_layer"
    return f"{model}_loss_gradients", f"{model}_scores", f"{model}_backward"


def loss_gradients(kernels, p, **options):
    outputs = p.outputs()
    loss = getattr(kernels, names(p.params)[0])(p.X, p.y, *p.params, REG, *outputs, **options)
    return loss, *outputs


def scores_of(kernels, p, **threads):
    scores = np.full((len(p.X), p.params[-1].size), np.nan, p.X.dtype)
    getattr(kernels, names(p.params)[1])(p.X, *p.params, scores, **threads)
    return (scores,)


def backward(kernels, p, **threads):
    """Gradients from dscores whose rows do not sum to zero, as those of another loss would."""
    outputs = p.outputs()
    dscores = np.random.default_rng(len(p.X)).standard_normal((len(p.X), p.params[-1].size), np.float32) + 0.5
    inputs = () if len(p.params) == 2 else p.params[:3]
    getattr(kernels, names(p.params)[2])(p.X, *inputs, dscores.astype(p.X.dtype), *outputs, **threads)
    return outputs


def softmax(kernels, p, **options):
    """Loss and gradient of scores that are the first columns of X."""
    dscores = np.full_like(p.X, np.nan)
    return kernels.softmax_cross_entropy(p.X, p.y, dscores, **options), dscores


def weighted(function):
    """The same with a weight a row, of which some are 0."""

    def of_weights(kernels, p, **threads):
        weights = np.random.default_rng(len(p.X)).uniform(0.1, 3.0, len(p.X)).astype(p.X.dtype)
        weights[1::5] = 0
        return function(kernels, p, sample_weight=weights, **threads)

    of_weights.__name__ = f"weighted_{function.__name__}"
    return of_weights


def softmax_problem(N, K, dtype, scale=3.0):
    random = np.random.default_rng([N, K])
    scores = (scale * random.standard_normal((N, K))).astype(dtype)
    p = problem(1, 1, 0, 2, dtype)
    return p._replace(X=scores, y=random.integers(0, K, N))


def assert_agree(function, p):
    """Fused results are those of the float64 reference on the same numbers."""
    dtype = p.X.dtype.type
    results, expected = function(fused, p), function(reference, p.astype(np.float64))
    for result, truth in zip(results, expected, strict=True):
        assert relative_error(result, truth) <= TOLERANCES[dtype]
        assert np.asarray(result).dtype == (dtype if np.ndim(result) else np.float64)


# Weights meet nothing but the loss of a tile: its ends, its classes, the families.
WEIGHTED_SHAPES = [
    *[(N, 2, 0, 3) for N in (1, 7, 8, 9, 17, 300, 2049)], (300, 4, 0, 2), (45, 5, 0, 10), (41, 37, 0, 300),
    *[(N, 2, 9, 3) for N in (2, 7, 8, 9, 17, 300, 2049)], (45, 4, 9, 2), (45, 5, 9, 10), (600, 64, 20, 7),
]  # fmt: skip


def test_there_are_forty_shapes_of_each_model():
    assert len(set(LINEAR_SHAPES)) >= 40 and len(set(TWO_LAYER_SHAPES)) >= 40


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(SHAPES))
def test_loss_and_gradients(N, D, H, K, dtype):
    assert_agree(loss_gradients, problem(N, D, H, K, dtype))


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(WEIGHTED_SHAPES))
def test_weighted_loss_and_gradients(N, D, H, K, dtype):
    assert_agree(weighted(loss_gradients), problem(N, D, H, K, dtype))


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(WEIGHTED_SHAPES))
def test_a_weight_is_a_repetition(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    times = np.arange(N) % 4 if N > 1 else np.array([3])
    rows = np.repeat(np.arange(N), times)
    repeated = loss_gradients(fused, p._replace(X=p.X[rows], y=p.y[rows]))
    results = loss_gradients(fused, p, sample_weight=times.astype(dtype))
    for result, truth in zip(results, repeated, strict=True):
        assert relative_error(result, truth) <= TOLERANCES[dtype]


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(SHAPES))
def test_scores(N, D, H, K, dtype):
    assert_agree(scores_of, problem(N, D, H, K, dtype))


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(SHAPES))
def test_backward(N, D, H, K, dtype):
    assert_agree(backward, problem(N, D, H, K, dtype))


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(SHAPES))
def test_predict(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    best = np.full(N, -1, np.intp)
    assert fused.predict(p.X, p.params, best)
    (scores,) = scores_of(reference, p.astype(np.float64))
    short = scores.max(axis=1) - scores[np.arange(N), best]  # 0, or rounding where two classes are as good
    assert short.max() <= TOLERANCES[dtype] * np.abs(scores).max()
    assert (best == scores.argmax(axis=1)).mean() >= 0.99


@pytest.mark.parametrize("N,D,H,K", [(41, 2, 0, 3), (41, 40, 0, 10), (41, 5, 7, 4)])
def test_of_equal_scores_the_first_class_is_predicted(N, D, H, K):
    p = problem(N, D, H, K)
    best = np.full(N, -1, np.intp)
    W, b, *rest = p.params
    b2 = (rest[1] if rest else b) * 0.0
    b2[1:] = 1.0
    params = (0 * W, b2) if not rest else (W, b, 0 * rest[0], b2)
    assert fused.predict(p.X, params, best)
    np.testing.assert_array_equal(best, 1)


@dtypes
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "N,D,H,K", small_only([(41, 2, 0, 3), (900, 5, 0, 4), (41, 40, 0, 10), (41, 5, 7, 4), (20, 131, 9, 3)])
)
def test_predict_tells_of_rows_that_are_not_finite(N, D, H, K, value, dtype):
    p = problem(N, D, H, K, dtype)
    best = np.empty(N, np.intp)
    for row in {0, 7, 8, N // 2, N - 2, N - 1}:
        for column in {0, D // 2, D - 1}:
            X = p.X.copy()
            X[row, column] = value
            assert not fused.predict(X, p.params, best), (row, column)
    assert fused.predict(p.X, p.params, best)


@dtypes
@pytest.mark.parametrize("N,K", [(1, 2), (8, 3), (513, 5)])
def test_weighted_softmax_cross_entropy(N, K, dtype):
    assert_agree(weighted(softmax), softmax_problem(N, K, dtype))


@dtypes
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # with the JIT off NumPy overflows, aloud
@pytest.mark.parametrize(
    "N,D,H,K", small_only([(41, 2, 0, 3), (41, 5, 0, 4), (41, 2, 7, 3), (41, 3, 7, 3), (41, 5, 7, 4), (20, 131, 9, 3)])
)
def test_a_sum_that_overflows_on_its_way_to_a_hidden_value_or_a_score_shows(N, D, H, K, dtype):
    # the hidden value, or the score, is 0; but an input times its weight is beyond the dtype, of either sign
    p = problem(N, D, H, K, dtype)
    large = np.sqrt(np.finfo(dtype).max)
    for one, other in ((0, D - 1), (D - 1, 0), (D - 2, D - 1)):
        X, W = np.zeros_like(p.X), np.zeros_like(p.params[0])
        X[N - 1, [one, other]] = large * 1000
        W[[one, other], 1] = large / 100, -large / 100  # whose squares do not overflow
        q = p._replace(X=X, y=0 * p.y, params=(W, *p.params[1:]))
        assert not np.isfinite(loss_gradients(fused, q)[0])
        assert not getattr(fused, names(p.params)[1])(X, *q.params, np.empty((N, K), dtype))
        assert not fused.predict(X, q.params, np.empty(N, np.intp))
        q.X[...] = 0
        assert np.isfinite(loss_gradients(fused, q)[0])
        assert fused.predict(q.X, q.params, np.empty(N, np.intp))


@dtypes
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # with the JIT off NumPy overflows, aloud
@pytest.mark.parametrize(
    "N,D,H,K", small_only([(41, 2, 0, 3), (900, 5, 0, 4), (41, 40, 0, 10), (41, 5, 7, 4), (41, 2, 7, 3)])
)
def test_forward_kernels_tell_of_scores_that_overflow(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    best, largest = np.empty(N, np.intp), np.finfo(dtype).max
    W, b, *rest = p.params
    # the score of one class, not the last; by the sign of an input, so that a row may overflow either way
    weights = (rest or [W])[0].copy()
    weights[:, 1] = np.sign(weights[:, 1]) * largest / 16
    params = (W, b, weights, rest[1]) if rest else (weights, b)
    scores = np.empty((N, K), dtype)
    for row in {0, 7, 8, N // 2, N - 2, N - 1}:
        X = np.zeros_like(p.X)
        X[row] = 1000 * p.X[row]
        (getattr(reference, names(params)[1]))(X, *params, scores)
        assert np.isfinite(scores).all(axis=1).argmin() == row and not np.isfinite(scores).all()
        assert not getattr(fused, names(params)[1])(X, *params, scores)
        assert not fused.predict(X, params, best), row
    assert getattr(fused, names(params)[1])(0 * X, *params, scores) and np.isfinite(scores).all()
    assert fused.predict(0 * X, params, best)


SOFTMAX_SHAPES = [
    (N, K, 0, 0) for K in (2, 3, 5, 17) for N in (1, 2, 7, 8, 9, 16, 17, 251, 511, 512, 513, 1024, 1025, 16_385)
] + [(50, 300, 0, 0), (3, 1000, 0, 0), (40_000, 4, 0, 0), (131_073, 3, 0, 0)]


@dtypes
@pytest.mark.parametrize("N,K,_,__", small_only(SOFTMAX_SHAPES))
def test_softmax_cross_entropy(N, K, _, __, dtype):
    assert_agree(softmax, softmax_problem(N, K, dtype))


@dtypes
@pytest.mark.parametrize("K", [2, 3, 10])
def test_softmax_of_huge_scores(K, dtype):
    # exp(1e4) overflows both dtypes, and exp(-2e4) is 0 in both: the loss is a difference of scores
    p = softmax_problem(43, K, dtype, scale=1.0)
    p = p._replace(X=np.where(p.X > 0, dtype(1e4), dtype(-1e4)))
    assert_agree(softmax, p)
    loss, dscores = softmax(fused, p)
    assert np.isfinite(loss) and np.isfinite(dscores).all() and loss > 1000


@dtypes
def test_softmax_of_one_class_far_above(dtype):
    # the loss of a sure and right row is 0, to the last bit; of a sure and wrong one the difference of scores
    scores, dscores = np.array([[1e4, 0, -1e4]] * 2, dtype), np.empty((2, 3), dtype)
    assert fused.softmax_cross_entropy(scores, np.array([0, 0]), dscores) == 0.0
    np.testing.assert_array_equal(dscores, 0)
    assert fused.softmax_cross_entropy(scores, np.array([0, 2]), dscores) == 1e4
    np.testing.assert_array_equal(dscores, [[0, 0, 0], [0.5, 0, -0.5]])


@pytest.mark.parametrize("labels", [np.int8, np.uint8, np.int16, np.uint32, np.int64, ">i4"])
def test_labels_of_any_integer_dtype(labels):
    p = problem(97, 2, 5, 3)
    expected = loss_gradients(fused, p)
    for result, truth in zip(loss_gradients(fused, p._replace(y=p.y.astype(labels))), expected, strict=True):
        np.testing.assert_array_equal(result, truth)


def test_labels_that_lie_eight_bytes_apart_up_to_the_end_of_memory():
    # read as 64-bit integers, of which the last one would end beyond the array
    p = problem(97, 2, 5, 3)
    memory = np.full(96 * 8 + 1, 255, np.uint8)
    y = memory[::8]
    y[...] = p.y
    for result, truth in zip(loss_gradients(fused, p._replace(y=y)), loss_gradients(fused, p), strict=True):
        np.testing.assert_array_equal(result, truth)


# ----------------------------------------------------------------------------------------------------- threads


@pytest.fixture
def started(all_threads, monkeypatch):
    """However small the work, it is shared by all threads that are asked for; the numbers that were."""
    numbers = []
    run, run_threads = passes.Passes.run, threads.run_threads

    def counted_run(self, steps, n_threads=None):
        numbers.append(n_threads or self.n_threads)
        return run(self, steps, n_threads)

    def counted_threads(work, n_threads, stop):
        numbers.append(n_threads)
        run_threads(work, n_threads, stop)

    monkeypatch.setattr(threads, "run_threads", counted_threads)
    monkeypatch.setattr(passes.Passes, "run", counted_run)
    return numbers


def assert_same_bits(function, p, started, n_threads):
    expected = function(fused, p, n_threads=1)
    del started[:]
    results = function(fused, p, n_threads=n_threads)
    assert started == [n_threads]
    for result, truth in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, truth)


# Four chunks at least in every family and dtype: of one tile, of several, and many of them.
THREADED = [
    (5000, 2, 0, 3), (33_001, 6, 0, 3), (140_001, 2, 0, 3),
    (5000, 2, 7, 3), (33_001, 1, 3, 2), (140_001, 2, 3, 3),
    (2501, 3, 7, 4), (17_001, 65, 5, 3), (140_001, 3, 2, 2),
] if JIT else [(97, 2, 0, 3), (97, 2, 3, 3), (97, 3, 3, 4)]  # fmt: skip

# Without the JIT, threads that wait for each other do so in Python, one at a time: two are enough.
thread_counts = pytest.mark.parametrize("n_threads", [2, 3, 4] if JIT else [2])


@dtypes
@thread_counts
@pytest.mark.parametrize("N,D,H,K", THREADED)
@pytest.mark.parametrize(
    "function", [loss_gradients, weighted(loss_gradients), scores_of, backward], ids=lambda f: f.__name__
)
def test_same_bits_from_any_number_of_threads(function, N, D, H, K, n_threads, dtype, started):
    assert_same_bits(function, problem(N, D, H, K, dtype), started, n_threads)


@dtypes
@thread_counts
@pytest.mark.parametrize("N,D,H,K", THREADED)
def test_same_prediction_from_any_number_of_threads(N, D, H, K, n_threads, dtype, started):
    p = problem(N, D, H, K, dtype)
    best = [np.full(N, -1, np.intp) for _ in range(2)]
    assert fused.predict(p.X, p.params, best[0], n_threads=1)
    del started[:]
    assert fused.predict(p.X, p.params, best[1], n_threads=n_threads)
    assert started == [n_threads]
    np.testing.assert_array_equal(*best)


@dtypes
@thread_counts
@pytest.mark.parametrize("N,K", [(5000, 3), (33_001, 10), (300_001, 2)] if JIT else [(97, 3)])
def test_same_softmax_bits_from_any_number_of_threads(N, K, n_threads, dtype, started):
    assert_same_bits(softmax, softmax_problem(N, K, dtype), started, n_threads)
    assert_same_bits(weighted(softmax), softmax_problem(N, K, dtype), started, n_threads)


@pytest.mark.skipif(not JIT, reason="in Python, threads take turns at fixed places")
@pytest.mark.parametrize("N,D,H,K", [(3000, 2, 0, 3), (3000, 2, 20, 3), (3000, 5, 20, 4)])
def test_same_bits_twenty_times(N, D, H, K, started):
    p = problem(N, D, H, K)
    expected = loss_gradients(fused, p, n_threads=1)
    del started[:]
    for _ in range(20):
        for result, truth in zip(loss_gradients(fused, p, n_threads=4), expected, strict=True):
            np.testing.assert_array_equal(result, truth)
    assert started == [4] * 20


@pytest.mark.parametrize("N", [1, 2, 3])
@pytest.mark.parametrize("D,H,K", [(2, 0, 3), (2, 5, 3), (3, 5, 4)])
def test_fewer_rows_than_threads(N, D, H, K, started):
    p = problem(N, D, H, K)
    for function in (loss_gradients, scores_of, backward):
        for result, truth in zip(function(fused, p, n_threads=4), function(reference, p), strict=True):
            assert relative_error(result, truth) <= TOLERANCES[np.float64]


# --------------------------------------------------------------------------------------- what must not happen

ONE_OF_EACH = [(41, 2, 0, 3), (41, 2, 5, 3), (41, 1, 5, 2), (41, 70, 5, 9)]


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_inputs_are_left_alone(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    X, y, params = p.X.copy(), p.y.copy(), [a.copy() for a in p.params]
    for function in (loss_gradients, scores_of, backward):
        function(fused, p)
    np.testing.assert_array_equal(p.X, X)
    np.testing.assert_array_equal(p.y, y)
    for a, before in zip(p.params, params, strict=True):
        np.testing.assert_array_equal(a, before)
    q = softmax_problem(41, K, dtype)
    scores = q.X.copy()
    softmax(fused, q)
    np.testing.assert_array_equal(q.X, scores)


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_a_row_scores_the_same_wherever_it_stands(N, D, H, K, dtype):
    # tiles, pairs of vectors and padding differ between these calls; the result of a row may not
    p = problem(N, D, H, K, dtype)
    (scores,) = scores_of(fused, p)
    for rows in (*(slice(i, i + 1) for i in range(N)), slice(3, 20), slice(0, 33), slice(8, 41)):
        (part,) = scores_of(fused, p._replace(X=np.ascontiguousarray(p.X[rows])))
        np.testing.assert_array_equal(part, scores[rows])


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_padding_rows_weigh_nothing(N, D, H, K, dtype):
    # Losses of rows on their own add up to that of all. Padding repeats the last row, here with enormous scores:
    # any of it that leaked would be seen.
    p = problem(N, D, H, K, dtype)
    p.X[-1] *= 1000
    whole = loss_gradients(fused, p._replace(y=p.y[:N]))
    parts = [loss_gradients(fused, p._replace(X=p.X[i : i + 1], y=p.y[i : i + 1])) for i in range(N)]
    for result, values in zip(whole, zip(*parts, strict=True), strict=True):
        total = sum(np.asarray(v, np.float64) for v in values) / N
        # one more rounding of N results than in TOLERANCES, which the large row multiplies where others cancel
        assert relative_error(result, total) <= 4 * TOLERANCES[dtype]


def with_entry(p, i, place, value):
    """The problem with one entry of one parameter replaced: the first of its first row, or its very last."""
    params = [a.copy() for a in p.params]
    params[i].reshape(-1)[place] = value
    return p._replace(params=tuple(params))


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_a_parameter_that_is_no_number_shows_in_the_loss(N, D, H, K, dtype):
    # ReLU must not make 0 of NaN; and the last class, which serves as origin, must show it too
    p = problem(N, D, H, K, dtype)
    for i in range(len(p.params)):
        for place in (0, -1):
            assert np.isnan(loss_gradients(fused, with_entry(p, i, place, np.nan))[0]), (i, place)


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_an_infinite_class_bias_shows_in_the_loss(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    for place in (0, -1):
        assert not np.isfinite(loss_gradients(fused, with_entry(p, -1, place, np.inf))[0])


@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_large_weights_give_the_loss_of_the_reference(N, D, H, K):
    # scores of about 10^4: probabilities of exactly 0 and 1
    p = problem(N, D, H, K)
    p = p._replace(params=tuple(a * 1e2 for a in p.params))
    assert_agree(loss_gradients, p)


def test_arrays_that_do_not_fit_are_refused_before_anything_is_written():
    p = problem(9, 2, 5, 3)
    W, b, W2, b2 = p.params
    out = p.outputs()
    cases = [
        (ValueError, "W2", (p.X, p.y, W, b, W2[:-1], b2, REG, *out)),
        (ValueError, "X is not C-contiguous", (np.asfortranarray(p.X), p.y, W, b, W2, b2, REG, *out)),
        (TypeError, "W has dtype", (p.X.astype(np.float32), p.y, W, b, W2, b2, REG, *out)),
        (ValueError, "dW", (p.X, p.y, W, b, W2, b2, REG, out[0].T, *out[1:])),
        (ValueError, "y holds label 3", (p.X, p.y * 0 + 3, W, b, W2, b2, REG, *out)),
        (ValueError, "y holds label -1", (p.X, p.y * 0 - 1, W, b, W2, b2, REG, *out)),
        (ValueError, "y has 8 labels", (p.X, p.y[:8], W, b, W2, b2, REG, *out)),
        (ValueError, "sample_weight has shape", (p.X, p.y, W, b, W2, b2, REG, *out, np.ones(8))),
        (TypeError, "sample_weight has dtype", (p.X, p.y, W, b, W2, b2, REG, *out, np.ones(9, int))),
    ]
    for error, message, arguments in cases:
        with pytest.raises(error, match=message):
            fused.two_layer_loss_gradients(*arguments)
    assert all(np.isnan(a).all() for a in out)
