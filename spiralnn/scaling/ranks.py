"""Cases of ranks: processes of their own, which mpiexec starts, and the first of which tells what it measured."""

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from .cases import Case, ScalingError
from .rows import Files

PATIENCE = 20.0  # times as long as expected, and
PATIENCE_SECONDS = 120.0  # so many more, may ranks take before they are given up


def missing(mpiexec: str) -> str | None:
    """What there is not, of that which ranks need; None if all is there."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed: pip install 'spiralnn[mpi]'"
    words = shlex.split(mpiexec)
    if not words or _program(words[0]) is None:
        return f"there is no {mpiexec!r}: install MPICH or Open MPI, or name it with --mpiexec"
    return None


def _program(name: str) -> str | None:
    """Where it lies: on the path, or beside Python, where wheels put it."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def measure(case: Case, files: Files, mpiexec: str, seconds: float, most: float) -> dict[str, Any]:
    """What the first rank tells: times, overhead, losses, threads that ran.

    ScalingError where a job comes to nothing.
    """
    job = {"case": case, "X": str(files.X), "y": str(files.y), "seconds": seconds, "most": min(most, 1e9)}
    program, *options = shlex.split(mpiexec)
    command = [_program(program) or program, *options, "-n", str(case.ranks), sys.executable]
    command += ["-m", "spiralnn.scaling.rank_process", json.dumps(job)]
    package = str(Path(__file__).resolve().parent.parent.parent)
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    # a session of their own: Ctrl-C is for this process, which ends them all
    process = subprocess.Popen(command, env=environment, text=True, start_new_session=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    try:
        patience = PATIENCE * min(most, 10 * seconds + 60.0) + PATIENCE_SECONDS
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        raise ScalingError(f"{case.name}: its processes said nothing for {patience:.0f} s") from None
    finally:
        _end(process)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        reason = next((line for line in reversed(err.splitlines()) if line.strip()), "without a word")
        raise ScalingError(f"{case.name}: {mpiexec!r} ended with code {process.returncode}: {reason.strip()}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
