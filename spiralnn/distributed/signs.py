"""Signs of life: what ranks tell each other beside their work, and what follows where one gives none.

A rank that waits, or computes, for longer than a moment sends a sign every second to all others. So a rank that is slow
is told from one that is stopped or hangs, and one that is gone is named.
"""

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mpi4py.MPI as MPI

TAG = 1  # of signs, on a communicator that is ours alone
SIGN_SECONDS = 1.0  # between two signs, or a fifth of what is told as silence
LOOK_SECONDS = 0.05  # between two looks at the others
WARNING_SECONDS = 5.0  # of silence, or a twelfth of the limit
LIMIT_SECONDS = 60.0  # of silence, after which the job is over
LIMIT_NAME = "SPIRALNN_RANK_TIMEOUT"
STAY_SECONDS = 0.2  # that a rank which mpiexec ends stays, for another to see who was gone before
LATER_SECONDS = 1.0  # after which another rank ends the job, should the first of them not do it
ENDING = "it ends the job"  # why a rank leaves that is about to do so


class Place(NamedTuple):
    """Where a rank runs. machine: what tells two machines, or containers that number processes by themselves, apart."""

    host: str
    machine: str
    process: int

    @property
    def name(self) -> str:
        return f"process {self.process} on {self.host}"

    @classmethod
    def here(cls) -> "Place":
        parts = [socket.gethostname()]
        with contextlib.suppress(OSError):
            parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
        return cls(parts[0], " ".join(parts), os.getpid())


@dataclasses.dataclass
class Peer:
    """Another rank: where it is, when it gave its last sign, how many exchanges it has come to, why it left."""

    place: "Place"
    seen: float = 0.0
    arrived: int = 0
    left: str | None = None
    warned: float = 0.0  # when it was told that this one is silent
    request: Any = None  # of the last sign to it

    @property
    def name(self) -> str:
        return self.place.name


def silence_limit() -> float:
    """Seconds, from the environment (SPIRALNN_RANK_TIMEOUT) where it says so; ValueError for what is no such number."""
    text = os.environ.get(LIMIT_NAME)
    if text is None:
        return LIMIT_SECONDS
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not limit > 0.0:
        raise ValueError(f"{LIMIT_NAME} is {text!r} in the environment, expected a positive number of seconds")
    return limit


class Signs:
    """Of the other ranks, and for them. places: of every rank.

    abort(reason) ends the job; tell(text) writes a line to stderr.
    """

    def __init__(
        self,
        comm: Any,
        places: list[Place],
        limit: float,
        tell: Callable[[str], None],
        abort: Callable[[str], None],
    ) -> None:
        self._comm, self._rank, self._limit, self._tell, self._abort = comm, comm.rank, limit, tell, abort
        self._warning = min(WARNING_SECONDS, limit / 12)
        self.interval = min(SIGN_SECONDS, self._warning / 5)  # seconds between two signs
        self._machine = places[self._rank].machine
        self.peers = {rank: Peer(place) for rank, place in enumerate(places) if rank != self._rank}
        self._since = self._looked = self._sent = time.monotonic()
        self._ended: tuple[float, str] | None = None
        self._unsent: list[Any] = []

    def send(self, arrived: int, left: str | None = None) -> None:
        """Tell all others how many exchanges this rank has come to, and why it leaves, where it does."""
        self._sent = time.monotonic()
        for rank, peer in self.peers.items():
            # one that does not take its signs is sent no more of them
            if left is not None or peer.request is None or peer.request.Test():
                if left is not None:
                    self._unsent.append(peer.request)  # with its buffer, which may still be read
                peer.request = self._comm.isend((arrived, left), rank, TAG)

    def receive(self) -> None:
        """Take note of all signs that have come."""
        status = MPI.Status()
        while self._comm.iprobe(MPI.ANY_SOURCE, TAG, status):
            peer = self.peers[status.source]
            arrived, left = self._comm.recv(source=status.source, tag=TAG)
            peer.seen = time.monotonic()
            peer.arrived, peer.left = max(peer.arrived, arrived), left if left is not None else peer.left

    def begin(self) -> None:
        """From now on the others are waited for, or work goes on that may take long."""
        self._since = self._looked = self._sent = time.monotonic()

    def look(self, arrived: int, is_waiting: bool) -> None:
        """End the job where a rank that is needed is gone; say which one gives no sign, and end it in the end.

        arrived: how many exchanges this rank has come to, the last of which, if it is_waiting, others must come to.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        if now - self._looked > self._warning:  # this process was stopped itself
            self._since = now
        self._looked = now
        self.receive()
        if now - self._sent >= self.interval:
            self.send(arrived)
        needed = arrived if is_waiting else arrived + 1
        for rank, peer in self.peers.items():
            if peer.arrived < needed and self._reason_gone(peer) is not None:
                self.receive()  # its last sign may have come just now
                if peer.arrived < needed:
                    self._end(f"rank {rank} ({peer.name}) is gone: {self._reason_gone(peer)}")
        if is_waiting:
            self._listen(arrived, now)

    def say_who_is_gone(self) -> None:
        """mpiexec ends this rank: the first of those that are left tells whose process was gone before."""
        gone = [rank for rank, peer in self.peers.items() if not self._runs(peer)]
        if gone and self._rank == min({self._rank, *self.peers} - set(gone)):
            names = ", ".join(f"rank {rank} ({self.peers[rank].name})" for rank in gone)
            self._tell(f"mpiexec ends rank {self._rank}: {names} was killed, or ended itself")
        time.sleep(STAY_SECONDS)

    def _runs(self, peer: Peer) -> bool:
        """Whether its process is there, as far as can be seen from here."""
        return peer.place.machine != self._machine or _is_alive(peer.place.process)

    def _reason_gone(self, peer: Peer) -> str | None:
        if peer.left is not None:
            return peer.left
        if not self._runs(peer):
            return "its process was killed, or ended itself"
        return None

    def _listen(self, arrived: int, now: float) -> None:
        silent = {
            rank: now - max(peer.seen, self._since)
            for rank, peer in self.peers.items()
            if peer.arrived < arrived and now - max(peer.seen, self._since) > self._warning
        }
        others = set(self.peers) | {self._rank}
        is_speaker = self._rank == min(others - set(silent))
        for rank, seconds in silent.items():
            peer = self.peers[rank]
            if seconds > self._limit:
                self._end(
                    f"rank {rank} ({peer.name}) gave no sign for {self._limit:g} s. Where that may be, set "
                    f"{LIMIT_NAME} to more seconds in the environment of all ranks"
                )
            if not peer.warned:
                peer.warned = now
                if is_speaker:
                    self._tell(
                        f"rank {self._rank} waits for rank {rank} ({peer.name}), which has given no sign for "
                        f"{seconds:.3g} s; after {self._limit:g} s the job ends"
                    )
        for rank, peer in self.peers.items():
            if peer.warned and rank not in silent:
                peer.warned = 0.0

    def _end(self, reason: str) -> None:
        """The first of those that are left ends the job at once; the others do, should it not."""
        first = min({self._rank, *(rank for rank, peer in self.peers.items() if self._reason_gone(peer) is None)})
        if self._ended is None:
            is_first = first == self._rank and all(peer.left != ENDING for peer in self.peers.values())
            self._ended = time.monotonic() + (0.0 if is_first else LATER_SECONDS), reason
        if time.monotonic() >= self._ended[0]:
            self._abort(self._ended[1])


def _is_alive(process: int) -> bool:
    """Whether there is such a process on this machine, which is no mere entry of one that has ended."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except ProcessLookupError:
        return False
    except (OSError, IndexError):  # another user's, or a system that does not say
        return True
    return state not in (b"Z", b"X")
