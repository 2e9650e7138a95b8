"""L-BFGS: the vectors and numbers of `kernels.lbfgs`, over passes in memory or the sums of the reference."""

import time
from typing import Any

import numpy as np

from ..engine.cache import attach
from ..engine.memory import aligned
from ..engine.pace import SLICE_SECONDS
from ..engine.run import DIVERGED, NO_DESCENT, RUNNING, Judge, Run
from ..engine.streaming import passes_over
from ..kernels import lbfgs
from ..kernels.lbfgs import EVALUATIONS, FIRST_ITERATION, GOAL, ITERATION, LARGEST, LOSS, NOISE, NUMBERS, TOLERANCE
from ..kernels.steps import OUTCOMES, REACHED
from ..kernels.updates import LBFGS
from .columns import Columns
from .problem import Problem

# The loss is not known better than that: a mean of numbers of the dtype
ROUNDING = {8: 2.0**-52, 4: 2.0**-27}

# numbers that are those of the pairs
CARRIED = np.r_[lbfgs.N_PAIRS, lbfgs.NEWEST, lbfgs.LENGTH, lbfgs.SCALE, lbfgs.S_Y : lbfgs.S_FACTOR]

_advance, _point = attach(lbfgs.advance), attach(lbfgs.point)


class Lbfgs(Run):
    """Limited-memory BFGS in the variables of `Columns`. losses: after each iteration.

    tol: it has converged where no element of the gradient is larger. steps: iterations that are about to be done.
    """

    unit = "iteration"

    def __init__(self, problem: Problem, *, tol: float, steps: int, judge: Judge | None = None) -> None:
        super().__init__(problem.model, problem.X.dtype, judge)
        self._problem, X, self._like = problem, problem.X, problem.like
        columns = Columns(problem)
        self.n_passes = self._before = columns.n_passes
        W = self.model.layout.parts[0]
        (bias,) = (part.first for part in self.model.layout.parts if part.name == "b")
        self._layer = lbfgs.FirstLayer(self.model.D, W.pitch, bias)
        self.passes = passes_over(
            self.model, X, problem.y, problem.sample_weight, LBFGS, [problem.reg],
            numbers=np.zeros(NUMBERS), solver=(columns.affine, self._layer),
            n_threads=1 if problem.is_reference else problem.n_threads, steps=2 * steps,
        )  # fmt: skip
        self._memory, self._affine = self.passes.memory, columns.affine
        self._numbers = self._memory.numbers[0]
        self._numbers[[TOLERANCE, NOISE]] = tol, ROUNDING[X.itemsize]
        self._numbers[[lbfgs.NEWEST, lbfgs.LENGTH]] = -1.0, 1.0
        self._memory.state[lbfgs.POINT] = self.model.flatten(columns.start(problem))
        if problem.carried is not None:
            self._memory.state[lbfgs.FIRST_PAIR :] = problem.carried["pairs"]
            self._numbers[CARRIED] = problem.carried["numbers"]
        (self._scratch,) = aligned(np.float64, [(1, self.model.padded_size)])
        self._put_point(self._memory.theta)

    def _put_point(self, theta: np.ndarray) -> None:
        """theta[0] = the parameters at the point."""
        _point(theta, 0, self._memory.state, self._affine, self._layer, self._like)

    @property
    def n_threads(self) -> int:
        return self.passes.n_threads

    @property
    def loss(self) -> float:
        """At the point, before the first iteration, too."""
        return float(self._numbers[LOSS]) if self._numbers[EVALUATIONS] else float("nan")

    @property
    def position(self) -> float:
        return float(self._numbers[EVALUATIONS])

    @property
    def _row(self) -> int:
        """That of theta which the next evaluation is at."""
        return int(self._numbers[EVALUATIONS]) % 3

    def _params(self, dtype: Any) -> tuple[np.ndarray, ...]:
        self._put_point(self._scratch)
        return self.model.unflatten(self._scratch[0], dtype)

    def carried(self) -> dict[str, np.ndarray]:
        """The pairs, and the columns that they are of."""
        pairs, numbers = self._memory.state[lbfgs.FIRST_PAIR :].copy(), self._numbers[CARRIED].copy()
        return {"affine": self._affine, "pairs": pairs, "numbers": numbers}

    def _state(self) -> dict[str, np.ndarray]:
        memory = self._memory
        return {
            "vectors": memory.state.copy(), "numbers": memory.numbers[0].copy(), "trial": memory.theta[self._row].copy()
        }  # fmt: skip

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        own = self._numbers[[TOLERANCE, NOISE]]
        if not (np.isfinite(arrays["vectors"]).all() and arrays["numbers"][ITERATION] == self.n_steps):
            raise ValueError("its vectors are not finite")
        if not _makes_sense(arrays["numbers"]):
            raise ValueError("its numbers make no sense")
        self._memory.state[:], self._numbers[:] = arrays["vectors"], arrays["numbers"]
        self._numbers[[TOLERANCE, NOISE]] = own
        self._memory.theta[self._row] = arrays["trial"]

    def _open(self) -> None:
        self._memory.status[:] = self._numbers[EVALUATIONS], RUNNING
        self._numbers[FIRST_ITERATION] = self.n_steps

    def _advance(self, most: int) -> None:
        self._numbers[GOAL] = self.n_steps + most
        if self._problem.is_reference:
            self._advance_reference()
        else:
            self.passes.run_at_pace(len(self._memory.losses))

    def _close(self) -> None:
        first, n_steps, status = self.n_steps, int(self._numbers[ITERATION]), int(self._memory.status[1])
        self._record(first, self._memory.losses[: n_steps - first])
        self.n_steps, self.n_passes = n_steps, self._before + self._numbers[EVALUATIONS]
        if status == NO_DESCENT and n_steps == 0 and not np.isfinite(self._numbers[[LOSS, LARGEST]]).all():
            self.status, self.diverged_at = DIVERGED, "the start"
        else:
            self.status = RUNNING if status == REACHED else status

    def _advance_reference(self) -> None:
        memory, deadline = self._memory, time.perf_counter() + SLICE_SECONDS
        while memory.status[1] == RUNNING and time.perf_counter() < deadline:
            now = self._row
            then = (now + 1) % 3
            params = self.model.unflatten(memory.theta[now], self.dtype)
            loss, gradients = self._problem.reference_loss_gradients(params)
            memory.theta[then] = self.model.flatten(gradients)
            outcome = _advance(
                memory.theta, then, memory.state, memory.numbers, loss, self._affine, self._layer, self._like,
                memory.losses,
            )  # fmt: skip
            memory.status[:] = self._numbers[EVALUATIONS], OUTCOMES[outcome]


def _makes_sense(numbers: np.ndarray) -> bool:
    """Whether those that kernels take for indices can be some."""
    pairs, newest, stage, evaluations, iterations = numbers[
        [lbfgs.N_PAIRS, lbfgs.NEWEST, lbfgs.STAGE, EVALUATIONS, ITERATION]
    ]
    whole = all(float(n).is_integer() for n in (pairs, newest, stage, evaluations, iterations))
    ranges = 0 <= pairs <= lbfgs.PAIRS and -1 <= newest < lbfgs.PAIRS and lbfgs.START <= stage <= lbfgs.LAST_TRIAL
    return bool(whole and ranges and (newest >= 0 or pairs == 0) and evaluations >= iterations >= 0)
