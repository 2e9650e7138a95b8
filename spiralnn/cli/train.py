"""`spiralnn train`: the case study, both models with their logs, accuracies and figures."""

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import SoftmaxClassifier, TwoLayerNet, make_spiral
from ..files.whole_file import unwritable
from .console import DONE, FAILED, SEEDS, CommandError, adder, integer, number, prepare_folder, tell

# Draws that the published run had consumed between the spiral and the first weights
_BURNT_DRAWS = 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = adder(parser)
    add("--n-per-class", type=integer(1), default=100, metavar="N", help="rows of each class")
    add("--classes", type=integer(2), default=3, metavar="K", help="number of classes")
    add("--hidden", type=integer(1), default=100, metavar="H", help="hidden units of the network")
    add("--steps", type=integer(1), default=10_000, metavar="N", help="steps of the network")
    add("--linear-steps", type=integer(1), default=200, metavar="N", help="steps of the linear classifier")
    add("--step-size", type=number(), default=1.0, metavar="X", help="length of a step along the gradient")
    add("--reg", type=number(0.0), default=1e-3, metavar="X", help="strength of the L2 term")
    add("--seed", type=SEEDS, default=0, metavar="N", help="random state; 0 gives the published log")
    add("--dtype", choices=("float64", "float32"), default="float64", help="precision of data and parameters")
    add("--threads", type=integer(1), metavar="N", help="threads (default: all that this process may use)")
    add("--backend", choices=("fused", "reference"), default="fused", help="fused kernels or the NumPy reference")
    add("--compare", action="store_true", help="train with the other backend too and print the speedup")
    add("--out", type=Path, default=Path("spiral-out"), metavar="DIR", help="folder for the figures")
    add("--no-figures", action="store_true", help="draw nothing, write nothing")


def run(args: argparse.Namespace) -> int:
    draw = not args.no_figures
    if draw:
        prepare_folder(args.out, "figures")
        if importlib.util.find_spec("matplotlib") is None:
            tell("train", "no figures without matplotlib: pip install spiralnn[plot]")
            draw = False

    # Compiling spends half its time where another thread may run: matplotlib is imported meanwhile.
    importing = threading.Thread(target=_import_plots, daemon=True)
    if draw:
        importing.start()

    D, H, K = 2, args.hidden, args.classes
    random = np.random.RandomState(args.seed)
    X, y = make_spiral(args.n_per_class, K, random_state=random)
    X = X.astype(args.dtype, copy=False)
    random.randn(_BURNT_DRAWS)

    def weights(*shape: int) -> np.ndarray:
        return (0.01 * random.randn(*shape)).astype(args.dtype, copy=False)

    def zeros(n: int) -> np.ndarray:
        return np.zeros(n, args.dtype)

    on_terminal = sys.stdout.isatty() and sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    common = {
        "solver": "gd",
        "step_size": args.step_size,
        "reg": args.reg,
        "n_threads": args.threads,
        "progress": on_terminal,
    }
    W = weights(D, K)
    linear = SoftmaxClassifier(
        max_iter=args.linear_steps, verbose=max(1, args.linear_steps // 20), init=(W, zeros(K)), **common
    )
    W, W2 = weights(D, H), weights(H, K)
    network = TwoLayerNet(
        hidden_size=H, max_iter=args.steps, verbose=max(1, args.steps // 10), init=(W, zeros(H), W2, zeros(K)), **common
    )
    for name, model in (("linear classifier", linear), (f"two-layer network, {H} hidden units", network)):
        print(f"{name}: {len(y)} rows, {K} classes, {args.dtype}, {args.backend} backend", flush=True)
        _load_kernels(model, X, y, args.backend)
        if draw:
            importing.join()  # it would be in the way of what is timed
        _train_one(model, X, y, args.backend, args.compare)
    if draw and not _draw(args.out, X, y, linear, network):
        return FAILED
    return DONE


def _train_one(model: Any, X: np.ndarray, y: np.ndarray, backend: str, compare: bool) -> None:
    seconds = {backend: _fit(model.set_params(backend=backend), X, y)}
    print(f"training accuracy: {model.score(X, y):.2f}")
    print(f"training time: {seconds[backend]:.3f} s", flush=True)
    if compare:
        other = "reference" if backend == "fused" else "fused"
        twin = type(model)(**model.get_params()).set_params(backend=other, verbose=0)
        _load_kernels(twin, X, y, other)
        seconds[other] = _fit(twin, X, y)
        print(f"training time with the {other} backend: {seconds[other]:.3f} s")
        print(f"speedup over the NumPy reference: {seconds['reference'] / seconds['fused']:.1f}", flush=True)


def _fit(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Fit model and return the seconds it took."""
    try:
        start = time.perf_counter()
        model.fit(X, y)
        return time.perf_counter() - start
    except (ValueError, ArithmeticError) as error:
        raise CommandError(str(error)) from error


def _load_kernels(model: Any, X: np.ndarray, y: np.ndarray, backend: str) -> None:
    """Load or compile the kernels by one silent step on a few rows, so that training is timed alone."""
    if backend == "fused":
        some = np.unique(np.linspace(0, len(y) - 1, 1000).astype(int))
        with contextlib.suppress(ValueError, ArithmeticError):  # the fit itself will tell
            type(model)(**model.get_params()).set_params(max_iter=1, verbose=0, progress=False).fit(X[some], y[some])


def _import_plots() -> None:
    with contextlib.suppress(Exception):  # which whoever draws will meet, too
        importlib.import_module("spiralnn.plots")


def _draw(folder: Path, X: np.ndarray, y: np.ndarray, linear: Any, network: Any) -> bool:
    """Whether the figures are drawn; one line says why not."""

    def title(name: str, model: Any) -> str:
        return f"{name}: training accuracy {model.score(X, y):.2f}"

    try:
        from .. import plots

        panels = [
            (folder / "spiral.png", "The data", None),
            (folder / "decision-linear.png", title("Linear classifier", linear), linear.predict),
            (folder / "decision-network.png", title("Two-layer network", network), network.predict),
        ]
        plots.draw_planes(panels, X, y)
        curves = {"linear classifier": linear.loss_curve_, "two-layer network": network.loss_curve_}
        plots.draw_loss_curves(folder / "loss.png", curves)
    except OSError as error:
        raise CommandError(unwritable(folder, "figures", error)) from error
    except Exception as error:  # of matplotlib, which has its ways to fail: the numbers are told already
        tell("train", f"no figures, for matplotlib fails: {type(error).__name__}: {error}")
        return False
    if sys.stdout.isatty():
        print(f"figures: {folder}{os.sep}")
    return True
