"""How long things take before they are done: a guess, times what the like of them took of theirs."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from ..solvers.choice import LBFGS
from .bounds import limits_of, work_seconds
from .cases import DISK, MEMORY, Case
from .hardware import Limits

# Guesses, before anything is measured. A pass of the fused kernels reaches this share of the limit or more, NumPy on
# one core about this share (10^6 rows, float64: 1 Gflop/s of 57)
FUSED_SHARE, REFERENCE_SHARE = 0.5, 1 / 60
OVERHEAD, STREAM_OVERHEAD = 20e-6, 300e-6  # of a pass, seconds
MADE_BYTES, WRITTEN_BYTES, READ_BYTES, CHECKED_BYTES = 0.5e9, 0.5e9, 1e9, 0.2e9  # a second
PASSES_AN_ITERATION = 1.2  # of L-BFGS
RANKS_START, START = 3.0, 0.02  # seconds until processes of MPI are there; of what is measured beside passes

MIN_ROUNDS, FEWEST_ROUNDS, LONG_STEP = 3, 2, 0.5  # rounds of a case; the fewest are of steps that take so many seconds

PERIOD = 10_000  # rows of the data, see rows.py; the losses to expect are worked out from no more
EXPECTED_PASSES = {LBFGS: 5}  # over them; 2 of gradient descent


class Part(NamedTuple):
    """Something that takes time. like: what it is, from the very thing to all that resembles it."""

    guess: float
    like: tuple[Hashable, ...]


class Estimates:
    """Corrected by whatever is done: the last of the most similar parts tells how wrong the guess is."""

    def __init__(self, limits: Mapping[tuple[str, int], Limits]) -> None:
        self._limits = limits
        self._ratios: dict[Hashable, float] = {}

    def seconds(self, part: Part) -> float:
        return part.guess * next((self._ratios[key] for key in part.like if key in self._ratios), 1.0)

    def record(self, part: Part, took: float) -> None:
        """So many seconds it took."""
        if part.guess > 0.0:
            self._ratios.update(dict.fromkeys(part.like, took / part.guess))

    # ---------------------------------------------------------------------------------- of what cases consist of

    def a_pass(self, case: Case) -> Part:
        limit = limits_of(case, case.workers, self._limits)
        if not case.threads:
            one = limits_of(case, 1, self._limits)
            return Part(_pass_seconds(case, one) / REFERENCE_SHARE, (case, case.kind, "reference", "expect"))
        guess = _pass_seconds(case, limit) / FUSED_SHARE + (STREAM_OVERHEAD if case.is_streamed else OVERHEAD)
        if case.place == DISK:
            guess += case.data_bytes / READ_BYTES
        # a kind of work at another size, on as many threads, on any; then whatever is fused
        shape = (case.model, case.dtype, case.solver)
        few = case.N < 10_000
        levels = (case, (case.kind, few), (*shape, case.place, case.workers, few), (*shape, case.place, few),
                  (case.H > 0, case.dtype, case.place, few), (case.H > 0, few), few, "fused")  # fmt: skip
        return Part(guess, levels)

    def making(self, case: Case) -> Part:
        """Its rows in memory."""
        return Part(case.data_bytes / MADE_BYTES, (("make", case.D), "make"))

    def writing(self, case: Case) -> Part:
        """Its rows to files."""
        return Part(case.data_bytes / WRITTEN_BYTES, (("write", case.D), "write"))

    def looking(self, case: Case) -> Part:
        """What is done once with rows before a fit: checks, statistics, digest."""
        return Part(case.data_bytes / CHECKED_BYTES / max(n for _, n in self._limits), (("look", case.D), "look"))

    def expecting(self, case: Case) -> Part:
        """The losses to expect."""
        some = case._replace(N=min(case.N, PERIOD), dtype=case.dtype, place=MEMORY, ranks=0)
        one = limits_of(some, 1, self._limits)
        guess = EXPECTED_PASSES.get(case.solver, 2) * _pass_seconds(some, one) / REFERENCE_SHARE + 1e-3
        return Part(guess, (("expect", case.model, case.solver), ("expect", case.H > 0), "expect"))

    def starting(self, case: Case) -> Part:
        """Processes of their own, where it has any, and what is measured beside passes."""
        like = (("start", case.ranks > 0, case.is_streamed, case.solver), ("start", case.ranks > 0))
        return Part(RANKS_START if case.ranks else START, like)

    def case_seconds(self, case: Case, short: float) -> float:
        """To measure it, for `short` seconds where its steps are short."""
        step = self.seconds(self.a_pass(case)) * (PASSES_AN_ITERATION if case.solver == LBFGS else 1.0)
        return self.seconds(self.starting(case)) + first_steps(step) * step + max(short, fewest_rounds(step) * step)


def first_steps(step: float) -> int:
    """That are not timed: the first one may load kernels, and wake threads."""
    return 1 if step > LONG_STEP else 2


def fewest_rounds(step: float) -> int:
    return FEWEST_ROUNDS if step > LONG_STEP else MIN_ROUNDS


def _pass_seconds(case: Case, limit: Limits) -> float:
    return max(work_seconds(case, limit).values())
