"""Rows that are more than memory holds: what a fit on them needs beside the library."""

import subprocess
import sys

import pytest
from places import ROOT

FIT = """
import resource, sys
import numpy as np
sys.path.insert(0, {root!r})
from spiralnn import SoftmaxClassifier, open_rows

def zeros(path, dtype, shape):  # which take no disk
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {{"descr": dtype, "fortran_order": False, "shape": shape}})
        file.truncate(file.tell() + np.dtype(dtype).itemsize * int(np.prod(shape)))

N, D = {N}, {D}
zeros("X.npy", "<f8", (N, D))
zeros("y.npy", "|u1", (N,))
np.load("y.npy", mmap_mode="r+")[[1, N - 1]] = 1
model = SoftmaxClassifier(solver="gd", max_iter=2, n_threads=2)
peaks = []
for n in (1000, N):
    X, y = np.load("X.npy", mmap_mode="r"), np.load("y.npy", mmap_mode="r")
    model.fit(open_rows(X[:n], y[:n], sample_weight=y[:n]) if n < N else open_rows("X.npy", "y.npy", "y.npy"))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    resource.setrlimit(resource.RLIMIT_DATA, ({limit}, {limit}))
assert model.n_iter_ == 2
print(peaks[1] - peaks[0])
"""


def more_memory(tmp_path, **numbers):
    """MiB that a fit of N rows takes more than one of 1000."""
    program = FIT.format(root=str(ROOT), **numbers)
    run = [sys.executable, "-c", program]
    ran = subprocess.run(run, check=True, capture_output=True, text=True, cwd=tmp_path, timeout=1000)
    return float(ran.stdout)


@pytest.mark.parametrize(
    "N,D", [(2_000_000, 16), pytest.param(100_000_000, 8, marks=pytest.mark.long)], ids=["256 MB", "6.4 GB"]
)
def test_memory_does_not_grow_with_the_rows(N, D, tmp_path):
    """Two buffers of 4 MiB, and what is made of them."""
    assert more_memory(tmp_path, N=N, D=D, limit=512 << 20) < 32
