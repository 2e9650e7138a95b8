"""The rows that a scaling run trains on, in memory and in files, and the losses that they must come to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import make_spiral
from ..kernels.models import Model
from ..rows.opening import open_rows
from ..rows.rows import Rows
from ..solvers.choice import GD
from ..solvers.descent import Descent
from ..solvers.problem import Problem
from ..solvers.quasi_newton import Lbfgs
from .cases import Case
from .estimates import PERIOD

STEP_SIZE, REG = 0.1, 1e-3
KEPT_LOSSES = 2  # of every case, which the reference has, too: the second depends on every gradient
BLOCK_ROWS = 100 * PERIOD  # that are written at a time


class Files(NamedTuple):
    """Rows in files. N: how many."""

    X: Path
    y: Path
    N: int

    @property
    def n_bytes(self) -> int:
        return self.X.stat().st_size + self.y.stat().st_size

    def forget(self) -> None:
        """Have the system give back the memory that it holds their pages in."""
        for path in (self.X, self.y):
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def remove(self) -> None:
        for path in (self.X, self.y):
            path.unlink(missing_ok=True)


def make_rows(N: int, D: int, K: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """X (N, D) and labels (N,) uint8: a shuffled spiral, or noisy regions of D inputs, repeated every PERIOD rows.

    Drawing 10^8 rows one by one would take longer than measuring them, and the loss of any N would not be known.
    """
    some_X, some_y = _period(D, K)
    X, y = np.empty((N, D), dtype), np.empty(N, np.uint8)
    done = min(N, PERIOD)
    X[:done], y[:done] = some_X[:done], some_y[:done]
    while done < N:  # whole periods lie before `done`, which doubles up to a size that caches hold
        count = min(done, BLOCK_ROWS, N - done)
        X[done : done + count], y[done : done + count] = X[:count], y[:count]
        done += count
    return X, y


def _period(D: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    if D == 2:
        X, y = make_spiral(-(-PERIOD // K), K, random_state=0)
        order = random.permutation(len(X))[:PERIOD]
        return X[order], y[order]
    X = random.randn(PERIOD, D)
    return X, (X @ random.randn(D, K) + random.randn(PERIOD, K)).argmax(axis=1)


def write_rows(folder: Path, X: np.ndarray, y: np.ndarray) -> Files:
    """Both as .npy, on the disk when this returns. OSError when they cannot be written."""
    name = f"{X.dtype.name}-{X.shape[1]}-{int(y[:PERIOD].max()) + 1}"
    files = Files(folder / f"scale-X-{name}.npy", folder / f"scale-y-{name}.npy", len(X))
    try:
        for path, array in ((files.X, X), (files.y, y)):
            with open(path, "wb") as file:
                header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, len(array), BLOCK_ROWS):
                    file.write(array[start : start + BLOCK_ROWS].data)
                file.flush()
                os.fsync(file.fileno())  # pages that are not on the disk cannot be forgotten
    except BaseException:
        files.remove()
        raise
    return files


def first_rows(files: Files, N: int) -> Rows:
    """N rows of files that hold more."""
    X, y = (np.load(path, mmap_mode="r")[:N] for path in (files.X, files.y))
    return open_rows(X, y)  # runs of rows of a mapped file are read through the file


def start(model: Model, dtype: str) -> tuple[np.ndarray, ...]:
    return tuple(p.astype(dtype) for p in model.initial(np.random.RandomState(0).randn, 0.1))


def expected_losses(X: np.ndarray, y: np.ndarray, params: Sequence[np.ndarray], case: Case) -> list[float]:
    """The first losses on the rows of a case, by the reference in float64: before steps of a descent, after iterations
    of L-BFGS. Rows that repeat are taken once, with a weight."""
    n_distinct = min(case.N, PERIOD)
    periods, rest = divmod(case.N, PERIOD)
    weights = None if not periods or not rest else periods + (np.arange(PERIOD) < rest) * 1.0
    params = [p.astype(np.float64) for p in params]
    run: Any = begin(case.solver, X[:n_distinct].astype(np.float64), y[:n_distinct].astype(np.intp), params,
                     sample_weight=weights, backend="reference")  # fmt: skip
    run.run(KEPT_LOSSES)
    return [float(loss) for loss in run.losses[:KEPT_LOSSES]]


def begin(
    solver: str,
    X: Any,
    y: np.ndarray | None,
    params: Sequence[np.ndarray],
    *,
    n_threads: int | None = None,
    backend: str = "fused",
    sample_weight: np.ndarray | None = None,
) -> Descent | Lbfgs:
    """A run over X, y or a stream that nothing but its end ends."""
    if solver == GD:
        return Descent(X, y, params, step_size=STEP_SIZE, reg=REG, n_threads=n_threads, backend=backend,
                       sample_weight=sample_weight)  # fmt: skip
    problem = Problem(X, y, params, sample_weight, REG, n_threads, backend)
    return Lbfgs(problem, tol=0.0, steps=10_000)
