"""A run that is watched: between slices of its steps observers are told what it has come to, and Ctrl-C ends it.

An `Observer` is called with the `Progress` and stops the run by returning something true; those after it are then not
asked. Its close is called when the run is over, whatever ended it, and perhaps once more.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .descent import Descent
from .display import Bar

AGAIN_SECONDS = 1.0  # within which a second Ctrl-C is meant for the whole program

_last_interrupt = -math.inf


class FitInterruptedWarning(UserWarning):
    """Ctrl-C ended a fit before its time; the model holds the state after its last whole step."""


class Progress:
    """What a run has come to; it goes on with the run."""

    def __init__(self, descent: Descent, max_steps: int) -> None:
        self._descent, self.max_steps = descent, max_steps

    @property
    def n_steps(self) -> int:
        """Steps done."""
        return self._descent.n_steps

    @property
    def losses(self) -> np.ndarray:
        """Loss before each of them."""
        return self._descent.losses

    @property
    def params(self) -> tuple[np.ndarray, ...]:
        """Copies of the parameters after them."""
        return self._descent.params

    @property
    def status(self) -> int:
        """RUNNING, DIVERGED or CONVERGED, as `kernels.loop` has them."""
        return self._descent.status

    def state(self) -> tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """What another run can go on from, see `Descent.state`."""
        return self._descent.state()


class Observer:
    """Who is told of a run."""

    def __call__(self, progress: Progress) -> object:
        """Something true stops the run."""
        raise NotImplementedError

    def close(self, progress: Progress) -> None:
        """The run is over."""


def watch(descent: Descent, max_steps: int, observers: Sequence[Observer], slice_steps: int | None = None) -> None:
    """Run a descent to max_steps steps in all, with observers told in turn after each slice (of slice_steps at most).

    Ctrl-C ends it with a FitInterruptedWarning, or with KeyboardInterrupt where there is no step to keep, or where
    another run has been interrupted a moment ago.
    """
    progress = Progress(descent, max_steps)

    def tell(_: Descent) -> bool:
        return any(observer(progress) for observer in observers)

    def close() -> None:
        for observer in observers:
            observer.close(progress)

    try:
        # a run that an observer stopped before is not to go on when it is resumed
        if not (descent.n_steps and tell(descent)):
            descent.run(max_steps - descent.n_steps, tell, slice_steps)
        close()
    except BaseException as error:
        close()  # once more, should Ctrl-C have come in the middle of it
        if not isinstance(error, KeyboardInterrupt) or descent.n_steps == 0 or _is_second_interrupt():
            raise
        warnings.warn(
            f"fit was interrupted after {descent.n_steps} of {max_steps} steps: the model is as they left it",
            FitInterruptedWarning,
            stacklevel=3,
        )


def _is_second_interrupt() -> bool:
    """Whether another run was interrupted a moment ago: who presses Ctrl-C twice wants to leave a loop of fits."""
    global _last_interrupt
    before, _last_interrupt = _last_interrupt, time.monotonic()
    return _last_interrupt - before < AGAIN_SECONDS


class LogLines(Observer):
    """A line for every so many steps, from step `first` on, to `write`."""

    def __init__(self, every: int, first: int, write: Callable[[str], Any]) -> None:
        self._every, self._next, self._write = every, first, write

    def __call__(self, progress: Progress) -> None:
        for step in range(self._next, progress.n_steps):
            if step % self._every == 0:
                self._write(f"iteration {step}: loss {progress.losses[step]:f}")
        self._next = progress.n_steps


class BarOfSteps(Observer):
    """Steps and the loss before the last of them on a bar."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def __call__(self, progress: Progress) -> None:
        self._bar.show(progress.n_steps, self._note(progress))

    def close(self, progress: Progress) -> None:
        self._bar.draw(progress.n_steps, self._note(progress))
        self._bar.close()

    @staticmethod
    def _note(progress: Progress) -> str:
        return f"loss {progress.losses[-1]:f}" if progress.n_steps else ""
