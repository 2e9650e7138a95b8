"""Which leaves of the one tree belong to which rank: a contiguous range of them each, in the order of the ranks.

Every rank works this out by itself, for all of them, from the same few numbers.
"""

from collections.abc import Sequence

SLACK = 64  # a cut may lie one such part of a rank's share aside: that leaves 7 to 8 roots a rank instead of 2 log2


def even_ranges(n_leaves: int, size: int) -> list[tuple[int, int]]:
    """(first, last) leaf of each rank: even shares, cut at as large a subtree as lies within the slack."""
    slack, cuts = n_leaves // size // SLACK, [0]
    for rank in range(1, size):
        target = n_leaves * rank // size
        low, high, level = max(target - slack, cuts[-1]), target + slack, 0
        while high and high >> (level + 1) << (level + 1) >= max(low, 1):
            level += 1
        cuts.append(high >> level << level)
    cuts.append(n_leaves)
    return list(zip(cuts, cuts[1:], strict=False))


def held_ranges(firsts: Sequence[int], leaf_rows: int) -> list[tuple[int, int]]:
    """The same where rows lie cut anywhere: a leaf is that of the rank that holds its first row.

    firsts (size + 1,): the number of the first row of each rank, and of all rows.
    """
    cuts = [-(-first // leaf_rows) for first in firsts]
    return list(zip(cuts, cuts[1:], strict=False))


def rows_needed(firsts: Sequence[int], leaf_rows: int) -> list[int]:
    """Where the rows of each rank's leaves end, at least where those that it holds do."""
    N = firsts[-1]
    return [
        max(min(last * leaf_rows, N), end) if last > first else end
        for (first, last), end in zip(held_ranges(firsts, leaf_rows), firsts[1:], strict=True)
    ]
