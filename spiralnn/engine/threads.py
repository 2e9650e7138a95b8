"""Threads: helpers that come and go beside a caller, and threads for one piece of work.

They are Python threads inside compiled code that holds no GIL, so two fits may run at once, and Numba's threading
layers, with the traps of each, are not used. Helpers stay some milliseconds after a call, so that the next one finds
them, and end by themselves; a fork ends them first. A thread that cannot be had costs speed, never the result.
"""

import contextlib
import os
import threading
import weakref
from collections.abc import Callable

import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from ..kernels import sync as words
from ..kernels.sync import CLOSED, HELPERS, LEAVE, SIZE, STOP, TICKETS
from .plan import Plan

JOIN_SECONDS = 0.1  # a fork waits so long for a helper: longer than it stays, shorter than a step may take

# A plain set, which is copied in one go: teams come and go in other threads while a fork looks through it.
_teams: "set[weakref.ref[Team]]" = set()
_starting = threading.Lock()  # held while a thread is started, and while this process forks


class Team:
    """The helpers of one compiled loop and the words they share (see `kernels.sync`).

    enter(i) is what helper i does, from 1 on: it returns when it has left. cursors (n, CURSOR_SIZE) are what each
    thread has in its hands.
    """

    def __init__(self, n_threads: int, enter: Callable[[int], object], cursor_size: int) -> None:
        self.n_threads, self._enter = n_threads, enter
        self.sync = np.zeros(SIZE, np.int64)
        self.cursors = np.zeros((n_threads, words.LINE * -(-cursor_size // words.LINE)), np.int64)
        self._threads: list[threading.Thread | None] = [None] * n_threads
        self._failures: list[BaseException] = []
        self.reset()
        if n_threads > 1:
            _teams.add(weakref.ref(self, _teams.discard))

    def reset(self) -> None:
        """As if nothing had been begun; nobody may be there."""
        self.sync[:] = 0
        self.sync[TICKETS] = CLOSED
        self.sync[words.ALONE] = CLOSED
        self.cursors[:] = -1
        self.is_whole = True

    def call_helpers(self, n_threads: int) -> None:
        """Have helpers 1 to n_threads - 1 here, or on their way, as far as the system grants them."""
        if self.sync[HELPERS] >= n_threads - 1:
            return
        with _starting:
            for i in range(1, n_threads):
                thread = self._threads[i]
                if thread is None or not thread.is_alive():
                    self._threads[i] = thread = threading.Thread(
                        target=self._run, args=(i,), name=f"spiralnn-{i}", daemon=True
                    )
                    try:
                        thread.start()
                    except RuntimeError:  # the system grants no more: work goes on with those there are
                        self._threads[i] = None
                        return

    def _run(self, i: int) -> None:
        with _starting:  # one whose start Ctrl-C cut short may have been replaced
            if self._threads[i] is not threading.current_thread():
                return
        try:
            _move_to_cpu(i, self.n_threads)
            self.cursors[i] = -1
            self._enter(i)
        except MemoryError:  # no room for what it needs: as if it had not come
            pass
        except BaseException as error:
            self._failures.append(error)

    def abandon(self) -> None:
        """Stop what is going on, in the middle of a step if need be, and wait until nobody is left."""
        try:
            self.sync[STOP] = 1
        finally:
            self._join(None)
        self.reset()

    def raise_failures(self) -> None:
        if self._failures:
            raise self._failures.pop()

    def dismiss(self) -> None:
        """End helpers that wait for a next call; those at work go on."""
        self.sync[LEAVE] = 1
        self._join(JOIN_SECONDS)

    def _join(self, seconds: float | None) -> None:
        for thread in self._threads:
            if thread is not None:
                with contextlib.suppress(RuntimeError):  # not started yet, which Ctrl-C may come before
                    thread.join(seconds)

    def forget(self) -> None:
        """In a child: none of the threads is there."""
        self._threads = [None] * self.n_threads
        self.reset()


def run_threads(
    work: Callable[[int], object], n_threads: int, stop: np.ndarray, *, needs_all: bool = False
) -> None:
    """work(0), ..., work(n_threads - 1), each in a thread of its own, while the caller waits interruptibly.

    Where the system grants fewer threads, those there are do it, or the caller itself, unless all are needed: work is
    what any number of them share out.

    An exception in a thread, or Ctrl-C in the caller, raises the flag stop[0], which compiled code reads between
    tiles, and is raised here once all threads have left.
    """
    failures: list[BaseException] = []
    left = threading.Semaphore(0)

    def enter(thread: int) -> None:
        try:
            _move_to_cpu(thread, n_threads)
            work(thread)
        except BaseException as error:
            failures.append(error)
            stop[0] = 1
        finally:
            left.release()

    threads = [threading.Thread(target=enter, args=(i,), name=f"spiralnn-{i}", daemon=True) for i in range(n_threads)]
    started = 0
    try:
        for thread in threads:
            try:
                thread.start()
            except RuntimeError:
                if needs_all:
                    raise
                break
            started += 1
        if started == 0:
            enter(0)
        for _ in range(max(started, 1)):
            left.acquire()  # a lock, not join: a signal handler runs at once
    except BaseException:
        stop[0] = 1
        raise
    finally:
        for thread in threads[: started + 1]:  # Ctrl-C may come while one is starting
            if thread.is_alive():
                thread.join()
    if failures:
        raise failures[0]


def over_leaves(work: Callable[[int, int, int], None], N: int, rows: Plan, n_threads: int, run: int = 1) -> None:
    """work(start, stop, leaf) for all rows, over threads; one call for up to `run` leaves.

    Before that one for no rows at all, by the caller, so that whatever is compiled is compiled here: threads may
    have a stack of 32 KiB.
    """
    run = min(run, -(-rows.n_leaves // n_threads))
    stop_flag = np.zeros(1, np.int64)
    leaves, taking = iter(range(0, rows.n_leaves, run)), threading.Lock()

    def enter(thread: int) -> None:
        while not stop_flag[0]:
            with taking:
                leaf = next(leaves, None)
            if leaf is None:
                return
            work(leaf * rows.leaf_rows, min((leaf + run) * rows.leaf_rows, N), leaf)

    if n_threads == 1:
        enter(0)
    else:
        work(0, 0, 0)
        run_threads(enter, n_threads, stop_flag)


def _move_to_cpu(thread: int, n_threads: int) -> None:
    """Have the calling thread go on on a CPU of its own; the system may move it again.

    New threads may begin on one CPU, and are parted only after some milliseconds: in runs of 20 ms, with pauses, a step
    of (300, 2, 100, 3) then takes 17 us instead of 10.
    """
    try:
        cpus = os.sched_getaffinity(0)
        if n_threads <= len(cpus):
            os.sched_setaffinity(0, {sorted(cpus)[thread]})
            os.sched_setaffinity(0, cpus)
    except (AttributeError, OSError):  # this system has no such call, or does not let us
        pass


def _living_teams() -> list[Team]:
    return [team for reference in _teams.copy() if (team := reference()) is not None]


def _before_fork() -> None:
    """A child that is forked while another thread compiles would inherit the compiler's lock, held by a thread that it
    does not have, and wait for ever for it; helpers it would not have either."""
    global_compiler_lock.acquire()
    _starting.acquire()
    for team in _living_teams():
        team.dismiss()


def _after_fork_in_parent() -> None:
    for team in _living_teams():
        team.sync[LEAVE] = 0
    _starting.release()
    global_compiler_lock.release()


def _after_fork_in_child() -> None:
    for team in _living_teams():
        team.forget()
    _starting.release()
    global_compiler_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
