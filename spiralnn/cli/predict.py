"""`spiralnn predict`: classes or probabilities of the rows of a table, by a kept model."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, load, tables
from .console import (
    DONE,
    INPUTS,
    CommandError,
    add_table_arguments,
    adder,
    check_output,
    checked,
    integer,
    print_json,
    table_options,
)

EXAMPLES = """\
examples:
  spiralnn predict model.npz X.npy --out labels.npy
  spiralnn predict model.npz table.csv --target label --proba --out probabilities.csv"""
BLOCK_NUMBERS = 1 << 22  # of inputs or scores that are held at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = adder(parser)
    parser.add_argument("model", type=Path, help="a model that fit has written")
    parser.add_argument("X", type=tables.table_path, help=INPUTS)
    add("--out", type=tables.table_path, metavar="FILE", help=".npy, .csv or .parquet (default: lines on stdout)")
    add("--proba", action="store_true", help="probabilities of all classes instead of the likeliest class")
    add("--target", metavar="COLUMN", help="leave out this column of X: its name, or its number from 0 (-1: the last)")
    add_table_arguments(add)
    add("--threads", type=integer(1), metavar="N", help="threads (default: all that this process may use)")
    add("--json", action="store_true", help="report as one JSON object on stdout; needs --out")
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLES
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """The class of every row, or its probabilities, block by block."""
    if args.target is not None and tables.is_npy(args.X):
        args.refuse("argument --target: needs a .csv, .tsv or .parquet file")
    if args.json and args.out is None:
        args.refuse("argument --json: needs --out, for predictions are on stdout otherwise")
    if args.out is not None:
        check_output(args.out, "predictions", [args.model, args.X])
        tables.check_installed(args.out)
    model = _load(args.model).set_params(n_threads=args.threads)
    start = time.perf_counter()
    N = 0
    with tables.writer(args.out, _names(model) if args.proba else ["label"]) as write:
        for block in _predictions(model, args):
            write(block)
            N += len(block)
    if args.json:
        print_json({
            "command": "predict", "version": __version__, "model": args.model, "N": N, "D": model.n_features_in_,
            "K": len(model.classes_), "classes": model.classes_.tolist(), "proba": args.proba,
            "seconds": time.perf_counter() - start, "path": args.out,
        })  # fmt: skip
    return DONE


def _load(path: Path) -> Any:
    try:
        return load(path)
    except OSError as error:
        raise CommandError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error


def _predictions(model: Any, args: argparse.Namespace) -> Iterator[np.ndarray]:
    rows = max(1, BLOCK_NUMBERS // max(model.n_features_in_, len(model.classes_)))
    for i, block in enumerate(tables.blocks(args.X, rows, **table_options(args))):
        try:
            found = checked(args.X, model.predict_proba if args.proba else model.predict, block)
        except FloatingPointError as error:
            raise CommandError(f"{args.X}: in the {rows} rows from {i * rows} on, {error}") from error
        yield found.astype(str) if found.dtype.kind == "O" else found


def _names(model: Any) -> list[str]:
    return [str(label) for label in model.classes_.tolist()]
