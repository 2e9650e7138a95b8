"""The order of rows: a permutation, the same however it is made, another in each epoch, and no order more likely."""

import itertools
from collections import Counter

import numpy as np
import pytest

from spiralnn.kernels.order import shuffle

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # with the JIT off NumPy wraps around, aloud
]

SIZES = [1, 2, 3, 100, 10_007]
SEEDS = [0, 1, 12_345, 2**31 - 1]

_WORD = 2**64 - 1


def order_of(n, seed, epoch):
    order = np.arange(n, dtype=np.uint32)
    shuffle(order, seed, epoch, 0, n)
    return order


def mixed(x):
    """splitmix64's finaliser, in whole numbers."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _WORD
    return x ^ x >> 31


def twin(n, seed, epoch):
    """The shuffle as the books have it, in Python's numbers, which do not wrap around."""
    golden, rows = 0x9E3779B97F4A7C15, list(range(n))
    start = mixed(seed * golden + epoch + golden & _WORD)
    for i in range(n):
        j = (mixed(start + i * golden & _WORD) >> 32) * (i + 1) >> 32
        rows[i], rows[j] = rows[j], rows[i]
    return rows


def chi_square(counts, expected):
    return sum((count - expected) ** 2 / expected for count in counts)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_a_permutation_and_its_twin_to_the_last_bit(n, seed):
    for epoch in (0, 1, 77):
        order = order_of(n, seed, epoch)
        assert order.dtype == np.uint32
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
        np.testing.assert_array_equal(order, twin(n, seed, epoch))


def test_the_numbers_behind_it_are_those_of_splitmix64():
    # the first outputs of the generator of seed 1234567, as its authors' code has them
    golden, seed = 0x9E3779B97F4A7C15, 1234567
    found = [mixed(seed + i * golden & _WORD) for i in range(1, 4)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("n", [3, 100, 10_007])
def test_it_does_not_matter_how_it_is_cut(n):
    expected, random = order_of(n, 5, 3), np.random.default_rng(n)
    for _ in range(5):
        cuts = [0, *np.sort(random.integers(0, n + 1, 4)).tolist(), n]
        order = np.arange(n, dtype=np.uint32)
        for first, last in itertools.pairwise(cuts):
            shuffle(order, 5, 3, first, last)
        np.testing.assert_array_equal(order, expected)


def test_rows_that_are_numbered_otherwise_are_moved_alike():
    rows = np.array([7, 3, 900, 12, 55], np.uint32)
    moved = rows.copy()
    shuffle(moved, 2, 9, 0, 5)
    np.testing.assert_array_equal(moved, rows[order_of(5, 2, 9)])


def test_epochs_and_seeds_differ():
    orders = {order_of(100, seed, epoch).tobytes() for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


# Chi-square: a sum that a fair shuffle exceeds once in 1000; 5, 35 and 16 degrees of freedom. All numbers are fixed.


def test_all_orders_of_three_are_as_likely():
    n = 6000
    for vary in (lambda i: (0, i), lambda i: (i, 0), lambda i: (i, i)):
        counts = Counter(tuple(order_of(3, *vary(i)).tolist()) for i in range(n))
        assert set(counts) == set(itertools.permutations(range(3)))
        assert chi_square(counts.values(), n / 6) < 20.5


def test_an_epoch_tells_nothing_of_the_next_nor_a_seed_of_the_next():
    n = 9000
    for step in ((0, 1), (1, 0)):
        pairs = Counter()
        for i in range(n):
            seed, epoch = (3, i) if step == (0, 1) else (i, 3)
            pairs[order_of(3, seed, epoch).tobytes(), order_of(3, seed + step[0], epoch + step[1]).tobytes()] += 1
        assert len(pairs) == 36
        assert chi_square(pairs.values(), n / 36) < 66.6


def test_any_row_may_come_to_any_place():
    n = 5000
    counts = np.zeros((5, 5))
    for epoch in range(n):
        counts[np.arange(5), order_of(5, 1, epoch)] += 1
    # rows and columns of the table have fixed sums: 16 degrees of freedom
    assert chi_square(counts.ravel(), n / 5) * 4 / 5 < 39.3
