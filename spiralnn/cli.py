"""The command: ``spiralnn fit``, ``predict``, ``train``, ``bench``, ``scale`` and ``info``.

Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted.
"""

import argparse
import contextlib
import gc
import importlib.metadata
import importlib.util
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import __version__
from .console import (
    DONE,
    SEEDS,
    CommandError,
    Parser,
    adder,
    guarded,
    integer,
    number,
    prepare_folder,
    tell,
    unwritable,
)

# Draws that the published run had consumed between the spiral and the first weights
_BURNT_DRAWS = 18
_OPTIONAL_PACKAGES = ("matplotlib", "tqdm", "scipy", "scikit-learn", "pytest-benchmark")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, sys.argv unless argv is given, and return the exit code."""
    if argv is not None:
        return _run(list(argv))
    # The process is ours. What its imports made stays to the end: looking through it for garbage, over and over
    # and once more on leaving, took a fifth of `spiralnn train`.
    gc.freeze()
    gc.set_threshold(100_000)
    try:
        return _run(sys.argv[1:])
    finally:
        gc.freeze()


def _run(arguments: list[str]) -> int:
    def action() -> int:
        parser = _build_parser(with_bench=arguments[:1] == ["bench"])
        args = parser.parse_args(arguments)
        if args.command is None:
            parser.print_help()
            return DONE
        return args.run(args)

    return guarded(arguments[0] if arguments else "", action)


def _build_parser(with_bench: bool) -> argparse.ArgumentParser:
    from . import commands as files

    parser = Parser(prog="spiralnn", description="Small classifiers, trained by fused Numba kernels.")
    parser.add_argument("--version", action="version", version=f"spiralnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")

    files.add_fit_arguments(commands.add_parser("fit", help="train on data in files, keep the model, score it"))
    predict = commands.add_parser("predict", help="find classes or probabilities of rows, by a kept model")
    files.add_predict_arguments(predict)

    train = commands.add_parser("train", help="run the case study: train both models, print their logs, draw figures")
    _add_train_arguments(train)
    train.set_defaults(run=_train)

    bench = commands.add_parser("bench", help="time the fused kernels against NumPy and whoever else is installed")
    if with_bench:
        suite = _load_bench()
        suite.add_arguments(bench)
        bench.set_defaults(run=suite.run)

    scale = commands.add_parser("scale", help="measure how a step's time and memory go with rows and threads")
    _add_scale_arguments(scale)
    scale.set_defaults(run=_scale)

    info = commands.add_parser("info", help="print versions, processor, threads and cache folder")
    info.set_defaults(run=_info)
    return parser


# train


def _add_train_arguments(parser: argparse.ArgumentParser) -> None:
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


def _train(args: argparse.Namespace) -> int:
    from .data import make_spiral
    from .estimators import SoftmaxClassifier, TwoLayerNet

    draw = not args.no_figures
    if draw:
        prepare_folder(args.out, "figures")
        if importlib.util.find_spec("matplotlib") is None:
            tell("train", "no figures without matplotlib: pip install spiralnn[plot]")
            draw = False

    # Compiling spends half its time where another thread may run: matplotlib is imported meanwhile.
    importing = threading.Thread(target=importlib.import_module, args=(f"{__package__}.plots",), daemon=True)
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
    if draw:
        _draw(args.out, X, y, linear, network)
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


def _draw(folder: Path, X: np.ndarray, y: np.ndarray, linear: Any, network: Any) -> None:
    from . import plots

    def title(name: str, model: Any) -> str:
        return f"{name}: training accuracy {model.score(X, y):.2f}"

    try:
        panels = [
            (folder / "spiral.png", "The data", None),
            (folder / "decision-linear.png", title("Linear classifier", linear), linear.predict),
            (folder / "decision-network.png", title("Two-layer network", network), network.predict),
        ]
        plots.draw_planes(panels, X, y)
        curves = {"linear classifier": linear.loss_curve_, "two-layer network": network.loss_curve_}
        plots.draw_loss_curves(folder / "loss.png", curves)
    except OSError as error:
        raise unwritable(folder, "figures", error) from error
    if sys.stdout.isatty():
        print(f"figures: {folder}{os.sep}")


# bench


def _load_bench() -> ModuleType:
    """The benchmark suite: it lies in the source tree and is not installed."""
    path = Path(__file__).resolve().parent.parent / "bench" / "run.py"
    if not path.is_file():
        raise CommandError("the benchmark suite is in the source tree: run this command from a clone of it")
    spec = importlib.util.spec_from_file_location("spiralnn_bench", path)
    if spec is None or spec.loader is None:
        raise CommandError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# scale


def _add_scale_arguments(parser: argparse.ArgumentParser) -> None:
    add = adder(parser)
    add("--model", choices=("linear", "two-layer", "both"), default="both", help="what to measure")
    add("--dtype", choices=("float64", "float32", "both"), default="float64", help="precision of data and parameters")
    add("--hidden", type=integer(1), default=100, metavar="H", help="hidden units of the network")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--max-rows", type=integer(1000), default=10**8, metavar="N",
                      help="sizes 1000, 3000, 10 000, ... up to this (default: %(default)s)")  # fmt: skip
    rows.add_argument("--sizes", type=_list(integer(1)), metavar="N,N,...", help="these sizes instead")
    add("--threads", type=_list(integer(1)), metavar="N,N,...", help="numbers of threads (default: 1, 2, 4, ... all)")
    add("--budget", type=number(0.0), default=300.0, metavar="SECONDS", help="leave out what would take longer")
    add("--memory", type=number(0.0), metavar="GIB", help="leave out what needs more (default: 3/4 of what is free)")
    add("--no-reference", action="store_true", help="leave out NumPy")
    add("--out", type=Path, default=Path("scale-out"), metavar="DIR", help="folder for scale.json and the figures")
    add("--resume", action="store_true", help="keep what scale.json holds and measure the rest; else it is replaced")
    add("--no-figures", action="store_true", help="draw nothing")


def _list(parse: Callable[[str], int]) -> Callable[[str], list[int]]:
    return lambda text: sorted({parse(part) for part in text.split(",")})


def _scale(args: argparse.Namespace) -> int:
    from . import resources, scaling, scaling_plan

    memory = resources.available_memory() * scaling_plan.MEMORY_SHARE if args.memory is None else args.memory * 2**30
    settings = scaling_plan.Settings(
        models=("linear", "two-layer") if args.model == "both" else (args.model,),
        dtypes=("float64", "float32") if args.dtype == "both" else (args.dtype,),
        sizes=args.sizes or scaling_plan.default_sizes(args.max_rows),
        explicit=args.sizes is not None,
        threads=args.threads or scaling_plan.default_threads(resources.available_threads()),
        hidden=args.hidden,
        budget=args.budget,
        memory=int(memory),
        out=args.out,
        resume=args.resume,
        reference=not args.no_reference,
        figures=not args.no_figures,
    )
    prepare_folder(args.out, "results")
    return scaling.run(settings)


# info


def _info(args: argparse.Namespace) -> int:
    from . import cache, limits, resources

    lines = {"spiralnn": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "llvmlite", *_OPTIONAL_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines[package] = importlib.metadata.version(package)
    lines["system"] = f"{platform.system()} {platform.machine()}"
    lines["cpu"] = limits.cpu_name()
    lines["cores"] = str(os.cpu_count())
    lines["threads"] = f"{resources.available_threads()} usable by this process"
    lines["threading layer"] = "own (Python threads running compiled code; Numba's threading layer is not used)"
    lines["cache folder"] = cache.folder() or "none (kernels are compiled in every process)"
    for name, value in lines.items():
        print(f"{name}: {value}")
    return DONE
