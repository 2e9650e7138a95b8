"""The one fixed binary tree along which the sums of leaves are added.

Leaves are numbered from the first row on. Node (level, i) is the sum of leaves [i 2^level, (i + 1) 2^level): siblings
are added wherever both are whole; what is left over at the end of all leaves is added from the right to the left. A
range of leaves is at most 2 log2 nodes, its maximal subtrees: their sums, its roots, are all that anybody else needs of
it. Whoever computed a leaf, in whatever order, the total has the same bits.

Twin: `reference.combine`, which follows from the definition alone.
"""

from typing import NamedTuple

import numpy as np


class Node(NamedTuple):
    """The subtree of leaves [i 2^level, (i + 1) 2^level)."""

    level: int
    i: int

    @property
    def first(self):
        return self.i << self.level

    @property
    def last(self):
        return (self.i + 1) << self.level


class Blocks(NamedTuple):
    """How a range of leaves is handed out, and how its sums are added up again; int64 arrays.

    leaves (n, 2): first and last leaf of each block, a whole subtree. additions (m, 2): rows (to, from) of the blocks'
    sums, in order. Without the last len(roots) - 1 of them the roots of the range are left, in rows `roots`; with them
    the total is in row 0.
    """

    leaves: np.ndarray
    additions: np.ndarray
    roots: np.ndarray
    depth: int  # levels of the largest block


def maximal_subtrees(first, last):
    """The nodes that leaves [first, last) are made of, each as large as can be, from the left to the right."""
    nodes = []
    while first < last:
        level = (last - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        nodes.append(Node(level, first >> level))
        first += 1 << level
    return nodes


def additions(nodes):
    """(pairs, rest): the additions (to, from) that are left between nodes of neighbouring ranges, by place in the list.

    pairs are those of siblings; what then stands, in `rest`, are the roots of all the ranges together.
    """
    pairs, rest = [], []
    for place, node in enumerate(nodes):
        while rest and node.i & 1 and rest[-1][1] == Node(node.level, node.i - 1):
            to = rest.pop()[0]
            pairs.append((to, place))
            place, node = to, Node(node.level + 1, node.i >> 1)
        rest.append((place, node))
    return pairs, rest


def loose_ends(places):
    """The additions (to, from) that make one total of the roots of all leaves, from the right to the left."""
    return list(zip(places[-2::-1], places[:0:-1], strict=True))


def blocks(first, last, most):
    """Leaves [first, last) as at most `most` blocks of equal size, or a few more at the ends of the range."""
    level = 0
    while (last - first) >> level > most:
        level += 1
    nodes = []
    for node in maximal_subtrees(first, last):
        below = max(node.level - level, 0)
        nodes += [Node(node.level - below, (node.i << below) + j) for j in range(1 << below)]
    pairs, rest = additions(nodes)
    places = [place for place, _ in rest]
    return Blocks(
        np.array([(node.first, node.last) for node in nodes], np.int64).reshape(-1, 2),
        np.array(pairs + loose_ends(places), np.int64).reshape(-1, 2),
        np.array(places, np.int64),
        max((node.level for node in nodes), default=0),
    )


class Forest:
    """Whatever is made of leaves, added up along the tree as it comes, in any order: sums, or anything that
    merge(left, right) makes one of two neighbours. merge may write to both, and returns one of them.

    What waits for its sibling is all that is held: a logarithm of the leaves, where these come about in order.
    """

    def __init__(self, merge):
        self._merge = merge
        self._values = {}

    def add(self, node, value):
        """The value of a whole node. The forest takes it over."""
        level, i = node
        while (sibling := self._values.pop((level, i ^ 1), None)) is not None:
            value = self._merge(sibling, value) if i & 1 else self._merge(value, sibling)
            level, i = level + 1, i >> 1
        self._values[level, i] = value

    def roots(self):
        """(Node, value) from the left to the right: once all leaves of a range are there, its maximal subtrees."""
        found = [(Node(*place), value) for place, value in self._values.items()]
        return sorted(found, key=lambda root: root[0].first)

    def total(self):
        """The one value of all leaves, once they are all there."""
        *others, (_, total) = self.roots()
        for _, value in reversed(others):
            total = self._merge(value, total)
        return total


def add_rows_of_sums(left, right):
    """left += right: how a Forest merges rows of sums."""
    left += right
    return left
