"""What can be measured: one case is one kind of work over so many rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..kernels.models import Model
from ..solvers.choice import GD
from .units import count

# Where rows lie: one array; files that are read in every pass, whose pages are in memory; the same, from the disk
MEMORY, FILES, DISK = "memory", "files", "disk"

COLD_BYTES = 16 << 20  # fewer are not worth reading from the disk: what is measured is the start of it


class ScalingError(Exception):
    """A measurement that cannot be made, or that is wrong; the message is one line."""


class Case(NamedTuple):
    """One thing to measure: steps of a solver, or rather the passes over the rows that they take."""

    D: int
    H: int  # 0: the linear model
    K: int
    dtype: str
    N: int
    solver: str
    place: str
    ranks: int  # processes started by mpiexec; 0: this process
    threads: int  # of each process; 0 for the reference: NumPy takes what it likes

    @property
    def model(self) -> Model:
        return Model(self.D, self.H, self.K)

    @property
    def kind(self) -> "Case":
        """The same for any number of rows."""
        return self._replace(N=0)

    @property
    def workers(self) -> int:
        """Threads of all processes."""
        return max(1, self.ranks) * self.threads

    @property
    def is_streamed(self) -> bool:
        """Whether rows are read piece by piece, and steps driven from Python."""
        return self.ranks > 0 or self.place != MEMORY

    @property
    def implementation(self) -> str:
        if not self.threads:
            return "reference"
        place = {MEMORY: "", FILES: ", from files", DISK: ", from the disk"}[self.place]
        threads = count(self.threads, "thread")
        return (f"{count(self.ranks, 'rank')} x {threads}" if self.ranks else threads) + place

    @property
    def flops(self) -> float:
        """Multiplications and additions of a pass that cannot be done without.

        As `Model.flops`, less what softmax saves: all scores of a row may shift, so K - 1 columns are enough.
        """
        D, H, K = self.model
        return float(self.N) * H * (4 * D + 6 * (K - 1)) if H else self.model.flops(self.N)

    @property
    def data_bytes(self) -> int:
        """X and labels of one byte: what a pass reads, and what is held."""
        return data_bytes(self.N, self.D, self.dtype)

    @property
    def name(self) -> str:
        return f"{shape_name(self)} {self.dtype}, {self.N:,} rows, {self.solver}, {self.implementation}"


def shape_name(case: Case | Model) -> str:
    """(2, 100, 3), or (2, 3) of the linear model."""
    return f"({case.D}, {case.H}, {case.K})" if case.H else f"({case.D}, {case.K})"


def data_bytes(N: int, D: int, dtype: str) -> int:
    return N * (D * np.dtype(dtype).itemsize + 1)


class Settings(NamedTuple):
    """What was asked for."""

    shapes: Sequence[Model]
    dtypes: Sequence[str]  # of "float64", "float32"
    solvers: Sequence[str]  # of GD, LBFGS
    sizes: Sequence[int]  # rows
    explicit: bool  # whether these very sizes were asked for: then one too large is an error
    threads: Sequence[int]
    ranks: Sequence[int]  # empty: none
    threads_per_rank: int
    mpiexec: str
    out_of_core: bool
    budget: float  # seconds
    memory: int  # bytes
    out: Path
    scratch: Path  # for rows in files
    resume: bool
    reference: bool
    figures: bool
    page: bool
    fit: int  # iterations of a whole fit of the largest data; 0: none


WEAK_LEAST, WEAK_MOST = 10**5, 10**7  # rows that weak scaling is measured at: beyond caches and overhead, and cheap


def weak_sizes(sizes: Sequence[int], workers: Sequence[int]) -> dict[int, int]:
    """{workers: rows}: as many rows a worker for each of them, of the largest size that does not take long."""
    usable = [N for N in sizes if WEAK_LEAST <= N <= WEAK_MOST]
    if not usable or len(workers) < 2:
        return {}
    return {n: max(usable) * n // max(workers) for n in workers}


def all_cases(settings: Settings) -> list[list[Case]]:
    """Everything that was asked for: the cases of one data set after those of another, whose rows take less.

    Within a data set the largest sizes come first, of them the most threads, and the reference behind all others.
    """
    groups = []
    data_sets = sorted({(np.dtype(dtype).itemsize * shape.D, dtype, shape.D, shape.K)
                        for dtype in settings.dtypes for shape in settings.shapes})  # fmt: skip
    for _, dtype, D, K in data_sets:
        shapes = sorted({shape for shape in settings.shapes if (shape.D, shape.K) == (D, K)})
        cases, references = [], []
        for shape in shapes:
            for solver in settings.solvers:
                kinds = _kinds(settings, Case(shape.D, shape.H, shape.K, dtype, 0, solver, MEMORY, 0, 1))
                for kind in kinds:
                    others = [k.workers for k in kinds if (k.place, k.ranks > 0) == (kind.place, kind.ranks > 0)]
                    weak = weak_sizes(settings.sizes, sorted(set(others)))
                    sizes = {*settings.sizes, *([weak[kind.workers]] if weak else [])}
                    cases += [c for c in (kind._replace(N=N) for N in sizes) if _is_worth_it(c)]
                if solver == GD and settings.reference:
                    references += [kinds[0]._replace(N=N, threads=0) for N in settings.sizes]
        order = {MEMORY: 0, FILES: 1, DISK: 2}
        # Of a size first what takes most of the time, in all ways: the first cases correct all estimates. Ranks are
        # the very first, for what starting processes takes is known least.
        cases.sort(key=lambda c: (-c.N, -c.workers, -c.H, c.solver, c.ranks == 0, order[c.place]))
        groups.append(cases + sorted(references, key=lambda case: (case.N, case.H)))
    return groups


def _kinds(settings: Settings, like: Case) -> list[Case]:
    places = [MEMORY, FILES, DISK] if settings.out_of_core else [MEMORY]
    own = [like._replace(place=place, threads=n) for place in places for n in settings.threads]
    of_ranks = FILES if settings.out_of_core else MEMORY
    return own + [like._replace(place=of_ranks, ranks=n, threads=settings.threads_per_rank) for n in settings.ranks]


def _is_worth_it(case: Case) -> bool:
    return case.place != DISK or case.data_bytes >= COLD_BYTES
