"""The figures of a scaling run: time a step, nanoseconds a row, memory, strong scaling."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from ..plots import COLORS, INK
from .hardware import Limits
from .planning import data_bytes, limit_seconds
from .results import Row

_REFERENCE = "#777777"
_DTYPES: dict[str, dict[str, Any]] = {"float64": {"marker": "o"}, "float32": {"marker": "s", "linestyle": "--"}}
_DOTTED: dict[str, Any] = {"linestyle": ":", "linewidth": 1.5, "zorder": 1}
_SIZES_SHOWN = 3  # in the figure of strong scaling

Key = tuple[str, str, int]  # model, dtype, threads


def draw(folder: Path, rows: Sequence[Row], limits: Mapping[tuple[str, int], Limits], hidden: int, cpu: str) -> None:
    """Write scale-time.png, scale-row.png and, where there is something to show, scale-memory and scale-threads.png."""
    runs: dict[Key, list[Row]] = {}  # each along N
    for row in sorted(rows, key=lambda row: (row.model, row.dtype, not row.threads, row.threads, row.N)):
        runs.setdefault((row.model, row.dtype, row.threads), []).append(row)

    def limit(row: Row) -> float:
        return limit_seconds(row.case, hidden, limits[row.dtype, row.threads])

    subtitle = f"full-batch gradient descent, {cpu}"
    _time(folder / "scale-time.png", runs, limit, subtitle)
    _row_cost(folder / "scale-row.png", runs, limit, subtitle)
    if any(row.peak_bytes for row in rows):
        _memory(folder / "scale-memory.png", runs, subtitle)
    if len({row.threads for row in rows if row.threads}) > 1:
        _strong_scaling(folder / "scale-threads.png", runs, subtitle)


def _time(path: Path, runs: Mapping[Key, list[Row]], limit: Callable[[Row], float], subtitle: str) -> None:
    figure, panels = _panels(runs, f"Time of a step: {subtitle}")
    for key, run in _shown(runs).items():
        axes = panels[key[0]]
        axes.plot([r.N for r in run], [r.median for r in run], **_look(key, runs))
        if key[2]:
            axes.plot([r.N for r in run], [limit(r) for r in run], color=_look(key, runs)["color"], **_DOTTED)
    for axes in panels.values():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(EngFormatter("s"))
    _finish(figure, panels, "dotted: the hardware's limit", path)


def _row_cost(path: Path, runs: Mapping[Key, list[Row]], limit: Callable[[Row], float], subtitle: str) -> None:
    figure, panels = _panels(runs, f"Nanoseconds a row, fused: {subtitle}")
    for key, run in _shown(runs).items():
        if key[2]:
            axes = panels[key[0]]
            axes.plot([r.N for r in run], [r.ns_per_row for r in run], **_look(key, runs))
            line = [1e9 * limit(r) / r.N for r in run]
            axes.plot([r.N for r in run], line, color=_look(key, runs)["color"], **_DOTTED)
    for axes in panels.values():
        axes.set_ylim(0, None)
        axes.set_ylabel("ns a row")
    _finish(figure, panels, "dotted: the hardware's limit", path)


def _memory(path: Path, runs: Mapping[Key, list[Row]], subtitle: str) -> None:
    figure, panels = _panels(runs, f"Peak memory beside X and y: {subtitle}")
    for key, run in _shown(runs).items():
        axes = panels[key[0]]
        known = {r.N: r.peak_bytes for r in run if r.peak_bytes}  # nothing has no place on a logarithmic axis
        axes.plot(list(known), list(known.values()), **_look(key, runs))
        axes.plot([r.N for r in run], [data_bytes(r.N, r.dtype) for r in run], color=INK, **_DOTTED)
    for axes in panels.values():
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(_binary)
    _finish(figure, panels, "dotted: X and y", path)


def _strong_scaling(path: Path, runs: Mapping[Key, list[Row]], subtitle: str) -> None:
    """Speedup over the fewest threads, and what share of the ideal it is, for a few sizes."""
    figure, above = _panels(runs, f"Strong scaling: {subtitle}", rows=2)
    below = dict(zip(above, figure.axes[len(above) :], strict=True))
    threads = _threads(runs)
    for model in above:
        above[model].plot(threads, [n / threads[0] for n in threads], color=INK, **_DOTTED)
        below[model].plot(threads, [1.0] * len(threads), color=INK, **_DOTTED)
    times: dict[tuple[int, str, str], dict[int, float]] = {}
    for (model, dtype, n_threads), run in runs.items():
        for row in run:
            if n_threads:
                times.setdefault((row.N, dtype, model), {})[n_threads] = row.median
    times = {key: of for key, of in times.items() if len(of) > 1 and threads[0] in of}
    sizes = sorted({key[0] for key in times})
    shown = sorted({sizes[len(sizes) * i // _SIZES_SHOWN - 1] for i in range(1, _SIZES_SHOWN + 1)} if sizes else set())
    for (N, dtype, model), of in sorted(times.items()):
        if N in shown:
            gain = {n: of[threads[0]] / of[n] for n in sorted(of)}
            look = {"color": COLORS[shown.index(N)], "label": f"{N:,} rows, {dtype}", **_DTYPES[dtype]}
            above[model].plot(list(gain), list(gain.values()), **look)
            below[model].plot(list(gain), [g * threads[0] / n for n, g in gain.items()], **look)
    for axes in above.values():
        axes.set_ylabel(f"times as fast as with {threads[0]}")
    for axes in below.values():
        axes.set_ylabel("share of the ideal")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in figure.axes:
        axes.set(xscale="linear", xlabel="threads", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(figure, above, "dotted: the ideal", path)


def _panels(runs: Mapping[Key, list[Row]], title: str, rows: int = 1) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each model, side by side, over a logarithmic axis of N; rows of them, if asked."""
    models = sorted({model for model, _, _ in runs})
    figure = Figure(figsize=(max(7, 5.5 * len(models)), 2 + 3 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK)
    panels = figure.subplots(rows, len(models), squeeze=False)
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.set_xlabel("rows N")
        axes.grid(color="#DDDDDD")
        axes.tick_params(colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
    for model, axes in zip(models, panels[0], strict=True):
        axes.set_title(model, color=INK)
    return figure, dict(zip(models, panels[0], strict=True))


def _finish(figure: Figure, panels: Mapping[str, Axes], dotted: str, path: Path) -> None:
    """One legend for all panels, below them."""
    lines: dict[str, Any] = {}
    for axes in panels.values():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, handle)
    lines[dotted] = Line2D([], [], color=INK, **_DOTTED)
    columns = max(2, len(panels) + 1)  # as many as fit a figure of one panel, or of more
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path)


def _shown(runs: Mapping[Key, list[Row]]) -> dict[Key, list[Row]]:
    """The reference, and the fused kernels on the fewest and on the most threads: more lines would hide each other."""
    threads = _threads(runs)
    return {key: run for key, run in runs.items() if key[2] in (0, threads[0], threads[-1])}


def _threads(runs: Mapping[Key, list[Row]]) -> list[int]:
    return sorted({n for _, _, n in runs if n}) or [0]


def _look(key: Key, runs: Mapping[Key, list[Row]]) -> dict[str, Any]:
    _, dtype, threads = key
    color = COLORS[_threads(runs)[0] != threads] if threads else _REFERENCE
    label = f"{runs[key][0].implementation}, {dtype}"
    return {"color": color, "label": label, "linewidth": 1.8, "markersize": 5, **_DTYPES[dtype]}


def _binary(value: float, _: object) -> str:
    return next((f"{value / n:g} {unit}" for unit, n in (("GiB", 2**30), ("MiB", 2**20)) if value >= n),
                f"{value / 2**10:g} KiB")  # fmt: skip
