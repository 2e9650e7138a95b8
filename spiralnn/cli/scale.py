"""`spiralnn scale`: how a pass's time and memory go with rows, threads and ranks; and what larger ones will cost."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import resources
from .console import (
    DONE,
    INTERRUPTED,
    WRONG_USAGE,
    CommandError,
    adder,
    integer,
    number,
    prepare_folder,
    print_json,
    tell,
)

EXAMPLES = """\
examples:
  spiralnn scale --budget 60
  spiralnn scale --solver lbfgs --shape 54 128 7 --out-of-core --ranks 1 2
  spiralnn scale --plan 1000000000 54 128 7 --ranks 16 --threads-per-rank 64 --bandwidth 3"""
MOST_CLASSES = 256  # labels take a byte
MEASURED, PLANNED = "what is measured", "what a plan assumes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    add = adder(parser)
    shapes = parser.add_mutually_exclusive_group()
    shapes.add_argument("--model", choices=("linear", "two-layer", "both"),
                        help="of 2 inputs and 3 classes (default: both)")  # fmt: skip
    shapes.add_argument("--shape", action="append", nargs=3, type=integer(0), metavar=("D", "H", "K"),
                        help="this one: inputs, hidden units (0: linear), classes; may be given again")  # fmt: skip
    add("--hidden", type=integer(1), metavar="H", help="hidden units of --model two-layer (default: 100)")
    add("--dtype", choices=("float64", "float32", "both"), help="precision (default: both; of --plan float32)")
    add("--solver", choices=("gd", "lbfgs", "both"), help="whose passes (default: gd; of --plan lbfgs)")
    measured = parser.add_argument_group(MEASURED)
    rows = measured.add_mutually_exclusive_group()
    rows.add_argument("--max-rows", type=integer(1000), default=10**8, metavar="N",
                      help="sizes 1000, 3000, 10 000, ... up to this (default: %(default)s)")  # fmt: skip
    rows.add_argument("--sizes", type=_list(integer(1)), metavar="N,N,...", help="these sizes instead")
    more = adder(measured)
    more("--threads", type=_list(integer(1)), metavar="N,N,...", help="numbers of threads (default: 1, 2, 4, ... all)")
    more("--out-of-core", action="store_true", help="also read rows from files in every pass, warm and from the disk")
    more("--scratch", type=Path, metavar="DIR", help="folder for those files (default: that of --out)")
    measured.add_argument("--ranks", nargs="+", type=integer(1), default=[], metavar="R",
                          help="also start so many MPI processes; of --plan how many there are")  # fmt: skip
    more("--threads-per-rank", type=integer(1), metavar="T", help="of each (default: 1; of --plan all that are here)")
    more("--mpiexec", default="mpiexec", metavar="COMMAND", help="what starts them, with its options")
    more("--budget", type=number(0.0), default=300.0, metavar="SECONDS", help="leave out what would take longer")
    more("--memory", type=number(0.0), metavar="GB", help="leave out what needs more (default: 3/4 of what is free); "
         "of --plan that of each rank")  # fmt: skip
    more("--fit", type=integer(0), default=0, metavar="ITERATIONS",
         help="also time a whole fit of the largest data by L-BFGS, checks and digest too, beyond the budget")
    more("--no-reference", action="store_true", help="leave out NumPy")
    more("--out", type=Path, metavar="DIR", help="folder for scale.json and the figures (default: scale-out); "
         "of --plan one whose scale.json tells the rates")  # fmt: skip
    more("--resume", action="store_true", help="keep what scale.json holds and measure the rest; else it is replaced")
    more("--no-figures", action="store_true", help="draw nothing")
    more("--page", action="store_true", help="also write scale.md: all of it, and plans for 10^9 and 10^12 rows")
    plan = adder(parser.add_argument_group(PLANNED, "measures nothing but the rates of that very shape, for seconds"))
    plan("--plan", nargs=4, type=integer(0), metavar=("N", "D", "H", "K"),
         help="what so many rows will cost (H 0: linear)")  # fmt: skip
    plan("--passes", type=integer(1), metavar="P", help="that a fit takes (default: 300)")
    plan("--bandwidth", type=_positive, metavar="GB/s", help="of the network (default: 3, or 25 Gbit/s)")
    plan("--latency", type=number(0.0), metavar="us", help="of a message (default: 5)")
    plan("--disk", type=_positive, metavar="GB/s", help="that a rank reads with (default: as measured, else 2)")
    plan("--json", action="store_true", help="print one JSON object")


def _list(parse: Callable[[str], int]) -> Callable[[str], list[int]]:
    return lambda text: sorted({parse(part) for part in text.split(",")})


def _positive(text: str) -> float:
    value = number(0.0)(text)
    if value == 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a finite number above 0")
    return value


ONLY_PLANNED = ("passes", "bandwidth", "latency", "disk", "json")
ONLY_MEASURED = ("shape", "model", "hidden", "sizes", "threads", "out_of_core", "scratch", "resume", "page", "fit")


def run(args: argparse.Namespace) -> int:
    names, reason = (ONLY_PLANNED, "needs --plan") if args.plan is None else (ONLY_MEASURED, "is not for --plan")
    given = next((name for name in names if getattr(args, name) not in (None, False, 0)), None)
    if given is not None:
        return _wrong(f"argument --{given.replace('_', '-')}: {reason}")
    shapes = [args.plan[1:]] if args.plan is not None else args.shape or []
    for D, _, K in shapes:
        if D < 1 or not 2 <= K <= MOST_CLASSES:
            option = "--shape" if args.plan is None else "--plan"
            expected = f"1 or more, and 2 to {MOST_CLASSES}"
            return _wrong(f"argument {option}: {D} inputs and {K} classes given, expected {expected}")
    if args.plan is not None:
        return _plan(args)
    if args.shape and args.hidden is not None:
        return _wrong("argument --hidden: not allowed with argument --shape")
    return _measure(args)


def _wrong(message: str) -> int:
    tell("scale", f"error: {message}")
    return WRONG_USAGE


def _measure(args: argparse.Namespace) -> int:
    # whose imports no other command shall wait for
    from ..kernels.models import Model
    from ..scaling import planning
    from ..scaling.cases import ScalingError, Settings
    from ..scaling.run import run as measure

    memory = resources.available_memory() * planning.MEMORY_SHARE if args.memory is None else args.memory * 1e9
    hidden = args.hidden or 100
    units = {"linear": [0], "two-layer": [hidden]}.get(args.model, [0, hidden])
    shapes = [Model(*shape) for shape in args.shape or [(2, H, 3) for H in units]]
    out = args.out or Path("scale-out")
    settings = Settings(
        shapes=shapes,
        dtypes=("float32", "float64") if args.dtype in (None, "both") else (args.dtype,),
        solvers=("gd", "lbfgs") if args.solver == "both" else (args.solver or "gd",),
        sizes=args.sizes or planning.default_sizes(args.max_rows),
        explicit=args.sizes is not None,
        threads=args.threads or planning.default_threads(resources.available_threads()),
        ranks=sorted(set(args.ranks)),
        threads_per_rank=args.threads_per_rank or 1,
        mpiexec=args.mpiexec,
        out_of_core=args.out_of_core,
        budget=args.budget,
        memory=int(memory),
        out=out,
        scratch=args.scratch or out,
        resume=args.resume,
        reference=not args.no_reference,
        figures=not args.no_figures,
        page=args.page,
        fit=args.fit,
    )
    prepare_folder(out, "results")
    if args.out_of_core or args.ranks:
        prepare_folder(settings.scratch, "rows")

    def action() -> int:
        return DONE if measure(settings, lambda message: tell("scale", message)) else INTERRUPTED

    return _guarded(action, ScalingError)


def _plan(args: argparse.Namespace) -> int:
    from ..kernels.models import Model
    from ..scaling import forecast, forecast_report, rates
    from ..scaling.cases import ScalingError
    from ..scaling.units import printable

    N, *shape = args.plan
    if N < 1:
        return _wrong(f"argument --plan: {N} rows given, expected 1 or more")
    for name, values in (("ranks", args.ranks), ("solver", ["both"] if args.solver == "both" else []),
                         ("dtype", ["both"] if args.dtype == "both" else [])):  # fmt: skip
        if len(values) > 1 or values == ["both"]:
            given = " ".join(map(str, values))
            return _wrong(f"argument --{name}: {given!r} given, expected one for --plan")
    threads = args.threads_per_rank or resources.available_threads()

    def plan() -> int:
        dtype, solver = args.dtype or "float32", args.solver or "lbfgs"
        found = rates.find(Model(*shape), dtype, solver, threads, args.out)
        cluster = forecast.Cluster(
            ranks=(args.ranks or [1])[0],
            threads=threads,
            memory=args.memory * 1e9 if args.memory is not None else float(resources.available_memory()),
        )
        if args.bandwidth is not None:
            cluster = cluster._replace(bandwidth=args.bandwidth * 1e9)
        if args.latency is not None:
            cluster = cluster._replace(latency=args.latency * 1e-6)
        if args.disk is not None:
            cluster = cluster._replace(disk=args.disk * 1e9, disk_is="as given")
        elif found.disk is not None:
            cluster = cluster._replace(disk=found.disk, disk_is="measured")
        told = forecast.forecast(N, Model(*shape), dtype, solver, args.passes or forecast.PASSES, cluster, found)
        if args.json:
            print_json(forecast.as_json(told))
        else:
            print(printable(forecast_report.text(told)))
        return DONE

    return _guarded(plan, ScalingError)


def _guarded(action: Callable[[], int], failure: Any) -> int:
    try:
        return action()
    except failure as error:
        raise CommandError(str(error)) from error
