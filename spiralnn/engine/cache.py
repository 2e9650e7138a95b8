"""Compiled kernels on disk: found again, never trusted blindly, never in the way.

Numba's own cache watches only the file that defines a function, so a changed helper in another file, or an
upgraded package, would go on running old machine code; and a cut, unreadable or unwritable file is an exception
from the first call. Here the name of an entry is a digest of everything the machine code depends on (all kernel
sources, versions, CPU, signature, compiler settings) and its content carries a digest of its own. An entry that
is missing, stale or broken, or that another user could have written, is compiled again; a folder that cannot be
written costs time and one warning. Entries that nobody has used for a month are removed.
"""

import hashlib
import os
import pickle
import stat
import sys
import threading
import time
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.runtime import rtsys
from numba.misc.appdirs import AppDirs

from .. import kernels
from ..files.whole_file import write_atomically
from .sources import digest_of

_HERE = Path(__file__).resolve()
_PACKAGE = _HERE.parent.parent
_HAS_FOLDER = _HERE.is_file()  # not in a zip or a frozen program, where a folder made there may not last

# Compiler settings that change the machine code and that the environment can set.
_SETTINGS = ("BOUNDSCHECK", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO_DEFAULT", "ENABLE_AVX")

DAY = 24 * 3600.0  # seconds
UNUSED_DAYS = 30  # after which an entry is removed

_warned = threading.Event()


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it has been removed
        return Path()


# Both as of now: later the files may be those of an upgrade, and the working folder another one.
_SOURCES_DIGEST = digest_of(kernels)  # all that is compiled
_START = _working_folder()


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


def _folders() -> list[Path]:
    """Where entries may lie: the folder told to Numba alone, or beside the package and in the user's cache."""
    if numba.config.CACHE_DIR:
        places = [_START / numba.config.CACHE_DIR / "spiralnn"]
    else:
        users = Path(AppDirs(appname="spiralnn", appauthor=False).user_cache_dir)
        places = [_PACKAGE / "__pycache__" / "kernels", users] if _HAS_FOLDER else [users]
    return [place for place in places if place.is_absolute()]  # never what happens to lie in the working folder


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
        versions = (numba.__version__, llvmlite.__version__, np.__version__, sys.version)
        settings = [(name, getattr(numba.config, name, None)) for name in _SETTINGS]
        code = (_SOURCES_DIGEST, versions, settings, codegen.magic_tuple())
        key = repr((code, self._prefix(), str(signature)))
        return f"{self._prefix()}{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._enabled or _SOURCES_DIGEST is None:
            return None
        # Machine code needs Numba's runtime, but none of what refresh() imports for a compilation: 0.1 s of a process.
        rtsys.initialize(target_context)
        name = self._file_name(sig, target_context.codegen())
        for place in _folders():
            try:
                payload = _read_entry(place / name)
                if payload is not None:
                    return CompileResultCacheImpl.rebuild(None, target_context, pickle.loads(payload))
            except Exception:  # whatever a file or a stale payload does, compiling is the remedy
                continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not self._enabled or data.library.has_dynamic_globals:
            return
        try:
            if _SOURCES_DIGEST is None:
                raise OSError("the sources of the package cannot be read")
            payload = numba.core.caching.dumps(CompileResultCacheImpl.reduce(None, data))
            _write_entry(self._file_name(sig, data.codegen), payload)
        except Exception as error:  # what cannot be kept has been compiled all the same
            if not _warned.is_set():
                _warned.set()
                warnings.warn(
                    f"compiled kernels are not kept on disk ({error}); every new process compiles them again. "
                    "Set NUMBA_CACHE_DIR to a folder that can be written.",
                    RuntimeWarning,
                    stacklevel=2,
                )


def _digest(name: str, payload: bytes) -> bytes:
    """What an entry begins with. The name counts: machine code of one signature must not pass for another's."""
    return hashlib.sha256(name.encode() + b"\0" + payload).digest()


def _read_entry(path: Path) -> bytes | None:
    """The payload of an entry, whose use is noted; None if it is not whole, or another user could have written it."""
    # not to wait for ever for a writer, should this be a pipe
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        status = os.fstat(file.fileno())
        content = file.read() if _is_trusted(status) else b""
    digest, payload = content[:32], content[32:]
    if _digest(path.name, payload) != digest:
        return None
    if abs(time.time() - status.st_mtime) > DAY:  # seldom: most uses write nothing
        with suppress(OSError):
            os.utime(path)
    return payload


def _write_entry(name: str, payload: bytes) -> None:
    """Write an entry to the first folder that takes it; OSError when none does."""
    content = _digest(name, payload) + payload
    error = OSError("there is no folder for them")
    for place in _folders():
        try:
            place.mkdir(parents=True, exist_ok=True)
            write_atomically(place / name, content, mode=0o644)
            if not _is_trusted((place / name).stat()):  # some file systems know no owners
                (place / name).unlink()
                raise PermissionError(f"other users may write to files in {place}")
        except OSError as failure:
            error = failure
            continue
        _sweep(place)
        return
    raise error


def _is_trusted(status: os.stat_result) -> bool:
    """Whether a file can only have been written by root, this user, or who could change the package as well.

    Entries are code, and loading one runs it.
    """
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "geteuid"):  # Windows: folders of a user are closed to others
        return True
    owners = (0, os.geteuid(), _owner_of_package())
    return status.st_uid in owners and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _owner_of_package() -> int:
    """Owner of this file, or of the zip or folder that holds it where it is none by itself."""
    for place in (_HERE, *_HERE.parents):
        with suppress(OSError):
            return os.stat(place).st_uid
    return 0


@cache
def _sweep(place: Path) -> None:
    """Remove what has not been used for long: once in a process, and only in one that has had to compile."""
    now = time.time()
    with suppress(OSError), os.scandir(place) as files:
        for file in files:
            with suppress(OSError):
                unused = abs(now - file.stat(follow_symlinks=False).st_mtime)  # abs: the clock may have been wrong
                if file.name.endswith((".kernel", ".tmp")) and unused > UNUSED_DAYS * DAY:
                    os.unlink(file.path)
