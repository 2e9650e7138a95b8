"""The tree: any cut into ranges, in any order, adds up to the bits of the definition."""

import numpy as np
import pytest

from spiralnn.kernels import reference, tree
from spiralnn.kernels.tree import Node

pytestmark = pytest.mark.kernels

NUMBERS = [1, 2, 3, 4, 5, 7, 8, 11, 16, 31, 33, 100, 255, 256, 257, 1000]


def leaves(n, seed=0):
    """Rows whose sum depends on the order of additions."""
    random = np.random.default_rng([n, seed])
    return random.standard_normal((n, 3)) * 10.0 ** random.integers(-8, 8, (n, 3))


def add(rows, pairs):
    for to, place in pairs:
        rows[to] = rows[to] + rows[place]


def roots_of(rows, first, last, most):
    """What whoever has leaves [first, last) hands out: nodes and their sums, from blocks of leaves."""
    blocks = tree.blocks(first, last, most)
    nodes = tree.maximal_subtrees(first, last)
    sums = [reference.combine(rows[a:b]) for a, b in blocks.leaves]
    add(sums, blocks.additions[: len(blocks.additions) - max(len(blocks.roots) - 1, 0)])
    return nodes, [sums[i] for i in blocks.roots]


def fold(nodes, sums):
    """The total of the roots of neighbouring ranges that hold all leaves."""
    sums = list(sums)
    pairs, rest = tree.additions(nodes)
    add(sums, pairs + tree.loose_ends([place for place, _ in rest]))
    return sums[0]


def test_the_order_is_that_of_the_definition_by_hand():
    a = leaves(7)
    expected = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + a[6])
    np.testing.assert_array_equal(reference.combine(a), expected)
    assert (expected != a.sum(axis=0)).any()  # so order is seen in these numbers


@pytest.mark.parametrize("n", NUMBERS)
@pytest.mark.parametrize("most", [1, 3, 16, 256])
def test_blocks_add_up_to_the_total(n, most):
    rows = leaves(n)
    blocks = tree.blocks(0, n, most)
    assert len(blocks.leaves) <= most + n.bit_length()
    assert [*blocks.leaves[:, 0], n] == [0, *blocks.leaves[:, 1]]
    sums = [reference.combine(rows[a:b]) for a, b in blocks.leaves]
    add(sums, blocks.additions)
    np.testing.assert_array_equal(sums[0], reference.combine(rows))
    assert max(b - a for a, b in blocks.leaves) == 1 << blocks.depth


@pytest.mark.parametrize("n", NUMBERS)
def test_any_ranges_hand_out_roots_that_add_up_to_the_total(n):
    random = np.random.default_rng(n)
    rows = leaves(n)
    for _ in range(20):
        cuts = np.sort(random.integers(0, n + 1, random.integers(0, 12)))
        ranges = list(zip([0, *cuts], [*cuts, n], strict=True))  # empty ones, too
        nodes, sums = [], []
        for first, last in ranges:
            some_nodes, some_sums = roots_of(rows, int(first), int(last), int(random.integers(1, 40)))
            assert len(some_nodes) == len(some_sums) <= 2 * max(1, n.bit_length())
            nodes += some_nodes
            sums += some_sums
        np.testing.assert_array_equal(fold(nodes, sums), reference.combine(rows))


def test_maximal_subtrees_by_hand():
    assert tree.maximal_subtrees(0, 8) == [Node(3, 0)]
    assert tree.maximal_subtrees(5, 13) == [Node(0, 5), Node(1, 3), Node(2, 2), Node(0, 12)]
    assert tree.maximal_subtrees(3, 3) == []
    assert (Node(2, 2).first, Node(2, 2).last) == (8, 12)


@pytest.mark.parametrize("n", [10**6, 10**9 // 3072, 10**12 // 3072])
def test_memory_for_sums_does_not_grow_with_the_number_of_leaves(n):
    blocks = tree.blocks(0, n, 256)
    assert len(blocks.leaves) <= 256 + n.bit_length()
    assert blocks.depth <= n.bit_length() - 7
