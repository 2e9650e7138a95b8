"""`spiralnn fit`: train on tables in files, keep the model, score it.

All inputs are read and checked, and every output is known to be writable, before the first step.
"""

import argparse
import contextlib
import importlib.util
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import FitInterruptedWarning, SoftmaxClassifier, TwoLayerNet, __version__, tables
from ..checks.arrays import check_finite
from ..checks.labels import class_labels, label_column
from ..checks.weights import sample_weights
from ..files.whole_file import unwritable
from ..tables import Table
from .console import (
    DONE,
    INPUTS,
    INTERRUPTED,
    SEEDS,
    CommandError,
    add_table_arguments,
    adder,
    check_output,
    checked,
    integer,
    number,
    print_json,
    table_options,
    tell,
)

MODELS = {"two-layer": TwoLayerNet, "linear": SoftmaxClassifier}
LOG_LINES = 20  # of a training whose progress can be shown by lines only
EXAMPLES = """\
examples:
  spiralnn fit X.npy y.npy --test X_test.npy y_test.npy --out model.npz
  spiralnn fit table.csv --target label --test-fraction 0.2 --out model.npz"""


class Data(NamedTuple):
    """Rows with their labels, and where they came from."""

    X: Table
    y: np.ndarray
    source: Path
    weights: np.ndarray | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = adder(parser)
    parser.add_argument("X", type=tables.table_path, help=INPUTS)
    parser.add_argument("y", type=tables.table_path, nargs="?", help="a file with one label a row; or see --target")
    add("--target", metavar="COLUMN", help="labels are this column of X: its name, or its number from 0 (-1: the last)")
    add_table_arguments(add)
    add("--sample-weight", type=tables.table_path, metavar="FILE", help="one weight a row, 0 or more")
    add("--class-weight", choices=("balanced",), help="weigh rows so that all classes count the same")
    add("--out", type=Path, metavar="FILE", help="write the model here, to be read by predict and by spiralnn.load")

    model = adder(parser.add_argument_group("the model and its training"))
    model("--model", choices=tuple(MODELS), default="two-layer", help="network of one hidden layer, or linear")
    hidden = f"hidden units of the network (default: {TwoLayerNet.hidden_size})"
    model("--hidden", type=integer(1), metavar="H", help=hidden)
    steps = f"steps (default: {TwoLayerNet.max_iter}; linear: {SoftmaxClassifier.max_iter})"
    model("--max-iter", type=integer(1), metavar="N", help=steps)
    model("--step-size", type=number(), default=TwoLayerNet.step_size, metavar="X", help="length of a step")
    model("--reg", type=number(0.0), default=TwoLayerNet.reg, metavar="X", help="strength of the L2 term")
    model("--init-scale", type=number(0.0), default=TwoLayerNet.init_scale, metavar="X", help="factor on drawn weights")
    model("--tol", type=number(0.0), metavar="X", help="stop once 10 steps in a row have not gained X in loss")
    model("--seed", type=SEEDS, default=0, metavar="N", help="random state of starting weights and of --test-fraction")
    model("--dtype", choices=("float64", "float32"), help="precision (default: float32 if X is that, else float64)")
    model("--threads", type=integer(1), metavar="N", help="threads (default: all that this process may use)")

    score = adder(parser.add_argument_group("held-out score").add_mutually_exclusive_group())
    score("--test", type=tables.table_path, nargs="+", metavar="FILE", help="X and y, or a table that has --target")
    score("--test-fraction", type=number(0.0), metavar="X", help="hold out this share of the rows, chosen by --seed")

    runs = adder(parser.add_argument_group("long runs"))
    runs("--checkpoint", type=Path, metavar="FILE", help="keep the state of the run here")
    runs("--checkpoint-every", type=number(0.0), default=60.0, metavar="SECONDS", help="how often")
    runs("--resume", action="store_true", help="go on from the checkpoint, if it is there")

    shown = parser.add_argument_group("what is shown").add_mutually_exclusive_group()
    shown.add_argument("--verbose", type=integer(0), default=0, metavar="K", help="print the loss every K steps")
    shown.add_argument("--quiet", action="store_true", help="no progress and no report")
    add("--json", action="store_true", help="report as one JSON object on stdout")
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLES
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Train, save, score, report."""
    _check_usage(args)
    files = [args.X, *filter(None, [args.y, args.sample_weight]), *(args.test or [])]
    for path, what in ((args.out, "the model"), (args.checkpoint, "checkpoints")):
        if path is not None:
            check_output(path, what, files)
    data, test = _read_data(args)
    model = _make_model(args)
    start = time.perf_counter()
    _train(model, data, args)
    seconds = time.perf_counter() - start

    interrupted = model.n_iter_ < model.max_iter and not model.converged_
    if args.out is not None:
        try:
            model.save(args.out)
        except OSError as error:
            raise CommandError(unwritable(args.out, "the model", error)) from error
    # who presses Ctrl-C does not wait for a pass over the rows
    train_accuracy = None if interrupted else model.score(data.X, data.y)
    test_accuracy = None if interrupted or test is None else model.score(test.X, test.y)
    report = {
        "command": "fit",
        "version": __version__,
        "model": args.model,
        "N": len(data.y),
        "N_test": 0 if test is None else len(test.y),
        "D": data.X.shape[1],
        "H": getattr(model, "hidden_size", None),
        "K": len(model.classes_),
        "classes": model.classes_.tolist(),
        "features": None if data.X.columns is None else list(data.X.columns),
        "dtype": model.coefs_[0].dtype.name,
        "step_size": args.step_size,
        "reg": args.reg,
        "class_weight": args.class_weight,
        "sample_weight": args.sample_weight,
        "seed": args.seed,
        "loss": model.loss_,
        "n_iter": model.n_iter_,
        "max_iter": model.max_iter,
        "converged": model.converged_,
        "interrupted": interrupted,
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
        "seconds": seconds,
        "path": args.out,
        "checkpoint": args.checkpoint,
    }
    if args.json:
        print_json(report)
    elif not args.quiet:
        _print_report(report)
    if interrupted:
        kept = "" if args.out is None else f"; the model as it is then is in {str(args.out)!r}"
        more = "" if args.checkpoint is None else "; --resume goes on"
        tell("fit", f"interrupted after {model.n_iter_} of {model.max_iter} steps{kept}{more}")
        return INTERRUPTED
    return DONE


def _check_usage(args: argparse.Namespace) -> None:
    """What argparse cannot tell: which options go together."""
    if args.target is not None and (args.y is not None or any(map(tables.is_npy, [args.X, *(args.test or [])]))):
        args.refuse("argument --target: the labels are a column of X, no .npy file, and y is not given")
    if args.target is None and args.y is None:
        args.refuse("labels are missing: give a file y, or --target COLUMN when they are a column of X")
    n_files = 2 if args.target is None else 1
    if args.test is not None and len(args.test) != n_files:
        args.refuse(f"argument --test: {len(args.test)} files given, expected {n_files}")
    if args.test_fraction is not None and not 0 < args.test_fraction < 1:
        args.refuse("argument --test-fraction: expected a number between 0 and 1")
    if args.model == "linear" and args.hidden is not None:
        args.refuse("argument --hidden: a linear model has no hidden units")
    if args.resume and args.checkpoint is None:
        args.refuse("argument --resume: needs --checkpoint")
    if args.out is not None and args.checkpoint is not None and args.out.absolute() == args.checkpoint.absolute():
        args.refuse("argument --checkpoint: expected another file than --out")


def _read_data(args: argparse.Namespace) -> tuple[Data, Data | None]:
    """Rows to train with, and rows held out, if any."""
    data = _read(args, args.X, args.y, None)
    classes, codes = checked(data.source, class_labels, data.y, len(data.X))
    if args.sample_weight is not None:
        weights = tables.read_column(
            args.sample_weight, len(data.X), args.header, separator=args.separator, kind="numbers"
        )
        checked(args.sample_weight, sample_weights, weights, len(data.X), np.float64)
        data = data._replace(weights=weights)
    if args.test is not None:
        X_path, y_path = (*args.test, None)[:2]
        test = _read(args, X_path, y_path, classes)
        _check_test(data, test, classes)
        return data, test
    if args.test_fraction is None:
        return data, None

    N = len(codes)
    n_test = math.floor(N * args.test_fraction + 0.5)
    if not 0 < n_test < N:
        raise CommandError(f"--test-fraction {args.test_fraction:g} of {N} rows is {n_test}, expected 1 to {N - 1}")
    held_out = np.zeros(N, bool)
    held_out[np.random.default_rng(args.seed).permutation(N)[:n_test]] = True
    left = np.bincount(codes[~held_out], minlength=len(classes))
    if not left.all():
        raise CommandError(
            f"{data.source}: --test-fraction {args.test_fraction:g} with --seed {args.seed} leaves no row of class "
            f"{classes.tolist()[left.argmin()]!r} to train with; try another --seed or a smaller fraction"
        )
    return _some_rows(data, ~held_out), _some_rows(data, held_out)


def _some_rows(data: Data, where: np.ndarray) -> Data:
    weights = None if data.weights is None else data.weights[where]
    return Data(data.X.rows(where), data.y[where], data.source, weights)


def _read(args: argparse.Namespace, X_path: Path, y_path: Path | None, classes: np.ndarray | None) -> Data:
    """classes: those of training, by which labels of a test file are read."""
    y: Any
    X, y = tables.read_table(X_path, **table_options(args), classes=classes)
    if args.dtype is not None:
        X = X.astype(args.dtype)
        checked(X_path, check_finite, f"X as {args.dtype}", X.matrix)
    if y_path is not None:
        y = tables.read_column(y_path, len(X), args.header, separator=args.separator, classes=classes)
    return Data(X, y, y_path or X_path)


def _check_test(data: Data, test: Data, classes: np.ndarray) -> None:
    """CommandError unless a model of data can be scored on test."""
    checked(test.source, label_column, test.y, len(test.X))
    if test.X.shape[1] != data.X.shape[1]:
        raise CommandError(f"{test.source}: {test.X.shape[1]} inputs, but training has {data.X.shape[1]}")
    names, expected = test.X.columns, data.X.columns
    if names is not None and expected is not None and list(names) != list(expected):
        raise CommandError(f"{test.source}: columns {', '.join(names)}, but training has {', '.join(expected)}")
    unknown = ~np.isin(test.y, classes)
    if unknown.any():
        label = test.y[unknown.argmax()].tolist()
        raise CommandError(f"{test.source}: label {label!r}, but training has only {_some(classes.tolist())}")


def _some(values: list[Any]) -> str:
    return ", ".join(map(repr, values[:10])) + ", ..." * (len(values) > 10)


def _make_model(args: argparse.Namespace) -> Any:
    given = {"max_iter": args.max_iter, "hidden_size": args.hidden}
    bar = not args.quiet and sys.stderr.isatty()
    model = MODELS[args.model](
        step_size=args.step_size,
        reg=args.reg,
        init_scale=args.init_scale,
        tol=args.tol,
        class_weight=args.class_weight,
        random_state=args.seed,
        n_threads=args.threads,
        verbose=args.verbose,
        progress=bar and importlib.util.find_spec("tqdm") is not None,
        **{name: value for name, value in given.items() if value is not None},
    )
    if bar and not model.progress and not model.verbose:
        model.verbose = max(1, model.max_iter // LOG_LINES)
    return model


def _train(model: Any, data: Data, args: argparse.Namespace) -> None:
    # log lines are part of the report; beside JSON, or instead of a bar, they are not
    where = sys.stdout if args.verbose and not args.json else sys.stderr
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(where):
            warnings.simplefilter("ignore", FitInterruptedWarning)  # told at the end
            model.fit(
                data.X, data.y, data.weights,
                checkpoint=args.checkpoint, checkpoint_every=args.checkpoint_every, resume=args.resume,
            )  # fmt: skip
    except OSError as error:
        raise CommandError(f"cannot read {error.filename!r}: {error.strerror}") from error
    except FloatingPointError as error:
        raise CommandError(f"{error}. No model is saved") from error
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error


def _print_report(report: dict[str, Any]) -> None:
    hidden = "" if report["H"] is None else f" of {report['H']} hidden units"
    print(f"{report['N']} rows, {report['D']} inputs, {report['K']} classes, {report['dtype']}")
    print(f"{report['model']} model{hidden}: {report['n_iter']} steps in {report['seconds']:.3f} s")
    print(f"loss: {report['loss']:f}{' (converged)' if report['converged'] else ''}")
    if report["train_accuracy"] is not None:
        print(f"training accuracy: {report['train_accuracy']:.4f}")
    if report["test_accuracy"] is not None:
        print(f"test accuracy: {report['test_accuracy']:.4f} ({report['N_test']} rows held out)")
    if report["path"] is not None:
        print(f"model: {report['path']}")
