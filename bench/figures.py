"""The figures of a run, each drawn from its results: `FIGURES` says which file shows what."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, ScalarFormatter
from records import (
    ALL,
    HAND_WRITTEN,
    LEAD,
    LETTERS,
    MODELS,
    ONE,
    OPERATIONS,
    PLAIN,
    REFERENCE,
    best_efficiency,
    by_problem,
    grouped,
    lead,
    rate,
    seconds,
    speedup,
)

# told apart by colour-blind readers, too
GREY, OLIVE, BLUE, RED = "#555555", "#999933", "#0072B2", "#D55E00"
OTHERS = ["#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A", "#7F3C8D"]
OWN_COLORS = {REFERENCE: GREY, PLAIN: OLIVE, ONE: BLUE, ALL: RED}
LINES = {"float64": ("-", "o"), "float32": ("--", "s")}
ROOFLINE = ("forward", "softmax", "backward", "step")
SHOWN_AS = {REFERENCE: "NumPy (the reference)"}


def whole_trainings(results):
    """Everybody's seconds for the same number of steps, a panel a problem; None where no such problem was measured."""
    table = lead(results["interleaved"])
    if not table:
        return None
    keys = list(dict.fromkeys(key for taken in table.values() for key in taken))
    order = sorted(table, key=lambda who: -table[who].get(keys[0], math.inf))
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for i, (key, axes) in enumerate(zip(keys, figure.subplots(1, len(keys), squeeze=False)[0], strict=True)):
        taken = [table[who].get(key, math.nan) for who in order]
        colors = [RED if who == "spiralnn" else GREY for who in order]
        bars = axes.barh(range(len(order)), taken, color=colors)
        axes.bar_label(bars, [f"{s:.3g} s" if s == s else "" for s in taken], padding=3, fontsize=9)
        axes.set_yticks(range(len(order)), order if i == 0 else [""] * len(order))
        problem = f"{grouped(key.N)} rows of {key.D},\n{key.H} hidden units, {key.K} classes"
        axes.set_title(f"{grouped(LEAD[tuple(key[2:6])])} steps: {problem}", fontsize=10)
        axes.set(xlim=(0, 1.25 * np.nanmax(taken)), ylim=(len(order) - 0.5, -0.5))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("seconds")
    return figure


def speed(results):
    """The network's full step at the case study's shape: time against N, speedup, nanoseconds a row."""
    table = {key: measured for key, measured in by_problem(results["rows"], "step", "two_layer").items() if key.D == 2}
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    time, gain, row_cost = figure.subplots(1, 3)
    for implementation, color in OWN_COLORS.items():
        for dtype, (line, marker) in LINES.items():
            keys = [key for key in table if key.dtype == dtype and implementation in table[key]]
            measured = {key.N: table[key] for key in sorted(keys, key=lambda key: key.N)}
            steps = {N: seconds(step[implementation]) for N, step in measured.items()}
            look = {"color": color, "linestyle": line, "marker": marker, "markersize": 4.5}
            label = f"{SHOWN_AS.get(implementation, implementation)}, {dtype}"
            time.plot(list(steps), list(steps.values()), label=label, **look)
            if implementation == REFERENCE:
                continue
            gains = {N: speedup(step, implementation) for N, step in measured.items() if REFERENCE in step}
            gain.plot(list(gains), list(gains.values()), **look)
            if implementation == PLAIN:
                continue  # several times the height of what the last panel is about
            row_cost.plot(list(steps), [1e9 * s / N for N, s in steps.items()], **look)
    time.set(title="Time of a step, seconds", yscale="log")
    gain.set(title="Times faster than NumPy", ylim=(0, None))
    row_cost.set(title="Nanoseconds a row, fused", ylim=(0, None))
    for axes in (time, gain, row_cost):
        axes.set(xscale="log", xlabel="rows N")
        _plain(axes)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"Two-layer network (D 2, H 100, K 3), full-batch step, {results['machine']['cpu']}")
    return figure


def peers(results):
    """A step by everybody at every shape: nanoseconds a row, and what the multiply-add rate allows."""
    rows = [row for row in results["interleaved"] if row["operation"] == "step"]
    table = by_problem(rows)
    shapes = list(dict.fromkeys(_shape_label(key) for key in table))
    colors = _colors(rows)
    figure = Figure(figsize=(13, 1.6 + 0.36 * len(shapes)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, dtype in zip(panels, LINES, strict=True):
        for name, color in colors.items():
            points = [
                (1e9 * seconds(measured[name]) / key.N, shapes.index(_shape_label(key)))
                for key, measured in table.items()
                if key.dtype == dtype and name in measured
            ]
            own = name in (ONE, ALL)
            look = {"marker": "D" if own else "x" if _first_word(name) == HAND_WRITTEN else "o"}
            axes.scatter(*_xy(points), color=color, s=46 if own else 34, zorder=3, label=name, **look)
        limits = [
            (1e9 * row["flops"] / (row["threads"] * row["fma_rate"]) / key.N, shapes.index(_shape_label(key)))
            for key, measured in table.items()
            for row in [measured.get(ALL)]
            if key.dtype == dtype and row is not None
        ]
        look = {"marker": "|", "color": "black", "s": 160, "zorder": 2}
        axes.scatter(*_xy(limits), label="multiply-add limit, all threads", **look)
        axes.set(xscale="log", title=dtype, xlabel="nanoseconds a row", ylim=(len(shapes) - 0.5, -0.5))
        axes.set_yticks(range(len(shapes)), shapes)
        _plain(axes)
    handles, names = panels[0].get_legend_handles_labels()
    names = [SHOWN_AS.get(name, name) for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(f"One full-batch step, N x D, H hidden units, K classes, {results['machine']['cpu']}")
    return figure


def roofline(results):
    """Every kernel between the two roofs: flops a byte of memory traffic against flops a second."""
    counts = sorted({limit["threads"] for limit in results["limits"]})
    colors = {"float64": BLUE, "float32": RED}
    rows = _roofline_rows(results)
    numbers = {label: i for i, label in enumerate(dict.fromkeys(_kernel_label(row) for row in rows), start=1)}
    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    points = {axes: [] for axes in panels}
    for axes, threads in zip(panels, counts, strict=True):
        shown = [row for row in rows if row["implementation"] == (ALL if threads == counts[-1] > 1 else ONE)]
        intensities = [row["flops"] / row["traffic"] for row in shown] or [1.0]
        low, high = min(intensities) / 2, max(*intensities, 64) * 2
        for limit in (limit for limit in results["limits"] if limit["threads"] == threads):
            color, ridge = colors[limit["dtype"]], limit["flops"] / limit["bandwidth"]
            roof = [(low, low * limit["bandwidth"]), (ridge, limit["flops"]), (high, limit["flops"])]
            text = f"{limit['dtype']}: {limit['flops'] / 1e9:.0f} Gflop/s, {limit['bandwidth'] / 1e9:.0f} GB/s"
            axes.plot(*_xy(roof), color=color, linestyle=LINES[limit["dtype"]][0], label=text)
        for row in shown:
            at = row["flops"] / row["traffic"], rate(row)
            axes.plot(*at, "o", color=colors[row["dtype"]], markersize=5, zorder=3)
            points[axes].append((at, str(numbers[_kernel_label(row)]), colors[row["dtype"]]))
        title = f"{threads} thread" + "s" * (threads > 1)
        axes.set(xscale="log", yscale="log", title=title, xlabel="flops a byte that must be moved", xlim=(low, high))
        axes.legend(frameon=False, loc="lower right")
        _plain(axes)
    panels[0].set_ylabel("flops a second")
    lines = [f"{number} {label}" for label, number in numbers.items()]
    height = math.ceil(len(lines) / 4)
    columns = ["\n".join(lines[i : i + height]) for i in range(0, len(lines), height)]
    for i, column in enumerate(columns):
        figure.text(0.03 + 0.245 * i, 0.01, column, va="bottom", fontsize=9)
    figure.get_layout_engine().set(rect=(0, 0.03 + 0.026 * height, 1, 0.97 - 0.026 * height))
    figure.suptitle(f"Roofline of the fused kernels (D, H, K or D, K), {results['machine']['cpu']}")
    figure.draw_without_rendering()  # where things are is known from here on
    for axes in panels:
        _number(axes, points[axes])
    return figure


def _number(axes, points):
    """Write a text beside every ((x, y), text, color), where it hides neither a point nor another text."""
    taken = [axes.transData.transform(at) for at, _, _ in points]
    for at, text, color in points:
        spots = [
            axes.transData.transform(at) + radius * np.array([math.cos(angle), math.sin(angle)])
            for radius in (18, 26, 36)  # pixels
            for angle in np.arange(0, 2 * math.pi, math.pi / 6)
        ]
        room = [min(np.hypot(*(spot - other)) for other in taken) for spot in spots]
        best = spots[next((i for i, pixels in enumerate(room) if pixels > 16), int(np.argmax(room)))]
        taken.append(best)
        line = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        look = {"ha": "center", "va": "center", "fontsize": 9, "color": color, "arrowprops": line}
        axes.annotate(text, at, axes.transData.inverted().transform(best), **look)


def _roofline_rows(results):
    """The fused kernels alone at the largest N of the suite, and the steps at the shapes with more inputs."""
    largest = max((row["N"] for row in results["rows"]), default=0)
    alone = [row for row in results["rows"] if row["N"] == largest and row["operation"] in ROOFLINE]
    wide = [row for row in results["interleaved"] if row["operation"] == "step" and row["D"] > 2]
    return [row for row in (*alone, *wide) if row["implementation"] in (ONE, ALL)]


def sweep(results):
    """Efficiency of a step as one of D, H and K goes through its range."""
    sweeps = {}
    for row in results["sweep"]:
        others = ", ".join(f"{letter} {row[letter]}" for letter in "DHK" if letter != row["axis"])
        sweeps.setdefault((row["axis"], others), []).append(row)
    top = max(1.05, *(1.03 * best_efficiency(row) for row in results["sweep"]))
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    panels = figure.subplots(math.ceil(len(sweeps) / 2), 2, sharey=True, squeeze=False).ravel()
    for axes in panels[len(sweeps) :]:
        axes.set_axis_off()
    for axes, ((letter, others), rows) in zip(panels, sweeps.items(), strict=False):
        for implementation in (ONE, ALL):
            for dtype, (line, marker) in LINES.items():
                chosen = [row for row in rows if row["implementation"] == implementation and row["dtype"] == dtype]
                points = sorted((row[letter], best_efficiency(row)) for row in chosen)
                look = {"color": OWN_COLORS[implementation], "linestyle": line, "marker": marker, "markersize": 4}
                axes.plot(*_xy(points), label=f"{implementation}, {dtype}", **look)
        values = sorted({row[letter] for row in rows})
        axes.set(xscale="log", title=f"{LETTERS[letter]} {letter} ({others})", ylim=(0, top))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(_apart(values))
        axes.axhline(1, color="black", linewidth=0.8, alpha=0.6)
        _plain(axes)
    for axes in panels[::2]:
        axes.set_ylabel("share of the multiply-add rate")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"Efficiency of a step of the two-layer network, fastest of all turns, {results['machine']['cpu']}")
    return figure


# file: what it shows, the parts of the results that it needs, who draws it
FIGURES = {
    "lead.png": ("Seconds for the same number of steps by everybody", ("interleaved",), whole_trainings),
    "peers.png": ("Nanoseconds a row of everybody at every shape", ("interleaved",), peers),
    "sweep.png": ("Efficiency against inputs, hidden units and classes", ("sweep",), sweep),
    "roofline.png": ("Roofline: every kernel between memory and multiply-add limit", ("limits", "rows"), roofline),
    "speed.png": ("Time a step, speedup and nanoseconds a row against N", ("rows",), speed),
}


def _colors(rows):
    """{name: colour} of everybody in the rows: the others first, so that the fused kernels are drawn above them."""
    names = list(dict.fromkeys(row["implementation"] for row in rows))
    strangers = [name for name in names if name not in OWN_COLORS]
    colors = {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(strangers)}
    return {name: color for name, color in {REFERENCE: GREY, **colors, **OWN_COLORS}.items() if name in names}


def _xy(points):
    return [x for x, _ in points], [y for _, y in points]


def _first_word(name):
    return name.split(",")[0]


def _shape_label(key):
    hidden = "linear" if key.H is None else f"H {key.H}"
    return f"{grouped(key.N)} x {key.D}, {hidden}, K {key.K}"


def _kernel_label(row):
    name = f"{MODELS[row['model']]} {OPERATIONS[row['operation']]}".strip()
    sizes = [row["D"], row["K"]] if row["H"] is None else [row["D"], row["H"], row["K"]]
    return f"{name} ({', '.join(map(str, sizes))})"


def _apart(values, ratio=1.4):
    """Those of sorted values that are far enough apart on a log axis to be labelled."""
    kept = []
    for value in values:
        if not kept or value >= ratio * kept[-1]:
            kept.append(value)
    return kept


def _plain(axes):
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
