"""The figures of a scaling run: time a pass, nanoseconds a row, memory, strong and weak scaling."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..plots import COLORS, INK, own_style
from .bounds import limits_of, work_seconds
from .cases import DISK, FILES, MEMORY, Case, data_bytes, shape_name
from .efficiency import Gain, strong, weak
from .report import PEAK_ROWS
from .results import Results, Row

_REFERENCE = "#777777"
_DTYPES: dict[str, dict[str, Any]] = {"float64": {"marker": "o"}, "float32": {"marker": "s", "linestyle": "--"}}
_DOTTED: dict[str, Any] = {"linestyle": ":", "linewidth": 1.5, "zorder": 1}
_WHERE = {MEMORY: "in memory", FILES: "in files", DISK: "from the disk"}
_SIZES_SHOWN = 3  # in the figure of strong scaling

Panels = dict[str, Axes]  # by shape and solver


@own_style()
def draw(folder: Path, results: Results, sizes: Sequence[int]) -> None:
    """Write scale-time.png, scale-row.png and, where there is something to show, scale-memory, -strong and -weak."""
    runs: dict[Case, list[Row]] = {}  # by kind, each along N
    for row in sorted(results.rows, key=lambda row: row.N):
        runs.setdefault(row.case.kind, []).append(row)
    shown = _shown(runs)

    def least(row: Row) -> float:
        return max(work_seconds(row.case, limits_of(row.case, row.case.workers, results.limits)).values())

    about = results.machine["cpu"]
    _time(folder / "scale-time.png", shown, least, about)
    _row_cost(folder / "scale-row.png", shown, least, about)
    if any(row.peak_bytes and row.N >= PEAK_ROWS for row in results.rows):
        _memory(folder / "scale-memory.png", shown, about)
    if found := strong(results.rows):
        _scaling(folder / "scale-strong.png", _few_sizes(found), f"Strong scaling: {about}")
    if found := weak(results.rows, sizes):
        _scaling(folder / "scale-weak.png", found, f"Weak scaling, as many rows a worker: {about}")


def _panel(case: Case) -> str:
    return f"{shape_name(case)}, {case.solver}"


def _time(path: Path, runs: Mapping[Case, list[Row]], least: Callable[[Row], float], about: str) -> None:
    figure, panels = _panels(sorted({_panel(kind) for kind in runs}), f"Time of a pass: {about}")
    for kind, run in runs.items():
        axes, look = panels[_panel(kind)], _look(kind, runs)
        axes.plot([r.N for r in run], [r.median for r in run], **look)
        if kind.threads:
            axes.plot([r.N for r in run], [least(r) for r in run], color=look["color"], **_DOTTED)
    for axes in panels.values():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(EngFormatter("s"))
    _finish(figure, panels, "dotted: the hardware's limit", path)


def _row_cost(path: Path, runs: Mapping[Case, list[Row]], least: Callable[[Row], float], about: str) -> None:
    figure, panels = _panels(sorted({_panel(kind) for kind in runs}), f"Nanoseconds a row: {about}")
    for kind, run in runs.items():
        run = [row for row in run if row.N >= 1000]  # below there are overheads alone
        if kind.threads and run:
            axes, look = panels[_panel(kind)], _look(kind, runs)
            axes.plot([r.N for r in run], [r.ns_per_row for r in run], **look)
            axes.plot([r.N for r in run], [1e9 * least(r) / r.N for r in run], color=look["color"], **_DOTTED)
    for axes in panels.values():
        axes.set_yscale("log")
        axes.set_ylabel("ns a row")
    _finish(figure, panels, "dotted: the hardware's limit", path)


def _memory(path: Path, runs: Mapping[Case, list[Row]], about: str) -> None:
    figure, panels = _panels(sorted({_panel(kind) for kind in runs}), f"Peak memory beside X and y: {about}")
    for kind, run in runs.items():
        axes = panels[_panel(kind)]
        # nothing has no place on a logarithmic axis, and at few rows it is what the allocator keeps
        known = {r.N: r.peak_bytes for r in run if r.peak_bytes and r.N >= PEAK_ROWS}
        axes.plot(list(known), list(known.values()), **_look(kind, runs))
        axes.plot(list(known), [data_bytes(N, kind.D, kind.dtype) for N in known], color=INK, **_DOTTED)
    for axes in panels.values():
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(_binary)
    _finish(figure, panels, "dotted: X and y", path)


def _few_sizes(gains: Sequence[Gain]) -> list[Gain]:
    """Of a few sizes, the largest among them."""
    sizes = sorted({gain.row.N for gain in gains})
    shown = {sizes[len(sizes) * i // _SIZES_SHOWN - 1] for i in range(1, _SIZES_SHOWN + 1)}
    return [gain for gain in gains if gain.row.N in shown]


def _scaling(path: Path, gains: Sequence[Gain], title: str) -> None:
    """How many times as fast, against how many workers."""
    names = sorted({_panel(gain.row.case) for gain in gains})
    figure, panels = _panels(names, title)
    lines: dict[tuple[str, int, str, str], dict[int, float]] = {}
    for gain in gains:
        row, base = gain.row, gain.base
        workers = f"{_WHERE[row.place]}, {'ranks' if row.ranks else 'threads'}"
        rows = row.N * base.case.workers // row.case.workers if base.N != row.N else row.N
        line = lines.setdefault((_panel(row.case), rows, row.dtype, workers), {base.case.workers: 1.0})
        line[row.case.workers] = gain.times
    groups = sorted({(rows, workers) for _, rows, _, workers in lines})
    for (panel, rows, dtype, workers), line in sorted(lines.items()):
        look = {"color": COLORS[groups.index((rows, workers)) % len(COLORS)], **_DTYPES[dtype]}
        panels[panel].plot(list(line), list(line.values()), label=f"{rows:,} rows {workers}, {dtype}", **look)
    most = max(max(line) for line in lines.values())
    for axes in panels.values():
        axes.plot([1, most], [1, most], color=INK, **_DOTTED)
        axes.set(xscale="linear", xlabel="workers", ylabel="times as fast as the fewest", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(figure, panels, "dotted: the ideal", path)


def _panels(names: Sequence[str], title: str) -> tuple[Figure, Panels]:
    """A figure with a panel for each name, side by side, over a logarithmic axis of N."""
    figure = Figure(figsize=(max(7, 5.5 * len(names)), 5.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for name, axes in zip(names, panels, strict=True):
        axes.set_xscale("log")
        axes.set_xlabel("rows N")
        axes.grid(color="#DDDDDD")
        axes.tick_params(colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(name, color=INK)
    return figure, dict(zip(names, panels, strict=True))


def _finish(figure: Figure, panels: Panels, dotted: str, path: Path) -> None:
    """One legend for all panels, below them."""
    lines: dict[str, Any] = {}
    for axes in panels.values():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, handle)
    lines[dotted] = Line2D([], [], color=INK, **_DOTTED)
    columns = max(2, len(panels) + 1)  # as many as fit a figure of one panel, or of more
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path)


def _shown(runs: Mapping[Case, list[Row]]) -> dict[Case, list[Row]]:
    """Of each kind of work the most workers, and in memory the fewest and the reference, too: more lines would hide
    each other."""
    groups: dict[tuple[object, ...], list[Case]] = {}
    for kind in runs:
        groups.setdefault((kind.model, kind.dtype, kind.solver, kind.place, kind.ranks > 0), []).append(kind)
    shown: dict[Case, list[Row]] = {}
    for key in sorted(groups, key=repr):
        kinds = sorted(groups[key], key=lambda kind: kind.workers)
        fused = [kind for kind in kinds if kind.threads]
        wanted = [kind for kind in kinds if not kind.threads] + (fused[:1] if not _is_far(fused) else []) + fused[-1:]
        shown.update({kind: runs[kind] for kind in wanted})
    return shown


def _is_far(kinds: Sequence[Case]) -> bool:
    return any(kind.is_streamed for kind in kinds)


def _look(kind: Case, runs: Mapping[Case, list[Row]]) -> dict[str, Any]:
    names = sorted({other.implementation for other in runs if other.threads})
    color = COLORS[names.index(kind.implementation) % len(COLORS)] if kind.threads else _REFERENCE
    label = f"{kind.implementation}, {kind.dtype}"
    return {"color": color, "label": label, "linewidth": 1.8, "markersize": 5, **_DTYPES[kind.dtype]}


def _binary(value: float, _: object) -> str:
    return next((f"{value / n:g} {unit}" for unit, n in (("GiB", 2**30), ("MiB", 2**20)) if value >= n),
                f"{value / 2**10:g} KiB")  # fmt: skip
