"""The rows of `spiralnn fit`: to train with, to judge steps by, and to score, read from files and checked."""

import argparse
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import tables
from ..checks.arrays import check_finite
from ..checks.labels import class_counts, class_labels, label_column
from ..checks.weights import sample_weights
from .console import CommandError, checked, table_options


class Data(NamedTuple):
    """Rows with their labels, and where they came from. X: in memory, or rows that hold labels and weights."""

    X: Any
    y: np.ndarray | None
    source: Path
    weights: np.ndarray | None = None

    @property
    def N(self) -> int:
        return len(self.X)

    @property
    def D(self) -> int:
        return int(self.X.shape[1])

    @property
    def names(self) -> list[str] | None:
        """Of the columns."""
        found = self.X.columns if isinstance(self.X, tables.Table) else self.X.names
        return None if found is None else list(found)

    @property
    def pair(self) -> Any:
        """What estimators take as X and y in one."""
        return self.X if self.y is None else (self.X, self.y)

    def rows(self, where: np.ndarray) -> "Data":
        assert self.y is not None
        weights = None if self.weights is None else self.weights[where]
        return Data(self.X.rows(where), self.y[where], self.source, weights)


class Rows(NamedTuple):
    """codes (N,): the labels of train as places among classes (K,); None where they are not in memory."""

    train: Data
    classes: np.ndarray | None
    codes: np.ndarray | None
    validation: Data | None
    test: Data | None


def read_rows(args: argparse.Namespace) -> Rows:
    """All that the options name; CommandError or TableError where they do not go together."""
    train = _read(args, args.X, args.y, None)
    classes, codes = checked(train.source, class_labels, train.y, len(train.X))
    if args.sample_weight is not None:
        weights = tables.read_column(
            args.sample_weight, len(train.X), args.header, separator=args.separator, kind="numbers"
        )
        checked(args.sample_weight, sample_weights, weights, len(train.X), np.float64)
        train = train._replace(weights=weights)
    validation, test = (_read_others(args, files, train, classes) for files in (args.validation, args.test))
    if args.test_fraction is not None:
        held_out = _draw(args, train, classes, codes)
        train, test, codes = train.rows(~held_out), train.rows(held_out), codes[~held_out]
    return Rows(train, classes, codes, validation, test)


def _read(args: argparse.Namespace, X_path: Path, y_path: Path | None, classes: np.ndarray | None) -> Data:
    """classes: those of training, by which labels of other files are read."""
    y: Any
    X, y = tables.read_table(X_path, **table_options(args), classes=classes)
    if args.dtype is not None:
        X = X.astype(args.dtype)
        checked(X_path, check_finite, f"X as {args.dtype}", X.matrix)
    if y_path is not None:
        y = tables.read_column(y_path, len(X), args.header, separator=args.separator, classes=classes)
    return Data(X, y, y_path or X_path)


def _read_others(args: argparse.Namespace, files: list[Path] | None, train: Data, classes: np.ndarray) -> Data | None:
    """Rows that a model of train can be asked about; CommandError where it cannot."""
    if files is None:
        return None
    data = _read(args, files[0], files[1] if args.target is None else None, classes)
    checked(data.source, label_column, data.y, len(data.X))
    if data.X.shape[1] != train.X.shape[1]:
        raise CommandError(f"{data.source}: {data.X.shape[1]} inputs, but training has {train.X.shape[1]}")
    names, expected = data.X.columns, train.X.columns
    if names is not None and expected is not None and list(names) != list(expected):
        raise CommandError(f"{data.source}: columns {', '.join(names)}, but training has {', '.join(expected)}")
    labels = np.asarray(data.y)
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        label = labels[unknown.argmax()].tolist()
        raise CommandError(f"{data.source}: label {label!r}, but training has only {_some(classes.tolist())}")
    return data


def _some(values: list[Any]) -> str:
    return ", ".join(map(repr, values[:10])) + ", ..." * (len(values) > 10)


def _draw(args: argparse.Namespace, train: Data, classes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Which rows --test-fraction holds out."""
    N = len(codes)
    n_test = math.floor(N * args.test_fraction + 0.5)
    if not 0 < n_test < N:
        raise CommandError(f"--test-fraction {args.test_fraction:g} of {N} rows is {n_test}, expected 1 to {N - 1}")
    held_out = np.zeros(N, bool)
    held_out[np.random.default_rng(args.seed).permutation(N)[:n_test]] = True
    left = class_counts(codes[~held_out], len(classes))
    if not left.all():
        raise CommandError(
            f"{train.source}: --test-fraction {args.test_fraction:g} with --seed {args.seed} leaves no row of class "
            f"{classes.tolist()[left.argmin()]!r} to train with; try another --seed or a smaller fraction"
        )
    return held_out
