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

from .display import Bar
from .run import Run

AGAIN_SECONDS = 1.0  # within which a second Ctrl-C is meant for the whole program

_last_interrupt = -math.inf


class FitInterruptedWarning(UserWarning):
    """Ctrl-C ended a fit before its time; the model holds the state after its last whole step."""


class NoDescentWarning(UserWarning):
    """A line search found nothing lower, along the gradient neither: the model holds the best parameters seen."""


class Progress:
    """What a run has come to; it goes on with the run."""

    def __init__(self, run: Run, max_steps: int) -> None:
        self.run, self.max_steps = run, max_steps

    @property
    def n_steps(self) -> int:
        """Steps done, whatever the solver calls them."""
        return self.run.n_steps

    @property
    def losses(self) -> np.ndarray:
        """The loss of each of them."""
        return self.run.losses

    @property
    def params(self) -> tuple[np.ndarray, ...]:
        """Copies of the parameters that the run has come to."""
        return self.run.params

    @property
    def status(self) -> int:
        """RUNNING, DIVERGED or what else ended it, as `engine.run` has them."""
        return self.run.status


class Observer:
    """Who is told of a run."""

    def __call__(self, progress: Progress) -> object:
        """Something true stops the run."""
        raise NotImplementedError

    def close(self, progress: Progress) -> None:
        """The run is over."""


def watch(
    run: Run,
    max_steps: int,
    observers: Sequence[Observer],
    slice_steps: int | None = None,
    agreed: Callable[[object], bool] = bool,
) -> None:
    """Have a run do max_steps steps in all, with observers told in turn after each slice (of slice_steps at most).

    agreed: whether what observers say stops it, of processes that go on together, in one of them.

    Ctrl-C ends it with a FitInterruptedWarning, or with KeyboardInterrupt where there is nothing to keep, or where
    another run has been interrupted a moment ago.
    """
    progress = Progress(run, max_steps)

    def tell(_: Run) -> bool:
        return agreed(any(observer(progress) for observer in observers))

    def close() -> None:
        for observer in observers:
            observer.close(progress)

    try:
        # a run that an observer stopped before is not to go on when it is resumed
        if not (run.n_steps and tell(run)):
            run.run(max_steps - run.n_steps, tell, slice_steps)
        close()
    except BaseException as error:
        close()  # once more, should Ctrl-C have come in the middle of it
        if not isinstance(error, KeyboardInterrupt) or run.position == 0 or _is_second_interrupt():
            raise
        warnings.warn(
            f"fit was interrupted after {run.n_steps} of {max_steps} {run.unit}s: the model is as they left it",
            FitInterruptedWarning,
            stacklevel=3,
        )


def _is_second_interrupt() -> bool:
    """Whether another run was interrupted a moment ago: who presses Ctrl-C twice wants to leave a loop of fits."""
    global _last_interrupt
    before, _last_interrupt = _last_interrupt, time.monotonic()
    return _last_interrupt - before < AGAIN_SECONDS


class LogLines(Observer):
    """A line for every so many steps, from step `first` on, to `write`, with what validation said."""

    def __init__(self, every: int, first: int, write: Callable[[str], Any]) -> None:
        self._every, self._next, self._write = every, first, write

    def __call__(self, progress: Progress) -> None:
        judge = progress.run.judge
        word = "epoch" if progress.run.unit == "epoch" else "iteration"
        for step in range(self._next, progress.n_steps):
            if step % self._every == 0:
                judged = judge.line(step) if judge is not None else ""
                self._write(f"{word} {step}: loss {progress.losses[step]:f}{judged}")
        self._next = progress.n_steps


class BarOfSteps(Observer):
    """Steps, the loss of the last of them, and passes over X a second, on a bar, for a run that is about to go on."""

    def __init__(self, bar: Bar, run: Run) -> None:
        self._bar = bar
        self._start = time.monotonic(), run.n_passes

    def __call__(self, progress: Progress) -> None:
        self._bar.show(progress.n_steps, self._note(progress))

    def close(self, progress: Progress) -> None:
        self._bar.draw(progress.n_steps, self._note(progress))
        self._bar.close()

    def _note(self, progress: Progress) -> str:
        seconds, passes = time.monotonic() - self._start[0], progress.run.n_passes - self._start[1]
        pace = f", {passes / seconds:.3g} passes/s" if seconds > 0.0 else ""
        return f"loss {progress.losses[-1]:f}{pace}" if progress.n_steps else ""
