"""The rows of `spiralnn fit` where they are not read into memory: files that every pass goes through."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import open_rows, tables
from ..distributed.job import communicator_of_job
from ..resources import available_memory
from ..rows.rows import Rows as Stream
from .console import CommandError, tell
from .rows import Data, Rows

FITS_SHARE = 0.75  # of the memory available: X beyond is left in its file


def job_of_ranks() -> Any:
    """The communicator of an MPI job that this process is one of, None where it is alone."""
    try:
        return communicator_of_job()
    except (ImportError, RuntimeError) as error:
        raise CommandError(str(error)) from error


def is_out_of_core(args: argparse.Namespace, has_ranks: bool) -> bool:
    """Whether X stays in its file: as asked for, of ranks that each read a part of it, or where it does not fit, which
    is told."""
    if args.out_of_core and not tables.can_stay(args.X):
        args.refuse("argument --out-of-core: X is a .npy or .parquet file")
    if args.out_of_core is not None or not tables.can_stay(args.X):
        return bool(args.out_of_core)
    if has_ranks:
        return True
    N, D = tables.shape_of(args.X)
    needed, available = N * D * np.dtype(args.dtype or "float64").itemsize, available_memory()
    if needed < FITS_SHARE * available:
        return False
    if not args.quiet:
        tell("fit", f"{args.X} takes {needed / 2**30:.3g} GiB of the {available / 2**30:.3g} GiB of memory that are "
                    "available: it is read in every pass (--out-of-core)")  # fmt: skip
    return True


def open_streams(args: argparse.Namespace) -> Rows:
    """All that the options name; CommandError where it cannot be opened, or does not go together."""
    if args.test_fraction is not None:
        args.refuse("argument --test-fraction: rows that are not in memory cannot be held out; give --test")
    train = _open(args, args.X, args.y, args.sample_weight)
    validation, test = (
        None if files is None else _open(args, files[0], files[1] if args.target is None else None, None)
        for files in (args.validation, args.test)
    )
    for data in filter(None, (validation, test)):
        if data.D != train.D:
            raise CommandError(f"{data.source}: {data.D} inputs, but training has {train.D}")
    return Rows(train, None, None, validation, test)


def _open(args: argparse.Namespace, X: Path, y: Path | None, weights: Path | None) -> Data:
    target, columns = tables.named_columns(X, args.target, args.ignore)

    def open_all() -> Stream:
        labels = target if y is None else _vector(args, X, y, "labels")
        own = None if weights is None else _vector(args, X, weights, "numbers")
        return open_rows(X, labels, own, columns=columns)

    rows = _told(open_all)
    if args.dtype is not None:
        rows = rows.astype(args.dtype)
    return Data(rows, None, y or X)


def _vector(args: argparse.Namespace, X: Path, path: Path, kind: str) -> Path | np.ndarray:
    """A file that can stay, or what is in one that cannot, one value a row."""
    if tables.can_stay(path):
        return path
    N, _ = tables.shape_of(X)
    return tables.read_column(path, N, args.header, separator=args.separator, kind=kind)


def _told(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except OSError as error:
        where = f"cannot read {error.filename!r}: {error.strerror}" if error.filename else str(error)
        raise CommandError(where) from error
    except (ValueError, TypeError, ImportError) as error:
        raise CommandError(str(error)) from error
