"""Whether this process is one of an MPI job, found out without MPI."""

import os
from typing import Any

from .exits import watch_exits

# as mpiexec of MPICH and Open MPI, of MVAPICH, and srun of Slurm have them
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def communicator_of_job() -> Any:
    """MPI.COMM_WORLD where mpiexec has started this process and others, else None; mpi4py is imported only then.

    ImportError where it is not installed; RuntimeError where it is of another MPI than mpiexec, and each process
    believes to be alone.
    """
    size = _size()
    if size < 2:
        return None
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"this is one of {size} processes of an MPI job, but mpi4py cannot be loaded ({error}): expected pip "
            "install 'spiralnn[mpi]', or one process"
        ) from None
    if MPI.COMM_WORLD.size == 1:
        library = MPI.Get_library_version().split(",")[0].splitlines()[0].strip()
        raise RuntimeError(
            f"mpiexec started {size} processes, but mpi4py sees one: its library is {library}, expected that of "
            "mpiexec (MPI4PY_LIBMPI names another)"
        )
    return MPI.COMM_WORLD


def watch_exits_of_job() -> None:
    """In an MPI job: what no rank handles ends all of them, from now on, where mpi4py is in use by then."""
    if _size() > 1:
        watch_exits()


def _size() -> int:
    return max(_number(os.environ.get(name)) for name in SIZES)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 1
