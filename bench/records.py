"""The results of a run as records: the file, what must be in it, and what follows from its rows.

A row is one implementation on one problem. A call of it did `steps` steps (or repetitions) of `flops` each.
"""

import json
from pathlib import Path
from typing import NamedTuple

REFERENCE, PLAIN, ONE, ALL = "reference", "plain Numba, 1 thread", "fused, 1 thread", "fused, all threads"
OWN = (ONE, ALL)
HAND_WRITTEN = "C"  # first word of what is no library that one could take instead, but a line to beat
NOTICEABLE = 1.05  # times faster: less is within what medians differ by from run to run

# as people read them
OPERATIONS = {"forward": "scores", "softmax": "softmax cross-entropy", "backward": "backward", "step": "step",
              "predict": "prediction", "training": "whole training"}  # fmt: skip
MODELS = {"linear": "linear", "two_layer": "network", "either": ""}
LETTERS = {"D": "inputs", "H": "hidden units", "K": "classes"}

# what every row of a part must have
_PROBLEM = ("operation", "model", "N", "D", "H", "K", "dtype")
_TIMED = (*_PROBLEM, "implementation", "threads", "steps", "median", "flops", "traffic")
PARTS = {
    "limits": ("dtype", "threads", "flops", "bandwidth"),
    "rows": _TIMED,
    "interleaved": (*_TIMED, "fma_rate"),
    "sweep": (*_TIMED, "fma_rate", "min", "axis"),
    "processes": ("job", "implementation", "median"),
    "memory": ("model", "implementation", "N", "D", "H", "K", "bytes"),
}
_POSITIVE = {"N", "D", "K", "steps", "min", "median", "bandwidth", "fma_rate"}


class BadResults(ValueError):
    """The file is no result of a run; the message is one line."""


class Problem(NamedTuple):
    """What several implementations were timed at."""

    operation: str
    model: str
    N: int
    D: int
    H: int | None
    K: int
    dtype: str


def load(path):
    """The results in a file, with all that the report uses known to be there; parts that were not run are empty."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        _require(results, ("machine", "rows", "interleaved"))
        _require(results["machine"], ("cpu", "cores", "versions", "command", "date"))
        for part, keys in PARTS.items():
            for row in results.setdefault(part, []):
                _require(row, keys)
                _positive({key: row[key] for key in _POSITIVE & set(keys)})
                if row.get("operation") == "first call":
                    _require(row, ("compile",))
                    _positive({"compile": row["compile"]})
    except OSError as error:
        raise BadResults(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise BadResults(f"{path}: no benchmark results: {error}") from None
    return results


def save(results, path):
    """One row a line: compact, and a diff shows what changed."""
    parts = []
    for key, value in results.items():
        lines = ",\n  ".join(json.dumps(row) for row in value) if isinstance(value, list) else None
        parts.append(f'"{key}": ' + (json.dumps(value) if lines is None else f"[\n  {lines}\n ]"))
    Path(path).write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")


def _require(value, keys):
    if not isinstance(value, dict):
        raise TypeError(f"found {type(value).__name__} where an object with {', '.join(keys)} is expected")
    missing = [key for key in keys if key not in value]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")


def _positive(values):
    for key, value in values.items():
        if not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{key} is {value!r}, expected a positive number")


def by_problem(rows, operation=None, model=None):
    """Rows brought together: {Problem: {implementation: row}}, of one operation or model if asked."""
    table = {}
    for row in rows:
        key = Problem(*(row[name] for name in Problem._fields))
        if operation in (None, key.operation) and model in (None, key.model):
            table.setdefault(key, {})[row["implementation"]] = row
    return table


def seconds(row):
    """A step, or a call of an operation that has no steps."""
    return row["median"] / row["steps"]


def rate(row):
    """Multiplications and additions a second, of those that the operation cannot do without."""
    return row["flops"] / seconds(row)


def efficiency(row):
    """Share of what its threads could have multiplied and added, one thread's rate measured in the same turns."""
    return rate(row) / (row["threads"] * row["fma_rate"])


def best_efficiency(row):
    """The same for the fastest of all turns: what the kernel can do, rather than what the machine was doing besides."""
    return efficiency(row) * row["median"] / row["min"]


def speedup(measured, implementation, over=REFERENCE):
    """Times faster than another; None where either was not measured. measured: {implementation: row}."""
    if over not in measured or implementation not in measured:
        return None
    return seconds(measured[over]) / seconds(measured[implementation])


def fastest_peer(measured):
    """Name of the fastest that one could take instead, None if nobody else was measured."""
    peers = [name for name in measured if name not in (PLAIN, *OWN) and name.split(",")[0] != HAND_WRITTEN]
    return min(peers, key=lambda name: seconds(measured[name]), default=None)


def faster_ones(measured):
    """Names of all that were noticeably faster than the fused kernels on all threads, the fastest first."""
    if ALL not in measured:
        return []
    limit = seconds(measured[ALL]) / NOTICEABLE
    names = [name for name in measured if name not in OWN and seconds(measured[name]) < limit]
    return sorted(names, key=lambda name: seconds(measured[name]))


def grouped(number):
    """1000000 is 1 000 000."""
    return f"{number:,}".replace(",", " ")
