"""Errors of one rank, as all ranks raise them."""

import importlib
from typing import Any, NamedTuple

from ..rows.source import RowError

OURS = __name__.partition(".")[0]


class Told(NamedTuple):
    """An error as it travels. module, name: of its class, built in or ours; row: of a RowError, else -1."""

    module: str
    name: str
    arguments: tuple[Any, ...]
    row: int = -1

    @classmethod
    def of(cls, error: BaseException) -> "Told":
        """Of an error of any kind: one of another package becomes what it is first derived from that is built in."""
        kinds = type(error).__mro__
        kind = next(kind for kind in kinds if kind.__module__.partition(".")[0] in ("builtins", OURS))
        if kind is Exception or kind is BaseException:
            return cls("builtins", "RuntimeError", (f"{kinds[0].__name__}: {error}",))
        if isinstance(error, OSError) and error.errno is not None and error.strerror is not None:
            name = None if error.filename is None else str(error.filename)
            return cls(kind.__module__, kind.__name__, (error.errno, error.strerror, name))
        return cls(kind.__module__, kind.__name__, (str(error),), error.row if isinstance(error, RowError) else -1)

    @property
    def is_interrupt(self) -> bool:
        return self.name == "KeyboardInterrupt"

    def error(self, rank: int) -> BaseException:
        """The error, with the rank that it came up on."""
        if self.is_interrupt:
            return KeyboardInterrupt(f"rank {rank} was interrupted")
        kind: Any = getattr(importlib.import_module(self.module), self.name)
        if len(self.arguments) == 3:
            number, reason, name = self.arguments
            return kind(number, f"rank {rank}: {reason}", *filter(None, [name]))
        text = self.arguments[0]
        if issubclass(kind, RowError):
            return RowError(f"rank {rank}: {text}", self.row)
        try:
            return kind(f"rank {rank}: {text}")
        except TypeError:  # one that is not made from a message
            return RuntimeError(f"rank {rank}: {self.name}: {text}")


def raise_first(told: list[Told | None], own: BaseException | None) -> None:
    """Raise what all ranks are to raise, if anything: an interrupt, what is wrong beside rows, or the first wrong row.

    told: of each rank. own: this rank's, which is kept as the cause.
    """
    found = [(error, rank) for rank, error in enumerate(told) if error is not None]
    if not found:
        return
    error, rank = min(found, key=lambda one: (not one[0].is_interrupt, one[0].row, one[1]))
    raise error.error(rank) from own
