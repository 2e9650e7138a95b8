"""MPI jobs as tests start them: with mpiexec of MPICH or Open MPI, from the wheels of this environment or elsewhere."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from places import ROOT

JOBS = Path(__file__).resolve().parent / "mpi_jobs.py"
SECONDS = 400  # a job that lasts longer hangs: ranks may have to compile everything, on a busy machine

# Both wheels may be installed side by side, and each brings an mpiexec: these names are theirs alone.
LAUNCHERS = {
    "mpich": ("libmpi.so.12", ["mpiexec.hydra"]),
    "openmpi": (
        "libmpi.so.40",
        ["prterun", "--personality", "ompi", "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"],
    ),
}


class Ended(NamedTuple):
    """A job that is over."""

    code: int
    out: str
    err: str

    @property
    def answer(self):
        """What rank 0 has said, of a job that went well."""
        assert self.code == 0, self
        return json.loads(self.out.strip().splitlines()[-1])


def start(library, size, job, *arguments, environment=None):
    """Ranks of one of the jobs, by name; a test skips where this MPI is not installed."""
    name, (launcher, *options) = LAUNCHERS[library]
    places = [str(Path(sys.executable).parent), str(Path(sys.prefix) / "bin")]
    program = shutil.which(launcher, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    if program is None or importlib.util.find_spec("mpi4py") is None:
        pytest.skip(f"needs mpi4py and {launcher} of {library}")
    if library == "openmpi" and os.geteuid() == 0:
        options = [*options, "--allow-run-as-root"]
    own = Path(sys.prefix) / "lib" / name
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if own.is_file():
        env["MPI4PY_LIBMPI"] = str(own)
    return subprocess.Popen(
        [program, *options, "-n", str(size), sys.executable, str(JOBS), job, *map(str, arguments)],
        env={**env, **(environment or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(library, size, job, *arguments, environment=None):
    """The same, waited for."""
    process = start(library, size, job, *arguments, environment=environment)
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ended(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
