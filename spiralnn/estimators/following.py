"""Who follows a fit: the model itself, and the user's callback."""

from collections.abc import Callable
from typing import Any

from ..engine.monitor import Observer, Progress
from ..engine.run import DIVERGED


class Follower(Observer):
    """The fitted attributes follow the run: losses after every slice, parameters at its end."""

    def __init__(self, model: Any, solver: str) -> None:
        self._model, self._solver = model, solver

    def __call__(self, progress: Progress) -> None:
        self._model._take_over_losses(progress.run)

    def close(self, progress: Progress) -> None:
        self._model._take_over(progress.run)
        self._model._remember(progress.run, self._solver)


class Caller(Observer):
    """The user's callback, which sees the model after the last step."""

    def __init__(self, model: Any, callback: Callable[[int, float, Any], Any]) -> None:
        self._model, self._callback = model, callback
        self._told = 0

    def __call__(self, progress: Progress) -> Any:
        """What it says to the last step; a step that diverged was taken back, and the one before it told."""
        if progress.status == DIVERGED or progress.n_steps == self._told:
            return None
        self._told = progress.n_steps
        self._model._take_over(progress.run)
        return self._callback(progress.n_steps - 1, self._model.loss_, self._model)
