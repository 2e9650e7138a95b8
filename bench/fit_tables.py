"""Tables of the results of `time_to_result.py`: (title, heads, rows of text)."""

import math
import statistics

from fits import OWN, Who, by_trainer, faster_ones, sets, target, time_to, typical
from records import duration, grouped

# who is drawn: libraries in the dtype that their users have, and that is the faster one
LEAD = [
    Who("network", "MLPClassifier"), Who("network", "MLPClassifier, lbfgs"), Who("network", "PyTorch", "float32"),
    Who("network", "PyTorch compiled", "float32"), Who("network", "JAX", "float32"),
    Who("network", "HistGradientBoosting"), Who("linear", "LogisticRegression"), Who("linear", "SGDClassifier"),
    Who("network", f"{OWN}, auto"), Who("network", f"{OWN}, auto", "float32"), Who("network", f"{OWN}, adam"),
    Who("network", f"{OWN}, lbfgs"),
]  # fmt: skip
# the rows of the README
SHOWN = [
    Who("network", "MLPClassifier"), Who("network", "PyTorch compiled", "float32"), Who("network", "JAX", "float32"),
    Who("network", "HistGradientBoosting"), Who("network", f"{OWN}, auto"), Who("network", f"{OWN}, auto", "float32"),
]  # fmt: skip
TO_ACCURACY = (
    "Seconds until the test accuracy of a training is what scikit-learn's MLPClassifier comes to in the end, less "
    "0.002: one thread, everybody with its own defaults, in turns, median of the seeds, without compilation and "
    "judging. `no`: ended below it, at the accuracy shown; `>`: cut off."
)
WHOLE = "Whole fits at all defaults: seconds, and the test accuracy, mean of the seeds."


def lead(found):
    """What the README shows: (title, heads, rows) of time to accuracy and of whole fits."""
    heads, whole = _whole(found)
    own = [row for row in whole if row[0] == "MLPClassifier" or (row[0].startswith(OWN) and "linear" not in row[0])]
    return [(TO_ACCURACY, *_to_accuracy(found, SHOWN)), (WHOLE, heads, own)]


def sections(found):
    """All tables."""
    tables = [
        (TO_ACCURACY, *_to_accuracy(found)),
        (WHOLE, *_whole(found)),
        ("Test accuracy at the end of a training, mean of the seeds. Who could go on for ever was ended some time "
         "after it had reached the target.", *_ends(found)),
        ("The linear model with the same objective for all: seconds to 1.0001 times the optimum / to the test accuracy "
         "of the optimum, less 0.002. SGDClassifier minimises another objective.", *_linear(found)),
        ("The network with the same objective for all: seconds to 1.01 times the smallest value that anybody reached, "
         "and the value in the end.", *_objective(found)),
        ("Seconds of compilation, not counted above.", *_compilation(found)),
        ("A mini-batch of Adam inside a training, D, H, K.", *_batches(found)),
        ("Where somebody else was sooner than spiralnn by itself, in float64.", *slower(found)),
        ("What was left out.", ["data", "who", "why"], _skipped(found)),
    ]  # fmt: skip
    return [table for table in tables if table[2]]


def slower(found):
    """Heads and rows: the target and data that a peer was sooner at."""
    races = [("accuracy", ("network", "linear"), "accuracy"), ("linear optimum", ("linear",), "linear objective"),
             ("accuracy of the linear optimum", ("linear",), "linear accuracy"),
             ("objective of the network", ("objective",), "objective")]  # fmt: skip
    rows = [
        [what, which, "no" if math.isinf(ours) else duration(ours), f"{who} {duration(seconds)}"]
        for what, tasks, name in races
        for which, ours, who, seconds in faster_ones(found, tasks, name)
    ]
    return ["target", "data", OWN, "sooner"], rows


def _heads(found):
    return ["", *(f"{name}<br>{grouped(N)} x {D}, {K}" for name, (N, D, K) in sets(found).items())]


def _by_set(found, table, cell, chosen=None):
    """Rows of text, a trainer a row, a set a column."""
    return [
        [str(who), *(cell(table[who][name]) if name in table[who] else "-" for name in sets(found))]
        for who in (table if chosen is None else chosen)
        if who in table
    ]


def _to_accuracy(found, chosen=None):
    table = by_trainer(found, "network", "linear")
    if chosen is None:  # of the linear models of ours, which have a table of their own, none
        chosen = [who for who in table if who.model == "network" or not who.own]
    aims = target(found, "accuracy")
    rows = _by_set(found, table, lambda rows: _reached(rows, "accuracy"), chosen)
    return _heads(found), [["target", *(_accuracy(aims.get(name)) for name in sets(found))], *rows] if rows else []


def _reached(rows, name):
    """Seconds to a target; where it was not reached, why not."""
    seconds = time_to(rows, name)
    if math.isfinite(seconds):
        return duration(seconds)
    if any(row["capped"] for row in rows):
        return f"> {duration(max(row['seconds'] for row in rows if row['capped']))}"
    missed = [row for row in rows if row["reached"].get(name) is None]
    return f"no, {_accuracy(typical(missed, 'accuracy'))}"


def _whole(found):
    """MLPClassifier and trees as they were timed with a judge, whose time is not theirs; the others by themselves."""
    table = {
        who: by_set
        for who, by_set in by_trainer(found, "network").items()
        if who.trainer in ("MLPClassifier", "HistGradientBoosting")
    }
    table |= by_trainer(found, "defaults")

    def cell(rows):
        cut = any(row["capped"] or row["max_epochs"] for row in rows)
        accuracy = statistics.mean(row["accuracy"] for row in rows)
        return f"{'> ' * cut}{duration(typical(rows, 'seconds'))}, {_accuracy(accuracy)}"

    rows = _by_set(found, table, cell)
    for row, who in zip(rows, table, strict=True):
        row[0] += ", linear" * (who.model == "linear" and who.own)
    return _heads(found), rows


def _ends(found):
    table = by_trainer(found, "network", "linear")
    rows = _by_set(found, table, lambda rows: _accuracy(statistics.mean(row["accuracy"] for row in rows)))
    for row, who in zip(rows, table, strict=True):
        row[0] += ", linear" * (who.model == "linear" and who.own)
    return _heads(found), rows


def _linear(found):
    def cell(rows):
        both = []
        for name in ("linear objective", "linear accuracy"):
            known = all(name in row["reached"] for row in rows)
            both.append(_reached(rows, name) if known else "-")
        return " / ".join(both)

    return _heads(found), _by_set(found, by_trainer(found, "linear"), cell)


def _objective(found):
    table = by_trainer(found, "objective")
    names = [name for name in sets(found) if any(name in by_set for by_set in table.values())]
    heads = ["", *(cell for name in names for cell in (f"{name}: seconds", "objective in the end"))]
    rows = []
    for who, by_set in table.items():
        cells = []
        for name in names:
            fitted = by_set.get(name)
            missed = fitted and math.isinf(time_to(fitted, "objective"))
            cells += ["-", "-"] if not fitted else [
                "no" if missed and not any(row["capped"] for row in fitted) else _reached(fitted, "objective"),
                f"{typical(fitted, 'objective'):.5f}",
            ]  # fmt: skip
        rows.append([str(who), *cells])
    return heads, rows


def _compilation(found):
    table = by_trainer(found, "network")
    compiled = [who for who, by_set in table.items() if any(typical(rows, "compile") for rows in by_set.values())]

    def cell(rows):
        seconds = typical(rows, "compile")
        return "-" if seconds is None else duration(seconds)

    return _heads(found), _by_set(found, table, cell, compiled)


def _batches(found):
    table = {}
    for row in found["batches"]:
        key = f"{row['D']}, {row['H']}, {row['K']}", str(row["batch"]), row["dtype"]
        table.setdefault(key, {})[row["trainer"]] = row["median"]
    names = sorted({row["trainer"] for row in found["batches"]}, key=lambda name: name == OWN)
    rows = [
        [*key, *(duration(taken[name]) if name in taken else "-" for name in names)]
        + [f"{taken['JAX'] / taken[OWN]:.2f} x" if {"JAX", OWN} <= set(taken) else "-"]
        for key, taken in table.items()
    ]
    return ["shape", "rows", "dtype", *names, "× JAX"], rows


def _skipped(found):
    return [[row["set"], row["trainer"] or "everybody", row["reason"]] for row in found["skipped"]]


def _accuracy(value):
    return "-" if value is None else f"{value:.3f}".removeprefix("0")
