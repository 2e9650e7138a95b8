"""What a scaling run has measured: rows, the limits of the machine, and the file that keeps both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..files import results
from ..files.results import BadResults
from .hardware import Limits, machine
from .planning import CLASSES, INPUTS, KEPT_LOSSES, Case, ScalingError

LIMIT_KEYS = ("dtype", "threads", *Limits._fields)


class Row(NamedTuple):
    """What was measured of a case: a line of the results file."""

    dtype: str
    N: int
    model: str
    threads: int
    implementation: str
    median: float  # seconds a step
    fastest: float
    rounds: int
    steps: int  # in a round
    ns_per_row: float
    efficiency: float  # share of the multiply-add rate of as many threads (the reference: of the most threads)
    bandwidth_share: float  # share of the memory bandwidth
    peak_bytes: int | None  # beside X and y; None where the system does not tell
    losses: list[float]  # before the first steps

    @property
    def case(self) -> Case:
        return Case(self.dtype, self.N, self.model, self.threads)


class Results:
    """What the results file holds."""

    def __init__(self, path: Path, hidden: int) -> None:
        self.path = path
        self.machine = machine()
        self.model = {"inputs": INPUTS, "hidden": hidden, "classes": CLASSES}
        self.limits: dict[tuple[str, int], Limits] = {}
        self.rows: list[Row] = []

    def load(self) -> None:
        """Take over what the file holds, if it was measured on such a machine with such a model."""
        try:
            found = results.load(self.path, {"limits": LIMIT_KEYS, "rows": Row._fields}, {"flops", "bandwidth", "N"})
            results.require(found, ("model",))
            limits = {(r["dtype"], r["threads"]): Limits(r["flops"], r["bandwidth"]) for r in found["limits"]}
            then = _conditions(found["machine"], found["model"])
            rows = [Row(**row) for row in found["rows"]]
            for row in rows:
                known = not row.threads or (row.dtype, row.threads) in limits
                if not known or len(row.losses) != KEPT_LOSSES or not row.median >= row.fastest > 0:
                    raise ValueError(f"{row.case} is incomplete")
        except FileNotFoundError:
            return
        except BadResults as error:
            raise ScalingError(f"cannot resume from {error}") from error
        except (OSError, TypeError, ValueError) as error:
            raise ScalingError(f"cannot resume from {str(self.path)!r}: {error}") from error
        for key, value in _conditions(self.machine, self.model).items():
            if then.get(key) != value:
                raise ScalingError(
                    f"cannot resume from {str(self.path)!r}: measured with {key} {then.get(key)}, now it is {value}"
                )
        self.limits, self.rows = limits, rows

    def save(self) -> None:
        """Write the file. ScalingError when it cannot be written."""
        limits = [{"dtype": d, "threads": n, **rate._asdict()} for (d, n), rate in self.limits.items()]
        rows = [row._asdict() for row in self.rows]
        try:
            results.save(self.path, {"machine": self.machine, "model": self.model, "limits": limits, "rows": rows})
        except OSError as error:
            raise ScalingError(f"cannot write {str(self.path)!r}: {error.strerror or error}") from error


def _conditions(machine: Mapping[str, Any], model: Mapping[str, int]) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    return {"cpu": machine["cpu"], "cores": machine["cores"], **machine["versions"], **model}
