"""The progress bar: tqdm's, on a terminal or in a notebook, drawn now and then."""

import time
from typing import Any

BAR_SECONDS = 0.1  # between two updates


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'spiralnn[plot]'") from error
    return tqdm


def check_installed() -> None:
    """ImportError unless there can be a bar."""
    _tqdm()


class Bar:
    """A bar from 0 to total, which begins at done. layout: tqdm's bar_format, None for its own."""

    def __init__(
        self, total: float, *, done: float = 0, unit: str = "", layout: str | None = None, leave: bool = True
    ) -> None:
        tqdm: Any = _tqdm()

        class Quiet(tqdm):
            monitor_interval = 0  # no thread that looks for bars without updates: it would outlive the run

        self._bar = Quiet(total=total, initial=done, unit=unit, bar_format=layout, leave=leave, smoothing=0)
        self._due = 0.0

    def show(self, done: float, note: str) -> None:
        """Where it is, and what else there is to say; left out where the last update was a moment ago."""
        if time.monotonic() >= self._due:
            self.draw(done, note)

    def draw(self, done: float, note: str) -> None:
        self._bar.n = done
        self._bar.set_postfix_str(note)  # and draws
        self._due = time.monotonic() + BAR_SECONDS

    def print(self, line: str) -> None:
        """A line on stdout above the bar."""
        with self._bar.external_write_mode():
            print(line, flush=True)

    def close(self) -> None:
        self._bar.close()
