"""What a fit is given, checked: rows in memory as arrays, or rows that are read piece by piece as a stream."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks.arrays import feature_matrix
from ..checks.held_out import draw_held_out, held_out_counts
from ..checks.labels import class_labels, label_column
from ..checks.weights import training_weights
from ..distributed.dask_arrays import is_dask
from ..engine.folding import Collector, Threads
from ..engine.identity import digests
from ..engine.streaming import Stream
from ..engine.survey import surveyed
from ..files.array_file import digest_of
from ..rows.coded import Coding
from ..rows.rows import Rows, check_own_targets, check_width

# that each of several processes may have its own of
OWN_SETTINGS = ("init", "n_threads", "verbose", "progress", "callback")


class Material(NamedTuple):
    """Rows to train on. X: a matrix with labels y as places among classes and weights, or a stream, which holds both.

    collector: of the stream, or one over the matrix, which nobody needs but for its digests.
    """

    X: np.ndarray | Stream
    y: np.ndarray | None
    weights: np.ndarray | None
    classes: np.ndarray
    collector: Collector

    @property
    def is_stream(self) -> bool:
        return isinstance(self.X, Stream)

    @property
    def dtype(self) -> np.dtype:
        return self.X.dtype

    def held_out(self, fraction: float) -> np.ndarray:
        """Rows of each class to hold out."""
        if self.y is None:
            raise ValueError(
                "early_stopping is True, but rows that are not in memory cannot be held out: expected validation=(X, y)"
            )
        return held_out_counts(self.y, len(self.classes), fraction)

    def without(self, held: np.ndarray) -> "Material":
        """The same with no weight in these rows."""
        weights = np.ones(len(self.X), self.dtype) if self.weights is None else self.weights.copy()
        weights[held] = 0.0
        return self._replace(weights=weights)

    def drawn(self, counts: np.ndarray, random: Any) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """(rows, their X and y): so many of each class."""
        assert isinstance(self.X, np.ndarray) and self.y is not None
        held = draw_held_out(self.y, counts, random)
        return held, (self.X[held], self.y[held])

    def digests(self) -> dict[str, str]:
        """Of all that changes a result, by the names that an error calls it."""
        if isinstance(self.X, Stream):
            return digests(self.collector, self.X.coding)
        return digests(self.collector, Coding(np.arange(len(self.classes))))


def gather(
    X: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    *,
    n_features: int | None,
    owner: str,
    dtype: Any,
    classes: np.ndarray | None,
    n_threads: int | None,
    communicator: Any = None,
) -> Material:
    """All of it, checked, from the arguments of fit. classes: those that labels must be of; None: those in y.

    communicator: of processes that each have a part in it, all of which are here.
    """
    if is_dask(X):
        collector = _of_dask(X, y, sample_weight, n_features, owner, dtype, n_threads, communicator)
        return _of_collector(collector, class_weight, classes)
    if isinstance(X, Rows):
        rows = _on_each(communicator, lambda: _labelled(X, y, sample_weight, n_features, owner, dtype))
        return _of_collector(_collector(rows, n_threads, communicator), class_weight, classes)
    if communicator is not None:
        rows = _on_each(communicator, lambda: _of_arrays(X, y, sample_weight, n_features, owner, dtype))
        return _of_collector(_collector(rows, n_threads, communicator), class_weight, classes)
    matrix = feature_matrix(X, n_features=n_features, owner=owner, dtype=dtype)
    classes, labels = class_labels(y, len(matrix), classes)
    weights = training_weights(sample_weight, class_weight, classes, labels, matrix.dtype)
    return Material(matrix, labels, weights, classes, Threads(Rows.of(matrix, labels, weights), n_threads))


def _of_arrays(X: Any, y: Any, sample_weight: Any, n_features: int | None, owner: str, dtype: Any) -> Rows:
    """Arrays as rows, whose values are looked at when they are read."""
    matrix = feature_matrix(X, n_features=n_features, owner=owner, dtype=dtype, finite=False)
    labels = label_column(y, len(matrix), stacklevel=6)
    weights = None if sample_weight is None else np.asarray(sample_weight)
    if weights is not None and weights.shape != labels.shape:
        raise ValueError(f"sample_weight has shape {weights.shape}, expected {labels.shape}: one weight a row")
    return Rows.of(matrix, labels, weights)


def _collector(rows: Rows, n_threads: int | None, communicator: Any) -> Collector:
    if communicator is None:
        return Threads(rows, n_threads)
    from ..distributed.ranks import Ranks  # mpi4py is for those alone who have a communicator

    return Ranks(rows, communicator, n_threads)


def _of_dask(
    X: Any,
    y: Any,
    sample_weight: Any,
    n_features: int | None,
    owner: str,
    dtype: Any,
    n_threads: int | None,
    communicator: Any,
) -> Collector:
    """Arrays of Dask as rows that its workers hold."""
    if communicator is not None:
        raise ValueError("communicator is given beside an array of Dask, expected None: Dask has workers of its own")
    from ..distributed.dask_rows import collector_of  # Dask is for those alone who have arrays of it

    return collector_of(X, y, sample_weight, n_features=n_features, owner=owner, dtype=dtype, n_threads=n_threads)


def joined(communicator: Any, model: Any, given: dict[str, Any]) -> Any:
    """All processes of a communicator, which are here to fit with the same settings, given as much: else ValueError.

    The start, and what is drawn, are the first one's.
    """
    from ..distributed.ranks import joined as agreed

    params = {name: value for name, value in model.get_params().items() if name not in OWN_SETTINGS}
    if not (params["random_state"] is None or isinstance(params["random_state"], numbers.Integral)):
        params["random_state"] = type(params["random_state"]).__name__
    facts = {f"whether {name} is given": value is not None for name, value in {**given, "init": model.init}.items()}
    return agreed(communicator, {"the model": type(model).__name__, **params, **facts})


def _on_each(communicator: Any, function: Callable[[], Rows]) -> Rows:
    """What this process makes of it; where one of several raises, all do."""
    return function() if communicator is None else communicator.each(function)


def _of_collector(collector: Collector, class_weight: Any, classes: np.ndarray | None) -> Material:
    coding = surveyed(collector, class_weight, classes)
    return Material(Stream(collector, coding), None, None, coding.classes, collector)


def _labelled(rows: Rows, y: Any, sample_weight: Any, n_features: int | None, owner: str, dtype: Any) -> Rows:
    """The rows, which must have labels, in the dtype that is computed with."""
    check_own_targets(rows, y, sample_weight)
    check_width(rows, n_features, owner)
    return rows if dtype is None else rows.astype(dtype)


class Judged(NamedTuple):
    """Rows to judge by: a matrix and labels, or a stream."""

    X: np.ndarray | Stream
    y: np.ndarray | None

    def digest(self) -> str:
        if isinstance(self.X, Stream):
            return "".join(digests(self.X.collector, self.X.coding).values())
        assert self.y is not None
        return digest_of(self.X, self.y)


def judged_by(
    validation: Any, material: Material, owner: str, n_threads: int | None, communicator: Any = None
) -> Judged:
    """What steps are judged by, from fit's argument: a pair (X, y), or rows that hold labels."""
    D = material.X.shape[1]
    is_pair = isinstance(validation, Sequence) and len(validation) == 2
    if not (is_pair or isinstance(validation, Rows)):
        raise ValueError("validation is no pair, expected (X, y): rows to judge by")
    try:
        if isinstance(validation, Rows):
            rows = _labelled(validation, None, None, D, owner, material.dtype)
            collector = _collector(rows, n_threads, communicator)
            return Judged(Stream(collector, surveyed(collector, None, material.classes)), None)
        if is_dask(validation[0]):
            X, y = validation
            collector = _of_dask(X, y, None, D, owner, material.dtype, n_threads, communicator)
            return Judged(Stream(collector, surveyed(collector, None, material.classes)), None)
        matrix = feature_matrix(validation[0], n_features=D, owner=owner, dtype=material.dtype)
        judged = Judged(matrix, class_labels(validation[1], len(matrix), material.classes)[1])
        if communicator is not None:
            communicator.agree({"its SHA-256": judged.digest()})
        return judged
    except (ValueError, TypeError) as error:
        raise type(error)(f"validation: {error}") from None
