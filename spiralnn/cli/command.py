"""The command: ``spiralnn fit``, ``predict``, ``train``, ``bench``, ``scale`` and ``info``.

Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted.
"""

import argparse
import gc
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from .. import __version__
from . import fit, info, outputs, predict, scale, train
from .console import DONE, CommandError, Parser, guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, sys.argv unless argv is given, and return the exit code."""
    if argv is not None:
        return _run(list(argv))
    outputs.prepare()
    # The process is ours, and draws to files alone: a backend for windows, or a notebook's, is of no use to it, and an
    # error where this matplotlib does not know it.
    os.environ.pop("MPLBACKEND", None)
    # What its imports made stays to the end: looking through it for garbage, over and over
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
        try:
            args = parser.parse_args(arguments)
        except SystemExit as done:
            if done.code:
                raise
            return DONE  # help, which is flushed as all else is
        if args.command is None:
            parser.print_help()
            return DONE
        return args.run(args)

    return guarded(arguments[0] if arguments else "", action)


def _build_parser(with_bench: bool) -> argparse.ArgumentParser:
    parser = Parser(prog="spiralnn", description="Small classifiers, trained by fused Numba kernels.")
    parser.add_argument("--version", action="version", version=f"spiralnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, command, help in (
        ("fit", fit, "train on data in files, keep the model, score it"),
        ("predict", predict, "find classes or probabilities of rows, by a kept model"),
        ("train", train, "run the case study: train both models, print their logs, draw figures"),
        ("scale", scale, "measure how a step's time and memory go with rows and threads"),
        ("info", info, "print versions, processor, threads and cache folder"),
    ):
        subparser = commands.add_parser(name, help=help)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    bench = commands.add_parser("bench", help="time the fused kernels against NumPy and whoever else is installed")
    if with_bench:
        suite = _load_bench()
        suite.add_arguments(bench)
        bench.set_defaults(run=suite.run)
    return parser


def _load_bench() -> ModuleType:
    """The benchmark suite: it lies in the source tree and is not installed."""
    path = Path(__file__).resolve().parent.parent.parent / "bench" / "run.py"
    if not path.is_file():
        raise CommandError("the benchmark suite is in the source tree: run this command from a clone of it")
    spec = importlib.util.spec_from_file_location("spiralnn_bench", path)
    if spec is None or spec.loader is None:
        raise CommandError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
