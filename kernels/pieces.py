"""Sums over rows that come piece by piece, from files, say, or from another process: leaf after leaf, along the tree.

What loop.py does over rows in memory, where one call sees all of them, cut in two: `adding` adds up leaves as far as
their rows have come, for one thread and one subtree of them; `closing` does with the total what ends a step. Who reads,
who computes which leaves and who adds up their roots is decided outside.
"""

from numba import njit

from .loop import LOSS, WEIGHT, add_row, clear_row, packing
from .rows import WHOLE
from .steps import close_of
from .updates import apply
from .vectors import ENTRY

FIRST, LEAF, ROW, TOP, PACKED = range(5)  # places in a cursor: how far a subtree has come
CURSOR_SIZE = 5


def adding(kernels):
    """The jitted function that adds up rows with these tile kernels."""
    pack, add_rows = packing(kernels), WHOLE.add_rows(kernels)

    @njit(**ENTRY)
    def add_piece(X, y, start, N, theta, cut, model, workspace, sums, cursor, sync):
        """Rows [start, start + len(X)) of N, where the cursor stands, a whole number of tiles but for a leaf's last.

        y as of the loop, of these rows; theta (1, P) the parameters, packed anew where cursor[PACKED] is not 0. sums
        (depth, P + 16): the roots of what has come so far, the last of them perhaps of a leaf that is not whole; where
        the subtree is complete, its root is sums[0].
        """
        P, D = theta.shape[1], X.shape[1]
        if cursor[PACKED] != 0:
            pack(theta, 0, D, model.H, model.K, cut.tile_rows, workspace)
            cursor[PACKED] = 0
        first, leaf, row, top = cursor[FIRST], cursor[LEAF], cursor[ROW], cursor[TOP]
        stop = start + X.shape[0]
        while row < stop:
            end = (leaf + 1) * cut.leaf_rows
            end = end if end < N else N
            if row == leaf * cut.leaf_rows:
                clear_row(sums, top)
            last = end if end < stop else stop
            add_rows(
                X, y, theta, 0, 0, row - start, last - start, X.shape[0], D, model.H, model.K, cut.tile_rows, workspace,
                sums, top, sync,
            )  # fmt: skip
            row = last
            if row == end:
                done = leaf - first
                while done & 1:
                    add_row(sums, top - 1, top, 0, P + 8)
                    top -= 1
                    done >>= 1
                top += 1
                leaf += 1
        cursor[LEAF], cursor[ROW], cursor[TOP] = leaf, row, top

    getattr(add_piece, "py_func", add_piece).kernel_name = f"pieces-{kernels.name}"
    return add_piece


def closing(update):
    """The jitted function that makes a step of this update from the total of its sums."""
    apply_update, close, versions = apply(update), close_of(update), update.versions

    @njit(**ENTRY)
    def close_step(first, n_weights, like, memory):
        """From the total in memory.sums[0] to the next parameters and what else a step leaves; `first` is the step that
        memory.losses begins with. like: an array of the dtype that is computed with."""
        theta, state, sums, losses, status, _, _, settings, numbers, solver = memory
        P, step = theta.shape[1], status[0]
        now, then = step % versions, (step + 1) % versions
        total = sums[0, P + WEIGHT]
        middle = n_weights if n_weights < P else P
        apply_update(theta, state, now, then, sums, 0, middle, P, 1.0 / total, settings, like)
        close(
            step, first, now, then, sums[0, P + LOSS], total, n_weights, like, theta, state, settings, numbers, status,
            losses, solver,
        )  # fmt: skip

    getattr(close_step, "py_func", close_step).kernel_name = f"closing-{update.name}"
    return close_step
