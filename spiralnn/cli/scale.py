"""`spiralnn scale`: how a step's time and memory go with rows and threads."""

import argparse
from collections.abc import Callable
from pathlib import Path

from .. import resources
from .console import DONE, INTERRUPTED, CommandError, adder, integer, number, prepare_folder, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
    # whose imports no other command shall wait for
    from ..scaling import planning
    from ..scaling.run import run as measure

    memory = resources.available_memory() * planning.MEMORY_SHARE if args.memory is None else args.memory * 2**30
    settings = planning.Settings(
        models=("linear", "two-layer") if args.model == "both" else (args.model,),
        dtypes=("float64", "float32") if args.dtype == "both" else (args.dtype,),
        sizes=args.sizes or planning.default_sizes(args.max_rows),
        explicit=args.sizes is not None,
        threads=args.threads or planning.default_threads(resources.available_threads()),
        hidden=args.hidden,
        budget=args.budget,
        memory=int(memory),
        out=args.out,
        resume=args.resume,
        reference=not args.no_reference,
        figures=not args.no_figures,
    )
    prepare_folder(args.out, "results")
    try:
        whole = measure(settings, lambda message: tell("scale", message))
    except planning.ScalingError as error:
        raise CommandError(str(error)) from error
    return DONE if whole else INTERRUPTED
