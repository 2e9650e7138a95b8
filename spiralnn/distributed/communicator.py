"""The processes of one MPI communicator, as those that fit together.

Everything here is for all ranks at once: each calls the same methods in the same order. Nothing is added up by MPI. A
rank that waits tests and sleeps, for one that spins takes the core that another may need. An MPI error, as of ranks
that went different ways, ends the job. So does a rank that gives no sign of life for 60 s, or as many as
SPIRALNN_RANK_TIMEOUT says in the environment; between its signs it may read and compute a piece of rows, or compile.

Ctrl-C: mpiexec does not hand it on to Python, but ends all ranks; what survives is the checkpoint. A SIGINT that one
rank gets by itself during a pass ends the fit on all of them, as KeyboardInterrupt does in one process.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import mpi4py.MPI as MPI
import numba
import numpy as np

from .. import __version__
from ..resources import available_cpus, available_threads
from .errors import Told, raise_first
from .exits import watch_exits
from .signs import ENDING, LOOK_SECONDS, Place, Signs, silence_limit

ROWS_TAG = 2
# Of testing without a pause, where each rank has a CPU, and where they share some. On 2 cores with others at work, too:
# exchanges of 2 ranks take 30 us (0.1 ms of it: 300 us, 10 ms: 30 to 90), those of 4 ranks 1 ms (0.1 ms: 1.5, 1 ms: 4)
SPIN_SECONDS, SHORT_SPIN_SECONDS = 1e-3, 2e-5
SHORTEST_PAUSE, LONGEST_PAUSE = 5e-5, 1e-3
MOST_TOLD = 64  # ranks whose places are told
MEETING_LIMITS = 5  # times the limit of silence: ranks may come to their first fit at different times

_KEY = MPI.Comm.Create_keyval()


class Hello(NamedTuple):
    """What ranks tell of themselves when they meet. cpus: that it may use; all_cpus: that who started it may use."""

    place: Place
    versions: dict[str, str]
    cpus: frozenset[int]
    all_cpus: frozenset[int]

    @classmethod
    def here(cls) -> "Hello":
        versions = {
            "the version of spiralnn": __version__,
            "the version of numpy": np.__version__,
            "the version of numba": numba.__version__,
            "the order of bytes": sys.byteorder,
        }
        return cls(Place.here(), versions, _cpus_of(0), _cpus_of(os.getppid()))


def _cpus_of(process: int) -> frozenset[int]:
    try:
        return frozenset(os.sched_getaffinity(process))
    except (AttributeError, OSError):  # no affinity on this system, or not ours to see
        return frozenset()


def _cpus_together(hellos: list[Hello]) -> frozenset[int]:
    return frozenset[int]().union(*(hello.cpus for hello in hellos))


def tell(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(f"spiralnn: {text}\n")
    sys.stderr.flush()


class Communicator:
    """Of `size` processes, this one is number `rank`. `of` makes one; it is the same one for every fit."""

    def __init__(self, comm: Any) -> None:
        self.rank, self.size = comm.rank, comm.size
        self._limit = silence_limit()
        self._arrived = 0  # exchanges that this rank has come to
        self._due = 0.0  # when the next sign is, at work
        self._is_interrupted = False
        self._lock = threading.Lock()
        self._signs: Signs | None = None
        self._can_tell = MPI.Query_thread() >= MPI.THREAD_SERIALIZED  # from the threads that do the work
        self._spin = SHORT_SPIN_SECONDS
        self._comm = comm
        if self.size > 1:
            self._comm = self._meet(comm)
        self._hellos: list[Hello] = self.gather(Hello.here())
        neighbours = self._neighbours()
        if len(neighbours) <= len(_cpus_together(neighbours)):
            self._spin = SPIN_SECONDS
        if self.size > 1:
            places = [hello.place for hello in self._hellos]
            self._signs = Signs(self._comm, places, self._limit, tell, self.abort)
            watch_exits(self)
            self._watch_termination()
            self._tell_places()
            self.agree(self._hellos[self.rank].versions)
        self._has_told_of_cpus = False

    @classmethod
    def of(cls, communicator: Any) -> "Communicator":
        """That of an intracommunicator of mpi4py. ValueError, TypeError for anything else."""
        if isinstance(communicator, cls):
            return communicator
        if not isinstance(communicator, MPI.Intracomm):
            raise TypeError(
                f"communicator is {communicator!r}, expected an intracommunicator of mpi4py, as MPI.COMM_WORLD"
            )
        if communicator == MPI.COMM_NULL:
            raise ValueError("communicator is MPI.COMM_NULL, expected one that this process is in")
        known: Any = communicator.Get_attr(_KEY)
        if known is None:
            known = cls(communicator)
            communicator.Set_attr(_KEY, known)
        return known

    # meeting

    def _tell_places(self) -> None:
        """Where ranks are, once: mpiexec of MPICH says no more of a rank that is killed than its process."""
        if self.rank == 0 and self.size <= MOST_TOLD and "Open MPI" not in MPI.Get_library_version():
            tell("ranks: " + ", ".join(f"{rank} is {hello.place.name}" for rank, hello in enumerate(self._hellos)))

    def _watch_termination(self) -> None:
        """Open MPI ends ranks by SIGTERM where one is killed, and need not say which."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            return
        process = os.getpid()

        def end(number: int, _: Any) -> None:
            signal.signal(number, signal.SIG_DFL)
            if os.getpid() == process and self._signs is not None:
                self._signs.say_who_is_gone()
            os.kill(os.getpid(), number)

        signal.signal(signal.SIGTERM, end)

    def _meet(self, comm: Any) -> Any:
        """A communicator of our own. Until all ranks are here, who is can only be told by a message from each."""
        here = np.zeros(self.size, np.uint8)
        ones, counts, places = np.ones(self.size, np.uint8), [1] * self.size, list(range(self.size))
        arrivals = [
            comm.Iscatterv([ones, counts, places, MPI.BYTE] if rank == self.rank else None, here[rank : rank + 1], rank)
            for rank in range(self.size)
        ]
        own, request = comm.Idup()
        start, has_told = time.monotonic(), False
        while not (MPI.Request.Testall(arrivals) and request.Test()):
            waited = time.monotonic() - start
            time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, waited / 16)))
            absent = [rank for rank in range(self.size) if not here[rank] and rank != self.rank]
            names = f"rank{'s' if len(absent) > 1 else ''} {', '.join(map(str, absent))}"
            is_speaker = self.rank == min(set(range(self.size)) - set(absent))
            if waited > self._limit / 12 and absent and not has_told:
                has_told = True
                if is_speaker:
                    tell(f"rank {self.rank} waits for {names} to come to the fit, too")
            if waited > MEETING_LIMITS * self._limit:
                self.abort(f"{names} did not come to the fit within {waited:.0f} s")
        return own

    def _neighbours(self) -> list[Hello]:
        """Ranks on this machine, with this one."""
        machine = self._hellos[self.rank].place.machine
        return [hello for hello in self._hellos if hello.place.machine == machine]

    def threads(self, wanted: int | None) -> int:
        """That this rank takes for itself: its share of the CPUs that it may use, unless so many are wanted."""
        own, neighbours = self._hellos[self.rank], self._neighbours()
        if not self._has_told_of_cpus:
            self._has_told_of_cpus = True
            used = _cpus_together(neighbours)
            if self.rank == 0 and own.cpus and len(used) < len(used | own.all_cpus):
                tell(
                    f"ranks on {own.place.host} ({len(neighbours)}) are bound to {len(used)} of its "
                    f"{len(used | own.all_cpus)} CPUs: mpiexec has an option to bind them to more, or to none "
                    "(--bind-to none)"
                )
        if wanted is not None:
            return wanted
        sharing = sum(1 for hello in neighbours if hello.cpus & own.cpus or hello is own)
        return max(1, min(available_cpus() // sharing, available_threads()))

    # exchanges

    def gather(self, value: Any) -> list[Any]:
        """The value of each rank, pickled on the way."""
        if self.size == 1:
            return [value]
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        sizes, places = np.empty(self.size, np.int64), np.zeros(self.size, np.int64)
        self._exchange(lambda: self._comm.Iallgather(np.array([len(content)], np.int64), sizes))
        places[1:] = sizes.cumsum()[:-1]
        received = np.empty(int(sizes.sum()), np.uint8)
        target = [received, sizes, places, MPI.BYTE]
        self._exchange(lambda: self._comm.Iallgatherv([content, MPI.BYTE], target))
        return [pickle.loads(received[place : place + n].data) for n, place in zip(sizes, places, strict=True)]

    def gather_numbers(self, own: np.ndarray, received: np.ndarray, counts: list[int], places: list[int]) -> None:
        """float64: counts[r] numbers of each rank r, from `own`, to received[places[r]:]."""
        self._exchange(lambda: self._comm.Iallgatherv(own, [received, counts, places, MPI.DOUBLE]))

    def any(self, value: object) -> bool:
        """Whether it is true on one of them."""
        if self.size == 1:
            return bool(value)
        own, received = np.array([bool(value)], np.uint8), np.empty(self.size, np.uint8)
        self._exchange(lambda: self._comm.Iallgather(own, received))
        return bool(received.any())

    def once(self, function: Callable[[], Any]) -> Any:
        """What rank 0 makes of it, or raises, on all of them."""
        told, value, own = None, None, None
        if self.rank == 0:
            try:
                value = function()
            except (Exception, KeyboardInterrupt) as error:
                own, told = error, Told.of(error)
        told, value = self.gather((told, value))[0]
        raise_first([told], own)
        return value

    def each(self, function: Callable[[], Any]) -> Any:
        """What this rank makes of it; where one raises, all of them raise that."""
        value, own = None, None
        try:
            value = function()
        except (Exception, KeyboardInterrupt) as error:
            own = error
        if self.any(own is not None):
            raise_first(self.gather(None if own is None else Told.of(own)), own)
        return value

    def agree(self, own: dict[str, Any]) -> None:
        """ValueError, on all ranks, that names one whose values are not those of most."""
        found = self.gather({name: repr(value) for name, value in own.items()})
        names = {name: None for values in found for name in values}
        for name in names:
            values = [values.get(name, "missing") for values in found]
            usual = max(values, key=values.count)  # of as many the first
            for rank, value in enumerate(values):
                if value != usual:
                    raise ValueError(f"rank {rank} differs from others: {name} is {value}, expected {usual}")

    def pass_on(self, parts: dict[int, Any], sources: list[int]) -> dict[int, Any]:
        """Send each part to its rank, and take one from each of the sources: what came, by rank."""
        requests = [self._comm.isend(part, rank, ROWS_TAG) for rank, part in parts.items()]
        came: dict[int, Any] = {}

        def is_done() -> bool:
            for rank in sources:
                if rank not in came and (message := self._comm.improbe(rank, ROWS_TAG)) is not None:
                    came[rank] = message.recv()
            return len(came) == len(sources) and MPI.Request.Testall(requests)

        self._arrived += 1
        self._guarded(lambda: self._wait(is_done))
        return came

    # waiting

    def _exchange(self, start: Callable[[], Any]) -> None:
        def run() -> None:
            request = start()
            self._wait(request.Test)

        self._arrived += 1
        self._guarded(run)

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except MPI.Exception as error:
            self.abort(f"MPI failed, as it does where ranks go different ways: {error}")

    def _wait(self, is_done: Callable[[], bool]) -> None:
        deadline = time.perf_counter() + self._spin
        while time.perf_counter() < deadline:
            if is_done():
                return
        start = time.monotonic()
        if self._signs is not None:
            self._signs.begin()
        while True:
            try:
                if is_done():
                    return
                waited = time.monotonic() - start
                time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, waited / 16)))
                if self._signs is not None and waited > LOOK_SECONDS:
                    self._signs.look(self._arrived, is_waiting=True)
            except KeyboardInterrupt:  # told to the others at the next exchange; who presses it twice wants to leave
                if self._is_interrupted:
                    raise
                self._is_interrupted = True

    def begin(self) -> None:
        """Work begins, of which `pulse` is called now and then. KeyboardInterrupt where there was one meanwhile."""
        if self._is_interrupted:
            self._is_interrupted = False
            raise KeyboardInterrupt
        if self._signs is not None:
            self._due = time.monotonic() + self._signs.interval

    def pulse(self) -> None:
        """Work goes on: whoever waits is told so. For any thread, while no other calls MPI."""
        if time.monotonic() < self._due or self._signs is None:
            return
        if not (self._can_tell or threading.current_thread() is threading.main_thread()):
            return
        if self._lock.acquire(blocking=False):
            try:
                self._due = time.monotonic() + LOOK_SECONDS
                self._signs.look(self._arrived, is_waiting=False)
            finally:
                self._lock.release()

    # the end

    def leave(self, reason: str) -> None:
        """Tell the others that this rank will not come again."""
        if self._signs is not None and not MPI.Is_finalized():
            self._signs.send(self._arrived, reason)

    def have_all_left(self) -> bool:
        if self._signs is None or MPI.Is_finalized():
            return True
        self._signs.receive()
        return all(peer.left is not None for peer in self._signs.peers.values())

    def abort(self, reason: str) -> None:
        """End all processes of the job, with exit code 1 and the reason on stderr."""
        tell(f"rank {self.rank} of {self.size} ends the job: {reason}")
        self.leave(ENDING)
        if not MPI.Is_finalized():
            MPI.COMM_WORLD.Abort(1)
        os._exit(1)
