"""Checkpoints: the state of a run on disk, from which a killed run goes on to the bits it would have had.

A file (see `array_file`) holds the losses so far and the solver's state in float64, and says whose they are: the
settings that change the result, and digests of the data and of the start.
"""

import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.scalars import finite_number
from ..files import array_file
from ..files.array_file import ModelFileError
from ..files.whole_file import remove_leftovers
from .monitor import Observer, Progress
from .run import DIVERGED, Run

FORMAT = array_file.Format("spiralnn-checkpoint", 3, "checkpoint")


class CheckpointWarning(RuntimeWarning):
    """A checkpoint could not be written; the run goes on without it."""


class Keeper(Observer):
    """An observer that keeps the checkpoint of one run in a file, written anew every so many seconds.

    settings: what changes the result, in JSON's types; data: digests of what else does, by the names that an error
    calls it.
    """

    def __init__(
        self, path: Path, every: float, settings: dict[str, Any], data: dict[str, str]
    ) -> None:
        self.path, self.every = path, every
        self.run = {"settings": settings, "data": data}
        self._due = -math.inf  # the first is written after the first slice: what is wrong with the path shows at once
        self._position: float = 0  # of the newest checkpoint
        self._has_warned = False
        remove_leftovers(path)

    def restore(self, run: Run, max_iter: int, once: Callable[[Callable[[], Any]], Any]) -> None:
        """Put a run into the state of the checkpoint, if there is one.

        ValueError when it is of another run or beyond max_iter, ModelFileError when it is damaged, OSError when it
        cannot be read; the run is then as it was. once(f) is f(), of the first of processes that all go on.
        """
        found = once(self._read)
        if found is None:
            return
        header, arrays = found
        self._compare(header)
        steps = arrays.get("losses", np.empty(0)).size
        if steps > max_iter:
            raise ValueError(f"max_iter is {max_iter}, but {self.path} holds {steps} {run.unit}s already")
        try:
            run.restore(arrays)
        except ValueError as error:
            raise ModelFileError(f"{self.path}: {error}") from None
        self._position = run.position

    def _read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        try:
            return array_file.read(self.path, FORMAT)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _compare(self, header: dict[str, Any]) -> None:
        found: Any = header.get("run")
        try:
            settings, data = found["settings"], found["data"]
            own = self.run["settings"]
            names = [name for name in own if settings.get(name) != own[name]]
            if "solver" in names:  # what else differs follows from that
                names = [name for name in names if name in ("model", "solver")]
            differences = [f"{name} is {own[name]!r} here and {settings.get(name)!r} there" for name in names]
            same = {name for name, digest in self.run["data"].items() if data.get(name) == digest}
            differences += [f"{name} differs" for name in sorted((self.run["data"].keys() | data.keys()) - same)]
        except (TypeError, LookupError, AttributeError):
            raise ModelFileError(f"{self.path}: it does not say whose checkpoint it is") from None
        if differences:
            raise ValueError(f"{self.path} is the checkpoint of another run: {'; '.join(differences)}")

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() >= self._due:
            self.close(progress)

    def close(self, progress: Progress) -> None:
        """Write the checkpoint, unless there is nothing new to keep. A failure is a warning, the first of them."""
        if progress.status == DIVERGED or progress.run.position == self._position:
            return
        try:
            array_file.write(self.path, FORMAT, {"run": self.run}, progress.run.state())
            self._position = progress.run.position
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    f"no checkpoint could be written to {str(self.path)!r} ({error.strerror or error}): the run goes "
                    f"on, and tries again every {self.every:g} seconds",
                    CheckpointWarning,
                    stacklevel=2,
                )
        self._due = time.monotonic() + self.every


def checked_place(checkpoint: Any, checkpoint_every: Any, resume: Any) -> tuple[Path | None, float]:
    """(path, seconds) from the arguments of fit."""
    every = finite_number("checkpoint_every", checkpoint_every, minimum=0.0)
    if not isinstance(resume, bool | np.bool_):
        raise TypeError(f"resume is {resume!r}, expected True or False")
    if checkpoint is None:
        if resume:
            raise ValueError("resume is True, but checkpoint is None: expected the path of a checkpoint")
        return None, every
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"checkpoint is {checkpoint!r}, expected the path of a file or None")
    path = Path(checkpoint)
    if not path.name or path.is_dir():
        raise ValueError(f"checkpoint is {str(checkpoint)!r}, a folder, expected the path of a file")
    return path, every
