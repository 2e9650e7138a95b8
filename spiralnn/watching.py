"""What goes on beside a descent: log lines, a progress bar, the user's callback, checkpoints, and Ctrl-C."""

import contextlib
import math
import time
import warnings
from typing import Any

from .checkpoint import Keeper
from .engine.descent import DIVERGED, Descent

BAR_SECONDS = 0.1  # between two updates of the progress bar
AGAIN_SECONDS = 1.0  # within which a second Ctrl-C is meant for the whole program

_last_interrupt = -math.inf


class FitInterruptedWarning(UserWarning):
    """Ctrl-C ended a fit before its time; the model holds the state after its last whole step."""


def progress_bar() -> Any:
    """tqdm's bar for terminals or for notebooks, whichever this is. ImportError when tqdm is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'spiralnn[plot]'") from error

    class Bar(tqdm):
        monitor_interval = 0  # no thread that looks for bars without updates: it would outlive the fit

    return Bar


def descend(model: Any, descent: Descent, max_iter: int, keeper: Keeper | None, bar: Any) -> None:
    """Run a descent to max_iter steps in all, as the model's arguments want it watched; bar from progress_bar or None.

    The model's fitted attributes follow the descent, whatever ends it. Ctrl-C ends it with a FitInterruptedWarning, or
    with KeyboardInterrupt where there is no step to keep, or where another fit has been interrupted a moment ago.
    """
    watcher = _Watcher(model, descent, max_iter, keeper, bar)
    try:
        watcher.run()
        model._take_over(descent)
        watcher.end()
    except BaseException as error:
        model._take_over(descent)  # once more, should Ctrl-C have come in the middle of it
        watcher.end()
        if not isinstance(error, KeyboardInterrupt) or descent.n_steps == 0 or _is_second_interrupt():
            raise
        warnings.warn(
            f"fit was interrupted after {descent.n_steps} of {max_iter} steps: the model is as they left it",
            FitInterruptedWarning,
            stacklevel=3,
        )


def _is_second_interrupt() -> bool:
    """Whether another fit was interrupted a moment ago: who presses Ctrl-C twice wants to leave a loop of fits."""
    global _last_interrupt
    before, _last_interrupt = _last_interrupt, time.monotonic()
    return _last_interrupt - before < AGAIN_SECONDS


class _Watcher:
    """Called between slices of a descent; something true stops it."""

    def __init__(self, model: Any, descent: Descent, max_iter: int, keeper: Keeper | None, bar: Any) -> None:
        self.model, self.descent, self.max_iter, self.keeper = model, descent, max_iter, keeper
        self.printed = descent.n_steps
        self.bar_due = 0.0
        self.bar = bar and bar(
            total=max_iter,
            initial=descent.n_steps,
            unit=" steps",
            mininterval=0,  # updates come BAR_SECONDS apart, and each is to be seen
            miniters=1,
            smoothing=0,
            leave=not model.verbose,  # beside log lines, which tell how it went, it goes when it is done
        )

    def run(self) -> None:
        one_by_one = self.model.callback is not None
        # a run that its callback stopped before is not to go on when it is resumed
        if not self._call_back():
            steps = self.max_iter - self.descent.n_steps
            self.descent.run(steps, self, slice_steps=1 if one_by_one else None)

    def __call__(self, descent: Descent) -> Any:
        self.model._take_over_losses(descent)
        every = int(self.model.verbose)
        if every:
            for step in range(self.printed, descent.n_steps):
                if step % every == 0:
                    self._print(f"iteration {step}: loss {descent.losses[step]:f}")
            self.printed = descent.n_steps
        if self.bar is not None and time.monotonic() >= self.bar_due:
            self._update_bar()
        stop = descent.status != DIVERGED and self._call_back()
        if self.keeper is not None and not stop:
            self.keeper.write_when_due(descent)
        return stop

    def _call_back(self) -> Any:
        """What the callback says to the last step; a step that diverged was taken back, and the one before it told."""
        if self.model.callback is None or not self.descent.n_steps:
            return None
        self.model._take_over(self.descent)
        return self.model.callback(self.descent.n_steps - 1, self.model.loss_, self.model)

    def _print(self, line: str) -> None:
        with self.bar.external_write_mode() if self.bar is not None else contextlib.nullcontext():
            print(line, flush=True)

    def _update_bar(self) -> None:
        if self.descent.n_steps:
            self.bar.set_postfix_str(f"loss {self.descent.losses[-1]:f}", refresh=False)
        self.bar.update(self.descent.n_steps - self.bar.n)
        self.bar_due = time.monotonic() + BAR_SECONDS

    def end(self) -> None:
        """Close the bar and write the last checkpoint; a second time changes nothing."""
        if self.bar is not None:
            self._update_bar()
            self.bar.close()
        if self.keeper is not None:
            self.keeper.write(self.descent)
