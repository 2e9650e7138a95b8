"""Figures of the results of `time_to_result.py`: how far a training was after so many seconds, a panel a table."""

import math

from figures import BLUE, GREY, OLIVE, OTHERS, RED
from fit_tables import LEAD
from fits import OWN, Who, by_trainer, sets, target
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

COLORS = {
    Who("network", "MLPClassifier"): "black", Who("network", "MLPClassifier, lbfgs"): GREY,
    Who("network", "PyTorch", "float32"): OTHERS[2], Who("network", "PyTorch compiled", "float32"): OTHERS[4],
    Who("network", "PyTorch"): OTHERS[2], Who("network", "JAX"): OTHERS[0],
    Who("network", "JAX", "float32"): OTHERS[0], Who("network", "HistGradientBoosting"): OLIVE,
    Who("linear", "LogisticRegression"): OTHERS[1], Who("linear", "LogisticRegression, newton-cholesky"): OTHERS[5],
    Who("linear", "SGDClassifier"): OTHERS[3],
    Who("network", f"{OWN}, auto"): RED, Who("network", f"{OWN}, auto", "float32"): "#F2A07B",
    Who("network", f"{OWN}, adam"): OTHERS[1],
    Who("network", f"{OWN}, lbfgs"): BLUE,
    Who("linear", f"{OWN}, auto"): RED, Who("linear", f"{OWN}, lbfgs"): BLUE,
    Who("linear", f"{OWN}, newton-cholesky"): OTHERS[0],
}  # fmt: skip
COLUMNS = 3


def accuracy(found):
    """Test accuracy of the network against seconds; None where nothing was measured."""
    table = {who: by_set for who, by_set in by_trainer(found, "network", "linear").items() if who in LEAD}
    aims = target(found, "accuracy")
    panels = [(name, table, name) for name in sets(found) if name in aims]
    figure, axes_of = _panels(panels)
    if figure is None:
        return None
    for axes, (name, _, _) in zip(axes_of, panels, strict=True):
        best = _curves(axes, table, name, lambda lap: lap[1])
        axes.axhline(aims[name], color="black", linewidth=0.8, linestyle=":")
        room = max(best - aims[name], 0.004)
        axes.set(title=_title(found, name), ylim=(aims[name] - 12 * room, best + room))
    figure.suptitle("Test accuracy against seconds; dotted: what MLPClassifier comes to, less 0.002")
    return _finished(figure, axes_of)


def objective(found):
    """How far the objective is above the smallest, relative to it, against seconds; None where nothing was measured."""
    linear, network = by_trainer(found, "linear"), by_trainer(found, "objective")
    bests = {name: value / 1.0001 for name, value in target(found, "linear objective").items()}
    deep = {name: value / 1.01 for name, value in target(found, "objective").items()}
    panels = [(name, network, f"{name}, network") for name in deep] + [(n, linear, f"{n}, linear") for n in bests]
    figure, axes_of = _panels(panels)
    if figure is None:
        return None
    for axes, (name, table, title) in zip(axes_of, panels, strict=True):
        best = (deep if table is network else bests)[name]
        _curves(axes, table, name, lambda lap, best=best: lap[2] and max(lap[2] / best - 1, 1e-7))
        axes.set(title=title, yscale="log")
        axes.axhline(1e-2 if table is network else 1e-4, color="black", linewidth=0.8, linestyle=":")
    figure.suptitle("Objective above the smallest, relative to it, against seconds; dotted: the target")
    return _finished(figure, axes_of)


# file: what it shows, who draws it
FIGURES = {
    "accuracy.png": ("Test accuracy against seconds", accuracy),
    "objective.png": ("Objective against seconds", objective),
}


def _panels(panels):
    if not panels:
        return None, []
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(13, 1.2 + 2.9 * rows), layout="constrained")
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).ravel())
    for unused in axes[len(panels) :]:
        unused.set_axis_off()
    return figure, axes[: len(panels)]


def _curves(axes, table, name, value):
    """Draw everybody's curve of the first seed; the largest value drawn."""
    top = -math.inf
    for who, by_set in table.items():
        laps = next((row["curve"] for row in by_set.get(name, []) if row["curve"]), [])
        points = [(lap[0], value(lap)) for lap in laps if value(lap) is not None]
        if points and who in COLORS:
            look = {"color": COLORS[who], "linewidth": 2 if who.own else 1.2, "zorder": 3 if who.own else 2}
            axes.plot(*zip(*points, strict=True), label=str(who), marker=".", markersize=3, **look)
            top = max(top, *(y for _, y in points))
    return top


def _title(found, name):
    N, D, K = sets(found)[name]
    return f"{name}: {N:,} x {D}, {K} classes".replace(",", " ", 1) if N < 10**6 else f"{name}: {N} x {D}, {K} classes"


def _finished(figure, axes_of):
    named = {}
    for axes in axes_of:
        axes.set(xscale="log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        named |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    for axes in axes_of[-COLUMNS:]:
        axes.set_xlabel("seconds")
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=5, frameon=False)
    return figure
