"""Compiled kernels on disk: found again, never trusted blindly, never in the way.

Numba's own cache watches only the file that defines a function, so a changed helper in another file, or an
upgraded package, would go on running old machine code; and a cut, unreadable or unwritable file is an exception
from the first call. Here the name of an entry is a digest of everything the machine code depends on (all kernel
sources, versions, CPU, signature, compiler settings) and its content carries a digest of its own. An entry that
is missing, stale or broken is compiled again; a folder that cannot be written costs time and one warning.
"""

import hashlib
import os
import pickle
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.runtime import rtsys
from numba.misc.appdirs import AppDirs

from .kernels import tile

_HERE = Path(__file__).resolve().parent
_SOURCES = (Path(tile.__file__).resolve().parent, _HERE / "descent.py")

# Compiler settings that change the machine code and that the environment can set.
_SETTINGS = ("BOUNDSCHECK", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO_DEFAULT", "ENABLE_AVX")

_warned = threading.Event()


def attach(dispatcher: Any) -> Any:
    """Give a jitted function the cache on disk; returns it."""
    if not numba.config.DISABLE_JIT:
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher


def folder() -> str | None:
    """The folder new entries go to; None when no folder can be written."""
    for candidate in _folders():
        try:
            candidate.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(candidate, os.W_OK | os.X_OK):
            return str(candidate)
    return None


def _folders() -> Iterator[Path]:
    """Where entries may lie: the folder told to Numba alone, or beside the package and in the user's cache."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / "spiralnn"
        return
    yield _HERE / "__pycache__" / "kernels"
    yield Path(AppDirs(appname="spiralnn", appauthor=False).user_cache_dir)


@cache
def _code_digest() -> str:
    """Digest of all sources that end up in compiled kernels, and of what compiles them."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        for file in sorted(source.glob("*.py")) if source.is_dir() else [source]:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    versions = (numba.__version__, llvmlite.__version__, sys.version)
    settings = [(name, getattr(numba.config, name, None)) for name in _SETTINGS]
    digest.update(repr((versions, settings)).encode())
    return digest.hexdigest()


class KernelCache(_Cache):
    """One function's entries: what Numba's dispatcher asks for (load_overload, save_overload)."""

    def __init__(self, py_func: Any) -> None:
        self._name = f"{py_func.__module__.rpartition('.')[2]}.{py_func.__qualname__}".replace(".<locals>", "")
        self._tag = getattr(py_func, "kernel_name", "")
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        return folder()

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        for place in _folders():
            for entry in place.glob(f"{self._prefix()}*.kernel"):
                entry.unlink(missing_ok=True)

    def _prefix(self) -> str:
        return f"{self._name}-{self._tag}-" if self._tag else f"{self._name}-"

    def _file_name(self, signature: Any, codegen: Any) -> str:
        key = repr((_code_digest(), self._prefix(), str(signature), codegen.magic_tuple()))
        return f"{self._prefix()}{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._enabled:
            return None
        # Machine code needs Numba's runtime, but none of what refresh() imports for a compilation: 0.1 s of a process.
        rtsys.initialize(target_context)
        try:
            name = self._file_name(sig, target_context.codegen())
        except OSError:  # sources that cannot be read back: no key, so no cache
            return None
        for place in _folders():
            try:
                content = (place / name).read_bytes()
            except OSError:
                continue
            digest, payload = content[:32], content[32:]
            if hashlib.sha256(payload).digest() != digest:
                continue  # cut or damaged: compile again, and write it anew
            try:
                return CompileResultCacheImpl.rebuild(None, target_context, pickle.loads(payload))
            except Exception:  # whatever a stale payload does, compiling is the remedy
                continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not self._enabled or data.library.has_dynamic_globals:
            return
        try:
            name = self._file_name(sig, data.codegen)
            payload = numba.core.caching.dumps(CompileResultCacheImpl.reduce(None, data))
            content = hashlib.sha256(payload).digest() + payload
            place = folder()
            if place is None:
                raise OSError("no folder for compiled kernels can be written")
            write_atomically(Path(place) / name, content)
        except OSError as error:
            if not _warned.is_set():
                _warned.set()
                warnings.warn(
                    f"compiled kernels are not kept on disk ({error}); every new process compiles them again. "
                    "Set NUMBA_CACHE_DIR to a folder that can be written.",
                    RuntimeWarning,
                    stacklevel=2,
                )


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is complete whenever it can be seen: temporary file, fsync, rename."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
