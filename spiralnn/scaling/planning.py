"""What a scaling run measures next: the largest sizes first, as far as memory and what is left of the budget go."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from ..solvers.choice import LBFGS
from .cases import MEMORY, Case, ScalingError, Settings, all_cases, data_bytes
from .estimates import PASSES_AN_ITERATION, PERIOD, Estimates, Part, first_steps
from .hardware import Limits
from .units import size

CASE_SECONDS = 0.5  # a case is measured for so long, if the budget allows and steps are short
LARGEST_SHARE = 0.5  # of what is left beside short cases that one may take: something is left for smaller ones
MEMORY_SHARE = 0.75  # of what is available, taken by default


def default_sizes(max_rows: int) -> list[int]:
    """1000, 3000, 10 000, ... up to max_rows."""
    return [n * 10**k for k in range(3, len(str(max_rows))) for n in (1, 3) if n * 10**k <= max_rows]


def default_threads(available: int) -> list[int]:
    """1, 2, 4, ... and all."""
    return sorted({available, *(2**k for k in range(available.bit_length()) if 2**k <= available)})


def reference_bytes(case: Case) -> int:
    """What a step of the reference holds at most: N x H floats twice and truth values once, N x K floats eight times,
    integer labels twice. Measured at 10^6 rows, 100 hidden units: 0.92 of it."""
    _, H, K = case.model
    return case.N * ((2 * H + 8 * K) * np.dtype(case.dtype).itemsize + H + 16)


def check_sizes(settings: Settings) -> None:
    """ScalingError unless there is room for what was asked for by size."""
    if not settings.explicit:
        return
    N = max(settings.sizes)
    for dtype in settings.dtypes:
        for shape in settings.shapes:
            needed = data_bytes(N, shape.D, dtype)
            if needed > settings.memory:
                rows = f"{N:,} rows of {shape.D} {dtype} need {size(needed)}"
                raise ScalingError(f"{rows}, but {size(settings.memory)} of memory may be used")


def needs_files(case: Case) -> bool:
    """Whether its rows must be in files: ranks share them there, wherever they lie."""
    return case.ranks > 0 or case.place != MEMORY


class Plan(NamedTuple):
    """Cases in order, with the seconds that each may take, what is done once before it included; and what does not fit
    the budget."""

    cases: list[tuple[Case, float]]
    too_long: list[Case]

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.cases)


class Once(NamedTuple):
    """What is done once before a case. key: for which others it then is done, too."""

    key: tuple[object, ...]
    part: Part
    N: int  # rows that it is done for: it holds for fewer


class Schedule:
    """What is still to be measured. Whoever measures tells it what that took."""

    def __init__(
        self, settings: Settings, limits: Mapping[tuple[str, int], Limits], done: Collection[Case] = ()
    ) -> None:
        self.settings, self.estimates = settings, Estimates(limits)
        wanted = [[case for case in group if case not in done] for group in all_cases(settings)]
        n_cases = sum(map(len, wanted))
        self.case_seconds = min(CASE_SECONDS, settings.budget / 2 / max(1, n_cases))
        self.too_large: list[Case] = []
        self._groups: list[list[Case]] = []
        for group in wanted:
            fitting = self._fitting(group)
            self._groups.append(fitting)
            self.too_large += [case for case in group if case not in fitting]
        self.left = settings.budget
        self._allowed: float | None = None  # seconds left of those that the group at hand may take
        self._done: dict[tuple[object, ...], int] = {}  # {key of what is done once: rows}
        self._given_up: list[Case] = []  # of groups that are over

    def _fitting(self, group: list[Case]) -> list[Case]:
        """Those of a data set that there is room for: files beside their rows, for a copy of the system's that they are
        read from, and the reference beside the most rows that are held."""
        room = self.settings.memory
        held = max((case.data_bytes for case in group if case.threads and case.data_bytes <= room), default=0)

        def needed(case: Case) -> int:
            if not case.threads:
                return max(held, case.data_bytes) + reference_bytes(case)
            return case.data_bytes * (2 if needs_files(case) else 1)

        return [case for case in group if needed(case) <= room]

    def once(self, case: Case, done: Mapping[tuple[object, ...], int] | None = None) -> list[Once]:
        """What has to be done before a case, and is not. done: {key: rows}; None: what is done by now."""
        done = self._done if done is None else done
        data, N = (case.dtype, case.D, case.K), case.N
        rest = (N // PERIOD, N % PERIOD) if N % PERIOD else (1, 0)  # the same losses for whole periods
        wanted = [
            Once(("rows", *data), self.estimates.making(case), N),
            Once(("files", *data), self.estimates.writing(case), N) if needs_files(case) else None,
            Once(("look", *data), self.estimates.looking(case), N),
            Once(("expect", case.model, case.dtype, case.solver, *rest), self.estimates.expecting(case), 0),
        ]
        return [once for once in wanted if once is not None and done.get(once.key, -1) < once.N]

    def plan(self) -> Plan:
        """Of all that is left, by what is known by now."""
        cases: list[tuple[Case, float]] = []
        too_long = list(self._given_up)
        left, allowed, done = self.left, self._allowed, dict(self._done)
        groups = [group for group in self._groups if group]
        for i, group in enumerate(groups):
            if allowed is None:
                allowed = left / (len(groups) - i)
            begun = allowed
            own = [self.estimates.case_seconds(case, self.case_seconds) for case in group]
            is_short = [case.threads > 0 and seconds < 2 * self.case_seconds
                        for case, seconds in zip(group, own, strict=True)]  # fmt: skip
            reserve = sum(seconds for seconds, short in zip(own, is_short, strict=True) if short)
            for case, seconds, short in zip(group, own, is_short, strict=True):
                reserve -= seconds * short
                once = self.once(case, done)
                seconds += sum(self.estimates.seconds(part) for _, part, _ in once)
                if seconds > (allowed if short else LARGEST_SHARE * (allowed - reserve)):
                    too_long.append(case)
                    continue
                done.update({key: N for key, _, N in once})
                cases.append((case, seconds))
                allowed -= seconds
            left -= begun - allowed
            allowed = None
        return Plan(cases, too_long)

    def begin(self, case: Case) -> None:
        """A case is about to be measured: groups before its own are over, and what it is the first of may begin."""
        while case not in self._groups[0]:
            self._given_up += self._groups.pop(0)
            self._allowed = None
        if self._allowed is None:
            self._allowed = self.left / sum(1 for group in self._groups if group)

    def did_once(self, once: Once, seconds: float) -> None:
        """Something that a case needed took so long."""
        self.estimates.record(once.part, seconds)
        self._done[once.key] = once.N

    def measured(self, case: Case, a_pass: float, steps: int, seconds: float) -> None:
        """A case is done: so many seconds, of which so many steps of passes were timed."""
        estimates = self.estimates
        estimates.record(estimates.a_pass(case), a_pass)
        step = a_pass * (PASSES_AN_ITERATION if case.solver == LBFGS else 1.0)
        beside = seconds - (steps + first_steps(step)) * step
        estimates.record(estimates.starting(case), max(beside, 0.1 * estimates.starting(case).guess))
        self._groups[0].remove(case)

    def spend(self, seconds: float) -> None:
        """So much of the budget is over."""
        self.left -= seconds
        if self._allowed is not None:
            self._allowed -= seconds
