"""What a scaling run has measured: rows, one-off costs, the limits of the machine, and the file that keeps them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..files import results
from ..files.results import BadResults
from .cases import DISK, FILES, MEMORY, Case, ScalingError
from .costs import Cost
from .hardware import Limits, machine

LIMIT_KEYS = ("dtype", "threads", *Limits._fields)
RATE_KEYS = ("place", "bandwidth")
ESTIMATE_KEYS = ("cases", "told", "took")


class Row(NamedTuple):
    """What was measured of a case: a line of the results file."""

    D: int
    H: int
    K: int
    dtype: str
    N: int
    solver: str
    place: str
    ranks: int
    threads: int
    ran: int  # threads of all processes that really ran: few rows are not worth all of them
    implementation: str
    median: float  # seconds a pass
    fastest: float
    rounds: int
    steps: int  # in a round
    ns_per_row: float
    vectors: float | None  # of the seconds a pass, L-BFGS' own; None of other solvers
    launch: float  # seconds of a pass over hardly any rows
    limit: str  # what binds, see bounds.py
    share: float  # of the time that the limit needs at least
    peak_bytes: int | None  # beside X and y; None where the system does not tell, or several processes run
    losses: list[float]  # the first ones

    @property
    def case(self) -> Case:
        return Case(
            self.D, self.H, self.K, self.dtype, self.N, self.solver, self.place, self.ranks, self.threads
        )


class Results:
    """What the results file holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine = machine()
        self.limits: dict[tuple[str, int], Limits] = {}
        self.rates: dict[str, float] = {}  # bytes a second that files are read with, by place
        self.costs: list[Cost] = []
        self.rows: list[Row] = []
        self.estimates: list[dict[str, float]] = []  # after so many cases: seconds that were said to be left, and were

    def load(self) -> None:
        """Take over what the file holds, if it was measured on such a machine."""
        parts = {"limits": LIMIT_KEYS, "rates": RATE_KEYS, "costs": Cost._fields, "rows": Row._fields,
                 "estimates": ESTIMATE_KEYS}  # fmt: skip
        try:
            found = results.load(self.path, parts, {"flops", "bandwidth", "N", "seconds"})
            limits = {(r["dtype"], r["threads"]): Limits(r["flops"], r["bandwidth"]) for r in found["limits"]}
            rates = {r["place"]: r["bandwidth"] for r in found["rates"]}
            costs = [Cost(**row) for row in found["costs"]]
            then = _conditions(found["machine"])
            rows = [Row(**row) for row in found["rows"]]
            for row in rows:
                _check(row, limits)
        except FileNotFoundError:
            return
        except BadResults as error:
            raise ScalingError(f"cannot resume from {error}") from error
        except (OSError, TypeError, ValueError) as error:
            raise ScalingError(f"cannot resume from {str(self.path)!r}: {error}") from error
        for key, value in _conditions(self.machine).items():
            if then.get(key) != value:
                raise ScalingError(
                    f"cannot resume from {str(self.path)!r}: measured with {key} {then.get(key)}, now it is {value}"
                )
        self.limits, self.rates, self.costs, self.rows = limits, rates, costs, rows
        self.estimates = found["estimates"]

    def save(self) -> None:
        """Write the file. ScalingError when it cannot be written."""
        parts = {
            "machine": self.machine,
            "limits": [{"dtype": d, "threads": n, **rate._asdict()} for (d, n), rate in self.limits.items()],
            "rates": [{"place": place, "bandwidth": rate} for place, rate in self.rates.items()],
            "costs": [cost._asdict() for cost in self.costs],
            "rows": [row._asdict() for row in self.rows],
            "estimates": self.estimates,
        }
        try:
            results.save(self.path, parts)
        except OSError as error:
            raise ScalingError(f"cannot write {str(self.path)!r}: {error.strerror or error}") from error


def _check(row: Row, limits: Mapping[tuple[str, int], Limits]) -> None:
    """ValueError where it makes no sense."""
    known = not row.threads or any(dtype == row.dtype for dtype, _ in limits)
    whole = row.losses and row.median >= row.fastest > 0 and 0 < row.share <= 1 and row.ran >= min(row.threads, 1)
    if not (known and whole and row.place in (MEMORY, FILES, DISK)):
        raise ValueError(f"{row.case} is incomplete")


def _conditions(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    return {"cpu": machine["cpu"], "cores": machine["cores"], **machine["versions"]}
