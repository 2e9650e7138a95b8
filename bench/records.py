"""The results of a run as records: the file, what must be in it, and what follows from its rows.

A row is one implementation on one problem. A call of it did `steps` steps (or repetitions) of `flops` each.
"""

from typing import NamedTuple

from spiralnn.files import results

REFERENCE, PLAIN, ONE, ALL = "reference", "plain Numba, 1 thread", "fused, 1 thread", "fused, all threads"
OWN = (ONE, ALL)
HAND_WRITTEN = "C"  # first word of what is no library that one could take instead, but a line to beat
# what the README leads with: the same number of steps by everybody, in float64; N, D, H, K: steps
LEAD = {(300, 2, 100, 3): 10_000, (1_797, 64, 100, 10): 1_000, (100_000, 54, 128, 7): 100}
NOTICEABLE = 1.05  # times faster: less is within what medians differ by from run to run

DEFAULT, SINGLE = "default", "n_threads=1"  # threads of what is compared on a busy machine

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
    "load": ("job", "busy", "solver", "N", "D", "H", "K", "threads", "median", "mean"),
}
_POSITIVE = {"N", "D", "K", "steps", "min", "median", "bandwidth", "fma_rate"}


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
    found = results.load(path, PARTS, _POSITIVE)
    for row in found["rows"]:
        if row["operation"] == "first call" and not row.get("compile", 0) > 0:
            raise results.BadResults(f"{path}: a first call without the seconds it took to compile")
    return found


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


def lead(rows):
    """Seconds for the steps of LEAD by library: {who: {Problem: seconds}}, whoever has several at its fastest."""
    table = {}
    for key, measured in by_problem(rows, "step", "two_layer").items():
        n_steps = LEAD.get((key.N, key.D, key.H, key.K))
        if n_steps is None or key.dtype != "float64":
            continue
        for name, row in measured.items():
            library = {REFERENCE: "NumPy", PLAIN: "plain Numba", ONE: "spiralnn", ALL: "spiralnn"}.get(name)
            library = library or name.removesuffix(" compiled")
            if library.split(",")[0] != HAND_WRITTEN:
                taken = table.setdefault(library, {})
                taken[key] = min(n_steps * seconds(row), taken.get(key, float("inf")))
    return table


def grouped(number):
    """1000000 is 1 000 000."""
    return f"{number:,}".replace(",", " ")


def duration(seconds):
    """Three digits and a unit: 0.0000161 is 16.1 µs."""
    units = ("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)
    unit, size = next((pair for pair in units if seconds >= 0.9995 * pair[1]), units[-1])
    return f"{three_digits(seconds / size)} {unit}"


def three_digits(value):
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"
