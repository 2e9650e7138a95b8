"""How long a large CSV file takes to read: `tables.read_table` with and without pyarrow, beside pandas.

    python bench/csv_reading.py [rows] [turns]

Random floats in 28 columns as pandas writes them, and a column of integer labels. All take turns; told is the shortest
time of each, and how often that of pandas it is. Every number must be the one that was written.
"""

import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from spiralnn import tables

D = 28


def main(rows, turns):
    X = np.random.RandomState(0).randn(rows, D)
    y = (X[:, 0] > 0).astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        pd.DataFrame(X).add_prefix("x").assign(label=y).to_csv(path, index=False)
        print(f"{rows} x {D}, {path.stat().st_size / 2**20:.0f} MiB")
        seconds = {"pandas.read_csv": [], "with pyarrow": [], "without": []}
        for _ in range(turns):
            for name, times in seconds.items():
                start = time.perf_counter()
                read(name, path, X, y, lambda: times.append(time.perf_counter() - start))  # noqa: B023
    for name, times in seconds.items():
        print(f"{name:16} {min(times):6.2f} s, {min(times) / min(seconds['pandas.read_csv']):.2f} of pandas")


def read(name, path, X, y, done):
    """done is called once all is read; then it is checked."""
    if name == "pandas.read_csv":
        pd.read_csv(path)
        done()
        return
    with mock.patch.dict(sys.modules, {"pyarrow": None} if name == "without" else {}):
        table, labels = tables.read_table(path, "label")
    done()
    assert table.matrix.tobytes() == X.tobytes() and labels.tobytes() == y.tobytes()


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [500_000, 5][len(given) :]))
