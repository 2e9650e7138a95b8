"""Rows that come piece by piece: the same bits as in memory, whoever adds which leaves, cut wherever."""

import hashlib
import pickle
import threading

import numpy as np
import pytest
from problems import JIT

from spiralnn.checks.labels import class_labels
from spiralnn.checks.weights import class_totals, training_weights
from spiralnn.engine import folding
from spiralnn.engine.curvature import Curvature
from spiralnn.engine.evaluation import Evaluation
from spiralnn.engine.folding import Threads, pieces, units
from spiralnn.engine.identity import Digests, digests
from spiralnn.engine.plan import Plan
from spiralnn.engine.statistics import column_statistics, stream_statistics
from spiralnn.engine.streaming import GradientAdder, Gradients, Stream
from spiralnn.engine.survey import ClassTotals, coding_of, survey, surveyed
from spiralnn.kernels import reference
from spiralnn.kernels.models import Model
from spiralnn.kernels.tree import Forest, Node, add_rows_of_sums, maximal_subtrees
from spiralnn.rows.coded import Coded, Coding
from spiralnn.rows.rows import Rows
from spiralnn.rows.source import RowError

pytestmark = pytest.mark.skipif(not JIT, reason="compiled loops")

SHAPES = [(1, 2, 5, 3), (300, 2, 100, 3), (20_001, 28, 16, 2), (9_001, 5, 0, 4), (50_003, 2, 0, 3), (3_000, 3, 7, 300)]

# either dtype, with weights or without, and in the long form both
either_dtype = pytest.mark.parametrize(
    "dtype, weighted",
    [
        (np.float64, False),
        (np.float32, True),
        pytest.param(np.float64, True, marks=pytest.mark.long),
        pytest.param(np.float32, False, marks=pytest.mark.long),
    ],
)


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of a few rows, and threads for however little there is to do."""
    monkeypatch.setattr(folding, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(folding, "threads_for", lambda flops, parts, wanted: wanted)


def make(N, D, K, dtype, weighted, seed=0):
    random = np.random.default_rng([N, D, K, seed])
    X = (random.standard_normal((N, D)) * random.random(D) * 3 + random.standard_normal(D)).astype(dtype)
    y = random.integers(0, K, N)
    y[: min(N, K)] = np.arange(min(N, K))
    weights = np.where(random.random(N) < 0.3, 0.0, random.random(N)) if weighted else None
    if weighted:
        weights[0] = 1.0
    return X, y, weights


def stream_of(X, y, weights=None, class_weight=None, n_threads=2):
    collector = Threads(Rows.of(X, y, weights), n_threads)
    return Stream(collector, surveyed(collector, class_weight, np.arange(max(2, y.max() + 1))))


@either_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_evaluation_has_the_bits_of_rows_in_memory(shape, dtype, weighted, small_pieces):
    N, D, H, K = shape
    X, y, own = make(N, D, K, dtype, weighted)
    weights = None if own is None else own.astype(dtype)
    model = Model(D, H, K)
    theta = np.random.default_rng(1).standard_normal(model.size) / 3
    of_array, of_stream = np.empty(model.size), np.empty(model.size)
    loss = Evaluation(model, X, y, weights, 0.1)(theta, of_array)
    for n_threads in (1, 3):
        stream = stream_of(X, y, own, n_threads=n_threads)._replace(coding=Coding(np.arange(K)))
        assert Evaluation(model, stream, None, None, 0.1)(theta, of_stream) == loss
        np.testing.assert_array_equal(of_stream, of_array)


@either_dtype
def test_a_hessian_has_the_bits_of_rows_in_memory(dtype, weighted, small_pieces):
    X, y, own = make(9_001, 5, 4, dtype, weighted)
    model, affine = Model(5, 0, 4), np.array([np.full(5, 0.25), np.full(5, 0.5)])
    found = []
    for rows in ((X, y, None if own is None else own.astype(dtype)), (stream_of(X, y, own), None, None)):
        gradient, hessian = np.zeros((6, 4)), np.zeros((18, 18))
        loss = Curvature(model, *rows, affine)(np.full((6, 4), 0.125), gradient, hessian)
        found.append((loss, gradient, hessian))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_array_equal(found[0][2], found[1][2])


@either_dtype
def test_means_and_variances_have_the_bits_of_rows_in_memory(dtype, weighted, small_pieces):
    X, y, own = make(9_001, 5, 4, dtype, weighted)
    X[0] = 1e6
    weights = None if own is None else own.astype(dtype)
    for a, b in zip(column_statistics(X, weights), stream_statistics(stream_of(X, y, own)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_caller_does_the_first_piece_of_a_new_work_and_compiles_for_all(small_pieces, monkeypatch):
    X, y, _ = make(20_001, 5, 3, np.float64, False)
    stream, model, done = stream_of(X, y), Model(5, 4, 3), []
    work, add = Gradients(model, len(X), 8, stream.coding), GradientAdder.add

    def recorded(self, start, stop):
        done.append((threading.current_thread() is threading.main_thread(), start))
        add(self, start, stop)

    monkeypatch.setattr(GradientAdder, "add", recorded)
    theta = np.full((1, model.padded_size), 0.125)
    for expected in (True, False):  # a first pass and a second
        done.clear()
        stream.collector.total(work, theta)
        by_caller = [start for is_main, start in done if is_main]
        assert (0 in by_caller) == expected == bool(by_caller) and len(by_caller) < len(done) / 4


def test_a_range_of_leaves_cut_anywhere_folds_to_the_same_sums(small_pieces):
    X, y, _ = make(20_001, 5, 3, np.float64, False)
    stream, model = stream_of(X, y), Model(5, 4, 3)
    work = pickle.loads(pickle.dumps(Gradients(model, len(X), 8, stream.coding)))
    theta = np.full((1, model.padded_size), 0.125)
    whole = stream.collector.total(work, theta)
    random = np.random.default_rng(0)
    for n_ranges in (2, 3, 7):
        cuts = [0, *np.sort(random.integers(0, work.plan.n_leaves + 1, n_ranges - 1)).tolist(), work.plan.n_leaves]
        forest = Forest(work.merge)
        for i in random.permutation(n_ranges).tolist():
            part = stream.collector.forest(work, theta, cuts[i], cuts[i + 1])
            roots = part.roots()
            assert [node for node, _ in roots] == maximal_subtrees(cuts[i], cuts[i + 1])
            for node, value in roots:
                forest.add(node, value)
        np.testing.assert_array_equal(forest.total(), whole)


def test_a_forest_adds_as_the_reference_does():
    random = np.random.default_rng(0)
    for n in (1, 2, 3, 7, 100, 129):
        sums = random.standard_normal((n, 5))
        forest = Forest(add_rows_of_sums)
        for i in random.permutation(n).tolist():
            forest.add(Node(0, i), sums[i].copy())
        np.testing.assert_array_equal(forest.total(), reference.combine(sums.copy()))


def test_a_forest_keeps_the_order_of_neighbours():
    for n in (1, 2, 6, 13):
        forest = Forest(lambda left, right: left + right)
        for i in np.random.default_rng(n).permutation(n).tolist():
            forest.add(Node(0, i), [i])
        assert forest.total() == list(range(n))


@pytest.mark.parametrize("plan, N", [(Plan(8, 32, 7), 199), (Plan(8, 32, 1), 5), (Plan(16, 1024, 3), 2_100)])
@pytest.mark.parametrize("most", [8, 64, 100_000])
def test_pieces_are_whole_tiles_and_cover_all_rows(plan, N, most):
    most = max(plan.tile_rows if most < plan.leaf_rows else plan.leaf_rows, most // plan.leaf_rows * plan.leaf_rows)
    rows = 0
    for node in units(0, plan.n_leaves, 1):
        for start, stop in pieces(node.first, node.last, plan, N, most):
            assert start == rows and 0 < stop - start <= most
            assert start % plan.leaf_rows % plan.tile_rows == 0
            assert stop % plan.leaf_rows % plan.tile_rows == 0 or stop == N
            rows = stop
    assert rows == N


# ----------------------------------------------------------------------------------------------------- the first pass


@pytest.mark.parametrize(
    "labels",
    [np.array([3, 5, 9]), np.array([0, 1, 2]), np.array([-5, 0, 70_000]), np.array([False, True]),
     np.array(["a", "bc", "d"]), np.array([1.0, 2.0, 1e9]), np.array([0, 2**63], np.uint64),
     np.array([-128, 127], np.int8)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("weighted", [False, True])
def test_targets_are_those_of_arrays(labels, class_weight, weighted, small_pieces):
    X, y, own = make(5_000, 3, len(labels), np.float32, weighted)
    if own is not None:
        own *= 1e-20  # which is scaled
    y = labels[y]
    classes, places = class_labels(y, len(y))
    weights = training_weights(own, class_weight, classes, places, X.dtype)
    collector = Threads(Rows.of(X, y, own), 3)
    coded = Coded(collector.rows, surveyed(collector, class_weight))
    np.testing.assert_array_equal(coded.classes, classes)
    assert coded.classes.dtype == classes.dtype
    buffers = coded.buffers(1_000)
    for start in range(0, 5_000, 1_000):
        part = slice(start, start + 1_000)
        rows, targets = coded.piece(start, start + 1_000, buffers)
        np.testing.assert_array_equal(rows, X[part])
        found, *found_weights = targets if isinstance(targets, tuple) else (targets,)
        np.testing.assert_array_equal(found[:, 0], places[part])
        assert len(found_weights) == (weights is not None)
        if weights is not None:
            np.testing.assert_array_equal(found_weights[0], weights[part])


def test_weights_of_classes_are_added_up_along_the_tree(small_pieces):
    X, y, own = make(20_001, 3, 4, np.float64, True)
    collector = Threads(Rows.of(X, y, own), 3)
    coding = coding_of(collector, survey(collector), None, np.arange(4))
    np.testing.assert_array_equal(collector.total(ClassTotals(len(X), coding)), class_totals(y, own, 4))
    np.testing.assert_allclose(class_totals(y, own, 4), np.bincount(y, own, 4), rtol=1e-13)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda X, y, w: X.__setitem__((7_003, 1), np.nan), r"X holds NaN at \[7003, 1\].*row 7003"),
        (lambda X, y, w: X.__setitem__((7_003, 2), -np.inf), r"X holds infinity at \[7003, 2\]"),
        (lambda X, y, w: w.__setitem__(7_003, np.nan), r"sample_weight holds NaN at \[7003\]"),
        (lambda X, y, w: w.__setitem__(7_003, -1.0), r"-1 at \[7003\].*row 7003"),
        (lambda X, y, w: y.__setitem__(7_003, 0.5), "Unknown label type: continuous"),
    ],
)
def test_the_first_row_that_is_wrong_is_named(spoil, message, n_threads, small_pieces):
    X, y, w = make(20_001, 3, 4, np.float64, True)
    y = y.astype(np.float64)
    spoil(X, y, w)
    X[15_000] = np.nan
    with pytest.raises(RowError, match=message):
        surveyed(Threads(Rows.of(X, y, w), n_threads), None)


def test_labels_are_checked_against_classes_that_are_known(small_pieces):
    X, y, _ = make(5_000, 3, 4, np.float64, False)
    with pytest.raises(ValueError, match=r"y holds label 3, which is not among the classes \[0, 1, 2\]"):
        surveyed(Threads(Rows.of(X, y), 2), None, np.arange(3))
    with pytest.raises(ValueError, match=r"y holds 1 class \(0\)"):
        surveyed(Threads(Rows.of(X, np.zeros(len(y), int)), 2), None)
    with pytest.raises(ValueError, match="zero in every row"):
        surveyed(Threads(Rows.of(X, y, np.zeros(len(y))), 2), None)
    with pytest.raises(ValueError, match="leave every row a weight of 0"):
        surveyed(Threads(Rows.of(X, y), 2), dict.fromkeys(range(4), 0.0))
    coded = Coded(Rows.of(X, y), Coding(np.arange(3)))
    row = int(np.flatnonzero(y == 3)[0])
    with pytest.raises(RowError, match=rf"y holds label 3.*row {row}"):
        coded.targets(0, len(y), coded.target_buffers(len(y)))


# ----------------------------------------------------------------------------------------------------------- digests


def test_digests_do_not_depend_on_threads_or_pieces(monkeypatch):
    X, y, w = make(20_001, 5, 4, np.float64, True)
    coding = Coding(np.arange(4))
    found = digests(Threads(Rows.of(X, y, w), 1), coding)
    assert set(found) == {"X", "y", "sample_weight or class_weight"}
    monkeypatch.setattr(folding, "PIECE_BYTES", 1 << 13)
    monkeypatch.setattr(folding, "threads_for", lambda flops, parts, wanted: wanted)
    assert digests(Threads(Rows.of(X, y, w), 3), coding) == found
    for name, array in (("X", X), ("y", y), ("sample_weight or class_weight", w)):
        before = array[9_000].copy()
        array[9_000] = 1 - before if name == "y" else before + 1
        changed = digests(Threads(Rows.of(X, y, w), 2), coding)
        assert [key for key in found if changed[key] != found[key]] == [name]
        array[9_000] = before
    assert digests(Threads(Rows.of(X[:-1], y[:-1], w[:-1]), 2), coding)["X"] != found["X"]


def test_a_digest_is_that_of_leaves_and_of_two_neighbours():
    X, y, _ = make(5_000, 2, 2, np.float64, False)
    work = Digests(5_000, 2, 8, Coding(np.arange(2)))
    assert work.plan.n_leaves == 2
    leaves = [hashlib.sha256(part.tobytes()).digest() for part in np.split(X, [work.plan.leaf_rows])]
    assert Threads(Rows.of(X, y), 1).total(work)[0] == hashlib.sha256(b"".join(leaves)).digest()
