"""The results of `time_to_result.py` as records: the file, what must be in it, and what follows from its rows.

A row of "fits" is one training by one trainer with one seed. Its `reached` has seconds by target, None where the target
was not reached; its `curve` some laps of the first seed: seconds, accuracy, objective.
"""

import math
import statistics
from pathlib import Path
from typing import NamedTuple

from spiralnn.files import results

FILE = "fits.json"  # beside the results of the suite, where the report looks for it
OWN = "spiralnn"  # first word of our own trainers
PARTS = {
    "targets": ("set", "N", "D", "K", "target", "value"),
    "fits": ("task", "set", "model", "trainer", "dtype", "columns", "seed", "max_epochs", "seconds", "compile", "laps",
             "capped", "cpu", "accuracy", "objective", "reached", "curve"),
    "batches": ("D", "H", "K", "batch", "dtype", "trainer", "median", "min"),
    "skipped": ("set", "trainer", "reason"),
}  # fmt: skip
_POSITIVE = {"N", "D", "K", "value", "seconds", "median", "min"}


class Who(NamedTuple):
    """A trainer as the tables tell them apart."""

    model: str
    trainer: str
    dtype: str = "float64"
    columns: str = "standardised"

    @property
    def own(self):
        return self.trainer.split(",")[0] == OWN

    def __str__(self):
        parts = self.trainer, "float32" * (self.dtype == "float32"), "raw columns" * (self.columns == "raw")
        return ", ".join(filter(None, parts))


def load(path):
    """The results in a file, with all that the tables use known to be there; parts that were not run are empty."""
    return results.load(path, PARTS, _POSITIVE)


def load_beside(path):
    """The results in the file that lies beside the suite's, None where there is none."""
    path = Path(path).with_name(FILE)
    return load(path) if path.exists() else None


def sets(found):
    """{set: (N, D, K)} of those that something was measured on."""
    return {row["set"]: (row["N"], row["D"], row["K"]) for row in found["targets"]}


def target(found, name):
    """{set: value} of a target."""
    return {row["set"]: row["value"] for row in found["targets"] if row["target"] == name}


def by_trainer(found, *tasks):
    """{Who: {set: its rows, one a seed}} of these tasks."""
    table = {}
    for row in found["fits"]:
        if row["task"] in tasks:
            who = Who(*(row[key] for key in Who._fields))
            table.setdefault(who, {}).setdefault(row["set"], []).append(row)
    return table


def time_to(rows, name):
    """Median seconds to a target over the seeds, infinite where half of them or more did not reach it."""
    return statistics.median(math.inf if row["reached"].get(name) is None else row["reached"][name] for row in rows)


def typical(rows, key):
    """Median of what the seeds have under the key; None where none of them has it."""
    values = [row[key] for row in rows if row[key] is not None]
    return statistics.median(values) if values else None


def faster_ones(found, task, name):
    """Where somebody else reached a target sooner than spiralnn by itself: (set, our seconds, whose, their seconds).

    Ours is solver="auto" in float64, with standardised columns; of the others each is taken at its fastest.
    """
    table, rows = by_trainer(found, *task), []
    for which in sets(found):
        ours = [who for who in table if who == Who(who.model, f"{OWN}, auto")]
        taken = [time_to(table[who][which], name) for who in ours if which in table[who]]
        others = {who: time_to(by_set[which], name) for who, by_set in table.items() if which in by_set and not who.own}
        best = min(others, key=others.get, default=None)
        if taken and best is not None and others[best] < min(taken):
            rows.append((which, min(taken), best, others[best]))
    return rows
