"""A training under way, whatever its solver: steps so far, their losses, and what ended it.

`Run` advances in slices of about a tenth of a second, each of which is one call of a compiled loop: Python costs
nothing at 300 rows, and Ctrl-C works at any number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels.models import Model
from ..kernels.steps import AT_ROUNDING, CONVERGED, DIVERGED, NO_DESCENT, RUNNING, STOPPED_GAINING

__all__ = ["AT_ROUNDING", "CONVERGED", "DIVERGED", "NO_DESCENT", "RUNNING", "STOPPED_EARLY", "STOPPED_GAINING", "Run"]

STOPPED_EARLY = 100  # a status beside those of the compiled steps: the validation score no longer gains


class Judge:
    """Who looks at the parameters after every step, and may end the run or keep its best parameters."""

    stops = False  # whether it may
    n_looked = 0  # steps that it has looked at

    def look(self, params: Sequence[np.ndarray]) -> None:
        """One step more."""
        raise NotImplementedError

    def is_over(self) -> bool:
        """Whether the run is to end."""
        raise NotImplementedError

    def line(self, step: int) -> str:
        """What the log says of a step."""
        raise NotImplementedError

    @property
    def best(self) -> Sequence[np.ndarray] | None:
        """The parameters that the run is to come to, where they are not the last."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        raise NotImplementedError


class Run:
    """What all solvers have in common; a solver says how to open, advance and close a slice of steps.

    n_steps: whole steps so far, of the kind that `unit` names; losses, one for each; n_passes: passes over X, all that
    were made. diverged_at: where a run with status DIVERGED was when its loss was no longer finite.
    """

    unit = "step"
    diverged_at = ""

    def __init__(self, model: Model, dtype: Any, judge: Judge | None) -> None:
        self.model, self.dtype, self.judge = model, dtype, judge
        self.n_steps = 0
        self.n_passes: float = 0.0
        self.status = RUNNING
        self._losses = np.empty(64)  # grows by doubling; n_steps of it are in use
        self._is_open = False

    @property
    def losses(self) -> np.ndarray:
        """The loss of each step so far, float64 (n_steps,)."""
        return self._losses[: self.n_steps]

    @property
    def loss(self) -> float:
        """The last of them."""
        return float(self._losses[self.n_steps - 1]) if self.n_steps else float("nan")

    @property
    def position(self) -> float:
        """How far it has come, for whoever wants to know whether there is anything new."""
        return self.n_steps

    @property
    def params(self) -> tuple[np.ndarray, ...]:
        """Copies of the parameters it has come to: the last, or the best where somebody judges them."""
        best = self.judge.best if self.judge is not None else None
        return tuple(p.copy() for p in best) if best is not None else self._params(self.dtype)

    def is_converged(self) -> bool:
        """Whether the solver ended it because there was nothing more to gain."""
        return self.status in (CONVERGED, AT_ROUNDING)

    def run(
        self, n_steps: int, on_slice: Callable[["Run"], object] | None = None, slice_steps: int | None = None
    ) -> int:
        """Up to n_steps further steps; returns how many were done.

        on_slice is called after every slice and stops it by returning something true; slice_steps bounds a slice. Ends
        early when `status` says why. KeyboardInterrupt leaves the state after the last whole step.
        """
        first = self.n_steps
        goal = first + n_steps
        if self.judge is not None:
            slice_steps = 1
        try:
            self._be_judged()  # Ctrl-C may have come before the last step was
            while self.n_steps < goal and self.status == RUNNING:
                self._open()
                self._is_open = True
                self._advance(min(goal - self.n_steps, slice_steps or goal))
                self._close_slice()
                self._be_judged()
                if on_slice is not None and on_slice(self):
                    break
        finally:
            self._close_slice()  # Ctrl-C may come at any place, in the middle of closing, too
        return self.n_steps - first

    def _be_judged(self) -> None:
        if self.judge is None:
            return
        if self.judge.n_looked < self.n_steps:
            self.judge.look(self._params(self.dtype))
        if self.status == RUNNING and self.judge.is_over():
            self.status = STOPPED_EARLY

    def _close_slice(self) -> None:
        """Take over what a slice has done. Cut short and done again, it comes to the same."""
        if self._is_open:
            self._close()
            self._is_open = False

    def _record(self, first: int, losses: np.ndarray) -> None:
        """Losses of the steps from `first` on."""
        last = first + len(losses)
        if last > len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty(max(last, len(self._losses)))])
        self._losses[first:last] = losses

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` goes on from, float64. Needs something to have been done."""
        judged = self.judge.state() if self.judge is not None else {}
        numbers = np.array([float(self.n_passes), float(self.status)])
        return {"losses": self.losses.copy(), "progress": numbers, **self._state(), **judged}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on from the state of another run of the same data, start and settings, with the same bits.

        ValueError when the arrays cannot be one.
        """
        expected = {name: a.shape for name, a in self.state().items()}
        if self.judge is not None and self.judge.stops and len(arrays.get("validation_scores", ())):
            expected.update({f"best_{i}": shape for i, shape in enumerate(self.model.shapes)})
        if expected.keys() != arrays.keys() or any(
            a.dtype != np.float64 or (a.ndim != 1 if name in self.growing() else a.shape != expected[name])
            for name, a in arrays.items()
        ):
            raise ValueError("its parts do not make a state of this run")
        if not np.isfinite(arrays["losses"]).all():
            raise ValueError("its losses are not finite")
        self.n_steps = 0
        self._record(0, arrays["losses"])
        self.n_steps, self.n_passes = len(arrays["losses"]), float(arrays["progress"][0])
        self.status = int(arrays["progress"][1])
        self._restore(arrays)
        if self.judge is not None:
            self.judge.restore(arrays)

    def growing(self) -> set[str]:
        """The arrays of a state whose length is not known beforehand."""
        return {"losses", "validation_losses", "validation_scores"}

    def carried(self) -> dict[str, np.ndarray] | None:
        """What a further run of the same solver may begin with, beside the parameters: None where there is nothing."""
        return None

    # what a solver has to say

    def _open(self) -> None:
        raise NotImplementedError

    def _advance(self, most: int) -> None:
        """Up to so many steps, as many as a slice has."""
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _params(self, dtype: Any) -> tuple[np.ndarray, ...]:
        """The parameters after the last step."""
        raise NotImplementedError

    def _state(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        raise NotImplementedError
