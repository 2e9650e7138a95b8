"""c_step.c, compiled with the system compiler when it is first needed and called through ctypes."""

import atexit
import ctypes
import functools
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("c_step.c")
FLAGS = ["-std=gnu11", "-O3", "-march=native", "-fPIC", "-shared"]
TYPES = {"float64": ("double", "int64_t"), "float32": ("float", "int32_t")}


class CannotCompile(Exception):
    """No C compiler, or none that takes the source; the message is one line."""


def descent(X, y, params, step_size, reg, threads):
    """A function that goes on by so many steps, from a copy of params (W, b, W2, b2), and returns their losses.

    X (N, D) float32 or float64, y (N,) int64 in [0, K), all C-contiguous and of one dtype but y.
    """
    params = [p.copy() for p in params]
    (N, D), H, K = X.shape, params[0].shape[1], params[-1].size
    descend = _library(X.dtype.name, D, K).descend

    def run(steps):
        losses = np.empty(steps)
        data = (_pointer(X), _pointer(y), N, H, *map(_pointer, params))
        if descend(*data, step_size, reg, steps, threads, _pointer(losses)):
            raise MemoryError
        return losses

    return run


def prediction(X, params, threads):
    """A function that returns the class of every row, (N,) int64; arguments as for `descent`."""
    (N, D), H, K = X.shape, params[0].shape[1], params[-1].size
    predict = _library(X.dtype.name, D, K).predict
    classes = np.empty(N, np.int64)
    arguments = (_pointer(X), N, H, *map(_pointer, params), threads, _pointer(classes))

    def run():
        if predict(*arguments):
            raise MemoryError
        return classes

    return run


def threaded():
    """Whether the compiler has OpenMP; raises CannotCompile where there is no working compiler."""
    return bool(_library("float64", 2, 3).threaded())


@functools.cache
def _library(dtype, D, K):
    """The source compiled for X of this dtype with D columns, and K classes."""
    folder = Path(tempfile.mkdtemp(prefix="c_step-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    real, integer = TYPES[dtype]
    target = folder / "c_step.so"
    _compile([f"-DREAL={real}", f"-DINT={integer}", f"-DD={D}", f"-DK={K}", str(SOURCE), "-o", str(target), "-lm"])
    library = ctypes.CDLL(str(target))
    pointer, integer, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    params = [pointer] * 4
    library.descend.argtypes = [
        pointer, pointer, integer, ctypes.c_int, *params, number, number, integer, ctypes.c_int, pointer,
    ]  # fmt: skip
    library.predict.argtypes = [pointer, integer, ctypes.c_int, *params, ctypes.c_int, pointer]
    return library


def _compile(arguments):
    """Run the first compiler that takes the source, with OpenMP if it has that."""
    names = ("cc", "gcc", (sysconfig.get_config_var("CC") or "").partition(" ")[0])
    compilers = [path for path in map(shutil.which, filter(None, names)) if path]
    if not compilers:
        raise CannotCompile("no C compiler (cc, gcc)")
    for openmp in (["-fopenmp"], []):
        for compiler in compilers:
            try:
                done = subprocess.run([compiler, *FLAGS, *openmp, *arguments], capture_output=True, text=True)
            except OSError as error:
                raise CannotCompile(str(error)) from None
            if done.returncode == 0:
                return
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    raise CannotCompile(errors[0] if errors else f"{compilers[-1]} ended with exit code {done.returncode}")


def _pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)  # keeps the array alive
