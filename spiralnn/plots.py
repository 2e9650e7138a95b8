"""The figures of the case study: the data, decision regions, loss curves.

Matplotlib's objects are used directly: importing pyplot would cost as much as training the network.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

# Okabe and Ito's colours without black: told apart by colour-blind readers and on a projector
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_MAX_POINTS = 5000  # more dots than this hide each other and cost more than training
_MAX_LEGEND = 12
_GRID = 300  # cells along each axis of a decision map
INK = "#333333"
_NOT_OF_FIGURES = ("backend", "backend_fallback", "interactive", "toolbar", "webagg.open_in_browser")


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's own settings, whatever a matplotlibrc says: text set by a LaTeX that is not there, say."""
    own = {name: value for name, value in matplotlib.rcParamsDefault.items() if name not in _NOT_OF_FIGURES}
    with matplotlib.rc_context(own):
        yield


@own_style()
def draw_planes(
    panels: Iterable[tuple[Path, str, Callable[[np.ndarray], np.ndarray] | None]], X: np.ndarray, y: np.ndarray
) -> None:
    """Draw the rows of X (N, 2), coloured by class y, into one PNG file for each (path, title, predict) of panels.

    Behind them lies the class that predict gives to every point of the plane, or nothing if predict is None.
    """
    low, high = _limits(X)
    # cell centres, so that the map covers exactly the frame
    step = (high - low) / _GRID
    across, up = (low[d] + step[d] * (np.arange(_GRID) + 0.5) for d in range(2))
    cells = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(X.dtype)
    colors = _colors(int(y.max()) + 1)
    tints = np.round(255 * (1 - 0.4 * (1 - colors))).astype(np.uint8)

    # one set of axes for all: setting up a second would take longer than drawing it
    axes = _axes((6.5, 6.5), (0.13, 0.1, 0.82, 0.82))
    _scatter(axes, X, y, colors)
    _frame(axes, low, high)
    for path, title, predict in panels:
        _title(axes, title)
        for image in list(axes.images):
            image.remove()
        if predict is not None:
            regions = tints[predict(cells).reshape(_GRID, _GRID)]
            axes.imshow(regions, origin="lower", extent=(low[0], high[0], low[1], high[1]), interpolation="nearest")
        _save(axes, path)


@own_style()
def draw_loss_curves(path: Path, curves: Mapping[str, Sequence[float]]) -> None:
    """Draw loss against step, logarithmic, for each named curve."""
    axes = _axes((8, 5), (0.09, 0.12, 0.87, 0.79))
    _title(axes, "Loss before each step")
    for (name, curve), color in zip(curves.items(), COLORS, strict=False):
        # evenly spaced on the logarithmic axis: no more points than the eye can use
        steps = np.unique(np.geomspace(1, len(curve), 1000).astype(int))
        axes.plot(steps, np.asarray(curve)[steps - 1], color=color, linewidth=2.5, label=name)
    axes.set_xscale("log")
    # plain numbers: powers of ten would be set as formulas, which takes as long as the rest of the figure
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(color="#DDDDDD")
    axes.legend(frameon=False, loc="lower left")
    _save(axes, path)


def _axes(size: tuple[float, float], box: tuple[float, float, float, float]) -> Axes:
    figure = Figure(figsize=size, dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_axes(box)
    axes.tick_params(colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _title(axes: Axes, title: str) -> None:
    # a given height: finding one that clears the ticks would lay out every tick label again
    axes.set_title(title, fontsize=15, color=INK, y=1.01)


def _limits(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a square that holds all rows with a margin."""
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    middle, half = (low + high) / 2, 0.55 * max((high - low).max(), 1e-3)
    return middle - half, middle + half


def _colors(n_classes: int) -> np.ndarray:
    """(n_classes, 3) in [0, 1]."""
    if n_classes <= len(COLORS):
        return np.array([to_rgb(color) for color in COLORS[:n_classes]])
    return matplotlib.colormaps["viridis"](np.linspace(0, 1, n_classes))[:, :3]


def _scatter(axes: Axes, X: np.ndarray, y: np.ndarray, colors: np.ndarray) -> None:
    if len(X) > _MAX_POINTS:
        some = np.linspace(0, len(X) - 1, _MAX_POINTS).astype(int)
        X, y = X[some], y[some]
    size = 7 if len(X) <= 1000 else 4
    for k, color in enumerate(colors):
        rows = X[y == k]
        # a line without a line: several times faster than scatter
        axes.plot(
            rows[:, 0], rows[:, 1], "o", color=color, markersize=size,
            markeredgecolor="white", markeredgewidth=0.6, label=f"class {k}",
        )  # fmt: skip
    if len(colors) <= _MAX_LEGEND:
        axes.legend(loc="upper right", framealpha=0.9, handletextpad=0.2)


def _frame(axes: Axes, low: np.ndarray, high: np.ndarray) -> None:
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("first input")
    axes.set_ylabel("second input")


def _save(axes: Axes, path: Path) -> None:
    # level 1 writes slightly larger files in a third of the time
    axes.figure.canvas.print_figure(path, pil_kwargs={"compress_level": 1})
