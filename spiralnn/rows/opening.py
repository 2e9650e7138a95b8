"""`open_rows`: rows that lie in files."""

from pathlib import Path
from typing import Any

from .parquet import open_parquet
from .parts import all_parquet, matrix_of, parts_of, vector_of
from .rows import Rows
from .shards import SomeColumns
from .source import Source
from .table import Table, chosen_numbers


def open_rows(
    X: Any, y: Any = None, sample_weight: Any = None, *, columns: Any = None, cache: Any = None, part: bool = False
) -> Rows:
    """Rows to train on or predict from that are read from files where they are needed, and never all in memory.

    What takes them in the place of X, y and sample_weight: `fit`, `predict`, `score`, `Objective`; `validation=` of
    fit. Results are those of the same rows in memory, to the last bit, by every solver that takes whole passes ("gd",
    "lbfgs", "newton-cholesky"; "auto" is "lbfgs" here). A pass reads every row once. Values are looked at in the first
    one: what is wrong with a row is told with its file. Files must stay as they are while they are in use: they are
    opened for each read, never mapped into memory, and one that is changed, cut, gone or unreadable ends the run with a
    `RowsError`; its checkpoint stays good.

    Parameters
    ----------
    X : path, array (N, D), or a list of them
        `.npy` files of any real dtype, row after row (C order); Parquet files of numbers, or a folder of part files, in
        the order of their names; arrays. `np.memmap` and runs of rows of one are read through their files. A list holds
        the rows one part after the other, all of one width and dtype; some may have none. float32 is computed in
        float32, every other dtype in float64; of Parquet, float32 where all columns are.
    y : path, array (N,) or (N, 1), a list of them, or the name of a column of X, optional
        Labels: integers, whole floats, bools or strings. Parts need not be cut as those of X are. Rows without labels
        are for prediction.
    sample_weight : as y, optional
        Weight of each row: finite, at least 0, not all 0.
    columns : sequence of int or str, optional
        Of X, that are used, in this order: numbers from 0 on, or names where X is Parquet. None: all but y and
        sample_weight. All bytes of `.npy` files are read even so.
    cache : path, optional
        Folder for Parquet: files are decoded into raw ones there once, in constant memory, which are found again as
        long as a file stays as it is. Without it every pass decodes, and each thread holds a row group. Delete it when
        you like, but not under a run.
    part : bool, default False
        Under MPI, whether these are this rank's part of the rows alone, which follow each other in the order of the
        ranks and may be cut anywhere; there may then be none. Otherwise each rank opens all of them, and reads its own.

    Returns
    -------
    Rows
        With `shape`, `dtype` (that is computed with), `names` of Parquet's columns. They can be pickled: paths are.

    Raises
    ------
    ValueError, TypeError
        A file is of no such kind, holds no numbers, or Python objects; lengths, widths or dtypes differ; there are no
        rows; a column is missing. The message names the file.
    RowsError, FileNotFoundError, other OSErrors
        A file is missing, cut or cannot be read, or the cache cannot be written.
    ImportError
        Parquet without pyarrow (`spiralnn[parquet]`).
    """
    parts = parts_of("X", X)
    folder = None if cache is None else Path(cache)
    names: list[str] | None = None
    inputs: Source
    if all_parquet("X", parts):
        table = Table([open_parquet(part.value) for part in parts], folder)
        target, weight = table.named("y", y), table.named("sample_weight", sample_weight)
        names = table.chosen(columns, {"y": target, "sample_weight": weight})
        inputs = table.numbers("X", names)
        labels = _labels(y, folder) if target is None else table.labels(target)
        weights = _weights(sample_weight, folder) if weight is None else table.weights(weight)
    else:
        inputs = matrix_of(parts)
        if columns is not None:
            inputs = SomeColumns(inputs, chosen_numbers(columns, inputs.shape[1], parts[0].called))
        labels, weights = _labels(y, folder), _weights(sample_weight, folder)
    N = len(inputs)
    if N == 0 and not part:
        raise ValueError(f"X holds no rows ({parts[0].called}{', ...' * (len(parts) > 1)}), expected one at least")
    for name, what, source in (("y", "labels", labels), ("sample_weight", "weights", weights)):
        if source is not None and len(source) != N:
            raise ValueError(f"{name} has {len(source)} {what}, but X has {N} rows")
    rows = Rows(inputs, labels, weights, names=names)
    return rows.as_part() if part else rows


def _labels(y: Any, folder: Path | None) -> Source | None:
    if y is None:
        return None
    parts = parts_of("y", y)
    if all_parquet("y", parts):
        table = Table([open_parquet(part.value) for part in parts], folder)
        return table.labels(table.only_column("y"))
    return vector_of("y", parts, "fiubSU", "labels: whole numbers, bools or strings")


def _weights(sample_weight: Any, folder: Path | None) -> Source | None:
    if sample_weight is None:
        return None
    parts = parts_of("sample_weight", sample_weight)
    if all_parquet("sample_weight", parts):
        table = Table([open_parquet(part.value) for part in parts], folder)
        return table.weights(table.only_column("sample_weight"))
    return vector_of("sample_weight", parts, "fiub", "real numbers")
