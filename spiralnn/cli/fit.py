"""`spiralnn fit`: train on tables in files, keep the model, score it.

All inputs are read and checked, and every output is known to be writable, before the first step.
"""

import argparse
import contextlib
import importlib.util
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import FitInterruptedWarning, SoftmaxClassifier, TwoLayerNet, __version__, tables
from ..checks.held_out import held_out_counts
from ..files.whole_file import unwritable
from ..kernels.models import Model
from ..solvers.choice import AUTO, BATCHED, GD, NEWTON, SCHEDULES, SOLVERS, Choice, choose
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
    tell,
)
from .outputs import Lossy
from .rows import Rows, read_rows
from .streams import is_out_of_core, job_of_ranks, open_streams

MODELS = {"two-layer": TwoLayerNet, "linear": SoftmaxClassifier}
LOG_LINES = 20  # of a training whose progress can be shown by lines only
NEEDS = {"--batch-size": (AUTO, *BATCHED), "--learning-rate": (AUTO, *BATCHED), "--step-size": (GD, *BATCHED)}
EXAMPLES = """\
examples:
  spiralnn fit X.npy y.npy --test X_test.npy y_test.npy --out model.npz
  spiralnn fit table.csv --target label --test-fraction 0.2 --out model.npz
  spiralnn fit X.npy y.npy --solver adam --early-stopping --out model.npz
  spiralnn fit X.npy y.npy --out-of-core --out model.npz
  mpiexec -n 4 spiralnn fit X.npy y.npy --out model.npz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = adder(parser)
    parser.add_argument("X", type=tables.table_path, help=INPUTS)
    parser.add_argument("y", type=tables.table_path, nargs="?", help="a file with one label a row; or see --target")
    add("--target", metavar="COLUMN", help="labels are this column of X: its name, or its number from 0 (-1: the last)")
    add_table_arguments(add)
    add("--sample-weight", type=tables.table_path, metavar="FILE", help="one weight a row, 0 or more")
    core = "leave X and y in their .npy or .parquet files, and read them in every pass (default: where X does not fit)"
    parser.add_argument("--out-of-core", action=argparse.BooleanOptionalAction, default=None, help=core)
    add("--class-weight", choices=("balanced",), help="weigh rows so that all classes count the same")
    add("--out", type=Path, metavar="FILE", help="write the model here, to be read by predict and by spiralnn.load")

    model = adder(parser.add_argument_group("the model"))
    model("--model", choices=tuple(MODELS), default="two-layer", help="network of one hidden layer, or linear")
    hidden = f"hidden units of the network (default: {TwoLayerNet.hidden_size})"
    model("--hidden", type=integer(1), metavar="H", help=hidden)
    reg = "strength of the L2 term (default: 1e-3 for gd, else 1e-4)"
    model("--reg", type=number(0.0), metavar="X", help=reg)
    scale = "factor on normal starting weights (default: 0.01 for gd; else Glorot's uniform weights, linear: zeros)"
    model("--init-scale", type=number(0.0), metavar="X", help=scale)
    model("--seed", type=SEEDS, default=0, metavar="N", help="random state of all that is drawn")
    model("--dtype", choices=("float64", "float32"), help="precision (default: float32 if X is that, else float64)")

    solver = adder(parser.add_argument_group("training"))
    auto = "auto: network of 1000 rows or more, or --batch-size: adam; else lbfgs, linear also newton-cholesky"
    solver("--solver", choices=SOLVERS, default=TwoLayerNet.solver, help=auto)
    steps = (
        "largest number of steps (gd: 200, network 10000), of iterations (lbfgs: 1000, network 200; newton-cholesky: "
        "100), or of epochs (sgd, adam: 40, or as many as make 1500 updates; fewer from 100000 rows on, but 10)"
    )
    solver("--max-iter", type=integer(1), metavar="N", help=steps)
    step_size = "length of a step, of sgd and adam the largest (default: gd 1, sgd 0.1, adam 0.01; needs one of these)"
    solver("--step-size", type=number(), metavar="X", help=step_size)
    size = "rows of a batch of sgd and adam (default: 32, from 2048 rows on 64, from 4096 rows on 128)"
    solver("--batch-size", type=integer(1), metavar="N", help=size)
    schedule = "how the step size of sgd and adam goes on (default: linear, to zero at the last epoch)"
    solver("--learning-rate", choices=SCHEDULES, help=schedule)
    tol = (
        "gd, sgd, adam: stop once the loss no longer gains X (default: never, 1e-4 where --learning-rate is not "
        "linear); lbfgs, newton-cholesky: where the gradient is no larger (default: 1e-4)"
    )
    solver("--tol", type=number(0.0), metavar="X", help=tol)
    patience = "steps or epochs in a row without a gain of --tol that are one too many"
    solver("--n-iter-no-change", type=integer(1), default=TwoLayerNet.n_iter_no_change, metavar="N", help=patience)
    solver("--threads", type=integer(1), metavar="N", help="threads (default: all that this process may use)")

    judged = parser.add_argument_group("validation")
    early = "stop once accuracy on rows not trained on no longer gains, and keep the best model"
    judged.add_argument("--early-stopping", action="store_true", help=early)
    rows = adder(judged.add_mutually_exclusive_group())
    own = "rows to look at after each step: X and y, or a table that has --target"
    rows("--validation", type=tables.table_path, nargs="+", metavar="FILE", help=own)
    share = f"hold out this share of each class for --early-stopping (default: {TwoLayerNet.validation_fraction})"
    rows("--validation-fraction", type=number(0.0), metavar="X", help=share)

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
    files = [args.X, *filter(None, [args.y, args.sample_weight]), *(args.validation or []), *(args.test or [])]
    for path, what in ((args.out, "the model"), (args.checkpoint, "checkpoints")):
        if path is not None:
            check_output(path, what, files)
    communicator = job_of_ranks()
    rows = open_streams(args) if is_out_of_core(args, communicator is not None) else read_rows(args)
    model = _make_model(args)
    n_judged = _n_judged(rows, model)
    choice = _choose(rows, model, n_judged, communicator is not None)
    _show_progress(model, choice, args)
    start = time.perf_counter()
    interrupted = _train(model, rows, args, communicator)
    seconds = time.perf_counter() - start
    if communicator is not None and communicator.rank > 0:  # what is left to do, the first one does
        return INTERRUPTED if interrupted else DONE

    if args.out is not None:
        try:
            model.save(args.out)
        except OSError as error:
            raise CommandError(unwritable(args.out, "the model", error)) from error
    # who presses Ctrl-C does not wait for a pass over the rows
    train_accuracy = None if interrupted else model.score(rows.train.X, rows.train.y)
    test_accuracy = None if interrupted or rows.test is None else model.score(rows.test.X, rows.test.y)
    report = {
        "command": "fit",
        "version": __version__,
        "model": args.model,
        "N": rows.train.N,
        "N_validation": n_judged,
        "N_test": 0 if rows.test is None else rows.test.N,
        "D": rows.train.D,
        "H": getattr(model, "hidden_size", None),
        "K": len(model.classes_),
        "classes": model.classes_.tolist(),
        "features": rows.train.names,
        "out_of_core": rows.classes is None,
        "ranks": 1 if communicator is None else communicator.size,
        "dtype": model.coefs_[0].dtype.name,
        "solver": model.solver_,
        "step_size": choice.step_size if choice.solver in NEEDS["--step-size"] else None,
        "batch_size": choice.batch_size,
        "learning_rate": choice.learning_rate,
        "reg": choice.reg,
        "early_stopping": args.early_stopping,
        "class_weight": args.class_weight,
        "sample_weight": args.sample_weight,
        "seed": args.seed,
        "loss": model.loss_,
        "n_iter": model.n_iter_,
        "max_iter": choice.max_iter,
        "n_passes": model.n_passes_,
        "converged": model.converged_,
        "interrupted": interrupted,
        "train_accuracy": train_accuracy,
        "best_validation_accuracy": model.best_validation_score_ if model.validation_scores_ else None,
        "test_accuracy": test_accuracy,
        "seconds": seconds,
        "path": args.out,
        "checkpoint": args.checkpoint,
    }
    unit = _unit(choice)
    if args.json:
        print_json(report)
    elif not args.quiet:
        _print_report(report, unit)
    if interrupted:
        kept = "" if args.out is None else f"; the model as it is then is in {str(args.out)!r}"
        more = "" if args.checkpoint is None else "; --resume goes on"
        tell("fit", f"interrupted after {model.n_iter_} of {choice.max_iter} {unit}s{kept}{more}")
        return INTERRUPTED
    return DONE


def _check_usage(args: argparse.Namespace) -> None:
    """What argparse cannot tell: which options go together."""
    others = {"--validation": args.validation, "--test": args.test}
    if args.target is not None:
        tested = [args.X, *(path for files in others.values() for path in files or [])]
        if args.y is not None or any(map(tables.is_npy, tested)):
            args.refuse("argument --target: the labels are a column of X, no .npy file, and y is not given")
    elif args.y is None:
        args.refuse("labels are missing: give a file y, or --target COLUMN when they are a column of X")
    n_files = 2 if args.target is None else 1
    for option, files in others.items():
        if files is not None and len(files) != n_files:
            args.refuse(f"argument {option}: {len(files)} files given, expected {n_files}")
    for option, share in (("--validation-fraction", args.validation_fraction), ("--test-fraction", args.test_fraction)):
        if share is not None and not 0 < share < 1:
            args.refuse(f"argument {option}: expected a number between 0 and 1")
    if args.validation_fraction is not None and not args.early_stopping:
        args.refuse("argument --validation-fraction: needs --early-stopping")
    if args.model == "linear" and args.hidden is not None:
        args.refuse("argument --hidden: a linear model has no hidden units")
    if args.model != "linear" and args.solver == NEWTON:
        args.refuse(f"argument --solver: {NEWTON!r} is for --model linear")
    for option, solvers in NEEDS.items():
        if getattr(args, option[2:].replace("-", "_")) is not None and args.solver not in solvers:
            args.refuse(f"argument {option}: solver is {args.solver!r}, expected {_one_of(solvers)}")
    if args.resume and args.checkpoint is None:
        args.refuse("argument --resume: needs --checkpoint")
    if args.out is not None and args.checkpoint is not None and args.out.absolute() == args.checkpoint.absolute():
        args.refuse("argument --checkpoint: expected another file than --out")


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"


def _make_model(args: argparse.Namespace) -> Any:
    given = {"hidden_size": args.hidden, "validation_fraction": args.validation_fraction}
    return MODELS[args.model](
        solver=args.solver,
        step_size=args.step_size,
        reg=args.reg,
        max_iter=args.max_iter,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        early_stopping=args.early_stopping,
        n_iter_no_change=args.n_iter_no_change,
        init_scale=args.init_scale,
        tol=args.tol,
        class_weight=args.class_weight,
        random_state=args.seed,
        n_threads=args.threads,
        **{name: value for name, value in given.items() if value is not None},
    )


def _n_judged(rows: Rows, model: Any) -> int:
    """Rows that steps are judged by: given ones, or a share of those to train with."""
    if rows.validation is not None:
        return rows.validation.N
    if not model.early_stopping or rows.codes is None or rows.classes is None:
        return 0
    fraction = model.validation_fraction
    return int(checked(rows.train.source, held_out_counts, rows.codes, len(rows.classes), fraction).sum())


def _choose(rows: Rows, model: Any, n_judged: int, has_ranks: bool) -> Choice:
    """The solver that the model will come to, with its settings; CommandError for options that it has not."""
    K = 2 if rows.classes is None else len(rows.classes)  # of a stream the fit will know
    shape = Model(rows.train.D, getattr(model, "hidden_size", 0), K)
    N = rows.train.N - (n_judged if rows.validation is None else 0)
    try:
        return choose(model.get_params(), shape, N, streamed=has_ranks or rows.classes is None)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _unit(choice: Choice) -> str:
    """What one of max_iter is."""
    return "epoch" if choice.solver in BATCHED else "step" if choice.solver == GD else "iteration"


def _show_progress(model: Any, choice: Choice, args: argparse.Namespace) -> None:
    """Log lines where they are asked for; else a bar on a terminal, or lines where there can be none."""
    model.verbose = args.verbose
    if not args.quiet and sys.stderr.isatty():
        model.progress = importlib.util.find_spec("tqdm") is not None
        if not model.progress and not model.verbose:
            model.verbose = max(1, choice.max_iter // LOG_LINES)


def _train(model: Any, rows: Rows, args: argparse.Namespace, communicator: Any) -> bool:
    """Fit the model; whether Ctrl-C ended that."""
    data, interrupted = rows.train, False
    tell_warning = warnings.showwarning

    def note(message: Warning | str, *where: Any, **more: Any) -> None:
        nonlocal interrupted
        if isinstance(message, FitInterruptedWarning):
            interrupted = True  # and told at the end
        else:
            tell_warning(message, *where, **more)

    # log lines are part of the report; beside JSON, or instead of a bar, they are not
    where = Lossy(sys.stdout) if args.verbose and not args.json else sys.stderr  # which cost no model
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(where):
            warnings.showwarning = note
            warnings.simplefilter("always", FitInterruptedWarning)
            model.fit(
                data.X, data.y, data.weights,
                validation=None if rows.validation is None else rows.validation.pair,
                checkpoint=args.checkpoint, checkpoint_every=args.checkpoint_every, resume=args.resume,
                communicator=communicator,
            )  # fmt: skip
    except OSError as error:
        where = f"cannot read {error.filename!r}: {error.strerror}" if error.filename else str(error)
        raise CommandError(where) from error
    except FloatingPointError as error:
        raise CommandError(f"{error}. No model is saved") from error
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    return interrupted


def _print_report(report: dict[str, Any], unit: str) -> None:
    hidden = "" if report["H"] is None else f" of {report['H']} hidden units"
    done, passes = (f"{round(report[name], 1):.15g}" for name in ("n_iter", "n_passes"))
    print(f"{report['N']} rows, {report['D']} inputs, {report['K']} classes, {report['dtype']}")
    print(f"{report['model']} model{hidden}, {report['solver']}: {done} {unit}s in {report['seconds']:.3f} s, "
          f"{passes} passes over the rows")  # fmt: skip
    print(f"loss: {report['loss']:f}{' (converged)' if report['converged'] else ''}")
    if report["train_accuracy"] is not None:
        print(f"training accuracy: {report['train_accuracy']:.4f}")
    if report["best_validation_accuracy"] is not None:
        print(f"best validation accuracy: {report['best_validation_accuracy']:.4f} ({report['N_validation']} rows)")
    if report["test_accuracy"] is not None:
        print(f"test accuracy: {report['test_accuracy']:.4f} ({report['N_test']} rows held out)")
    if report["path"] is not None:
        print(f"model: {report['path']}")
