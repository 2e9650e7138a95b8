"""A rank that ends before its time ends the job, with its number and the reason, however the job was started.

Python alone would leave the others waiting: under a bare `mpiexec python script.py` an exception ends one process,
whose MPI then waits for the others to finish.
"""

import atexit
import os
import sys
import time
from types import TracebackType
from typing import Any, Protocol

GRACE_SECONDS = 1.0  # in which others that raise the same leave by themselves

_members: list["Member"] = []
_is_watching = False


class Member(Protocol):
    """This process, as one of those that fit together."""

    def leave(self, reason: str) -> None:
        """Tell the others that it will not come again."""

    def have_all_left(self) -> bool:
        """Whether none of the others will."""


def watch_exits(member: Member | None = None) -> None:
    """From now on an exception that nobody handles is told to the other processes of an MPI job, and ends them.

    member: through which the end of the program is told, too, to those that fit together.
    """
    global _is_watching
    if not _is_watching:
        _is_watching = True
        previous, process = sys.excepthook, os.getpid()

        def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
            previous(kind, error, trace)
            if os.getpid() == process:  # no child of it
                _end_all(f"{kind.__name__}: {error}")

        sys.excepthook = hook
    if member is not None:
        if not _members:
            atexit.register(_leave, os.getpid())  # runs before MPI's own, which was registered earlier
        _members.append(member)


def _leave(process: int) -> None:
    if os.getpid() == process:
        for member in _members:
            member.leave("its program ended (sys.exit, or the end of the script)")


def _end_all(reason: str) -> None:
    MPI: Any = sys.modules.get("mpi4py.MPI")
    if MPI is None or not MPI.Is_initialized() or MPI.Is_finalized() or MPI.COMM_WORLD.size == 1:
        return
    for member in _members:
        member.leave(reason)
    sys.stdout.flush()
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        if _members and all(member.have_all_left() for member in _members):
            return  # all raise, and each tells its own
        time.sleep(0.01)
    sys.stderr.write(f"spiralnn: rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size} ends the job: {reason}\n")
    sys.stderr.flush()
    MPI.COMM_WORLD.Abort(1)
