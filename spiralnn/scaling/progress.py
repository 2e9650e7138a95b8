"""How far a scaling run is: a bar in seconds of it, or where there can be none a line for every case, on stderr."""

import importlib.util
import sys

from ..engine.display import Bar
from . import report
from .cases import Case
from .planning import Plan
from .results import Row
from .units import printable


class Display:
    """Told of each case that begins, goes on and ends, with what is planned by then."""

    def __init__(self) -> None:
        self._n_done, self._seconds, self._left = 0, 0.0, 0.0
        self._name = ""
        self._bar = None
        if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
            # of 1, for how long it takes is known better and better
            self._bar = Bar(1.0, layout="{percentage:3.0f}% |{bar}| {elapsed}{postfix}", leave=False)

    def begin(self, case: Case, plan: Plan) -> None:
        self._name, self._left = case.name, plan.seconds
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """So many seconds of what was left are over."""
        self._seconds += seconds
        self._left = max(self._left - seconds, 0.0)
        if self._bar is not None:
            share = self._seconds / max(self._seconds + self._left, 1e-9)
            self._bar.show(share, f"{self._left:.0f} s left, {self._name}")

    def end(self, row: Row, plan: Plan) -> None:
        """plan: of what is left."""
        self._n_done += 1
        if self._bar is None:
            n_cases = self._n_done + len(plan.cases)
            line = f"{self._n_done}/{n_cases} {report.line(row)}; {plan.seconds:.0f} s left"
            print(printable(line, sys.stderr), file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
