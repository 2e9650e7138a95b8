"""A client of Dask as those see it who need its workers: what they ask for comes, or one error says who failed."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import distributed
from dask.core import flatten

from .dask_arrays import Arrays, aligned_with, check_rows, known_lengths, of_partitions, ranges_for
from .dask_worker import Partition, Spec, WorkerError, hold

LOOK_SECONDS = 2.0  # between two looks at whether there are workers
PATIENCE_SECONDS = 60.0  # that all workers may be gone for


class Owned(NamedTuple):
    """A run of rows, and whose it is by its place among the holdings."""

    start: int
    stop: int
    owner: int


class Cluster:
    """The workers of a client, some of which hold rows."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._holders: list[str] = []
        self._before: list[Any] = []

    def placed(self, arrays: Arrays) -> tuple[tuple[int, ...], list[list[Any]]]:
        """(rows of each partition of X, futures of the partitions of each array), all of them there and cut as X is.

        What lies with workers already stays there; anything else is laid out in the order of its rows.
        """
        lengths = [None if array is None else known_lengths(array) for array in arrays]
        if all(of is not None for of, array in zip(lengths, arrays, strict=True) if array is not None):
            check_rows(lengths)
            assert lengths[0] is not None
            cut = (None if array is None else aligned_with(array, lengths[0]) for array in arrays)
            return lengths[0], self._laid_out(list(cut))
        futures = self._laid_out(list(arrays))
        lengths = [tuple(self.results("the partitions' lengths", len, of)) if of else None for of in futures]
        check_rows(lengths)
        assert lengths[0] is not None
        for i, (own, array) in enumerate(zip(lengths, arrays, strict=True)):
            if own is not None and own != lengths[0]:
                known = aligned_with(of_partitions(futures[i], own, array.dtype), lengths[0])
                (futures[i],) = self._laid_out([known])
        return lengths[0], futures

    def _laid_out(self, arrays: Sequence[Any]) -> list[list[Any]]:
        """Futures of the partitions of each array, once all are there; none for an array that is None."""
        given = [array for array in arrays if array is not None]
        if distributed.futures_of(given):
            ranges: dict[str | None, list[tuple[int, int]]] = {None: [(0, array.numblocks[0]) for array in given]}
        else:
            threads = self._threads()
            by_array = [ranges_for(known_lengths(a), a.numblocks[0], list(threads.values())) for a in given]
            ranges = {worker: [of[k] for of in by_array] for k, worker in enumerate(threads)}
        found: list[list[Any]] = [[] for _ in given]
        for worker, of in ranges.items():
            places = [i for i, (first, last) in enumerate(of) if first < last]
            blocks = [given[i] if worker is None else given[i].blocks[slice(*of[i])] for i in places]
            kept = self._client.persist(blocks, workers=worker and [worker], allow_other_workers=worker is not None)
            for i, array in zip(places, kept, strict=True):
                found[i] += [array.dask[key] for key in flatten(array.__dask_keys__())]
        self.wait("the partitions", [future for of in found for future in of])
        rest = iter(found)
        return [[] if array is None else next(rest) for array in arrays]

    def held(
        self, spec: Spec, lengths: Sequence[int], futures: Sequence[Sequence[Any]]
    ) -> tuple[list[Owned], list[Any]]:
        """(runs of rows, futures of the holdings): every worker holds the partitions of X that it has."""
        holders, workers = self._client.who_has(list(futures[0])), list(self._threads())
        owned, own = list[Owned](), dict[str, list[int]]()
        partitions, start, last = list[Partition](), 0, workers[0]
        for k, (length, future) in enumerate(zip(lengths, futures[0], strict=True)):
            partitions.append(Partition(k, start, length))
            if length:
                at = holders.get(future.key) or (last,)
                last = last if last in at else min(at)
                own.setdefault(last, []).append(k)
                place = list(own).index(last)
                if owned and owned[-1].owner == place:
                    owned[-1] = owned[-1]._replace(stop=start + length)
                else:
                    owned.append(Owned(start, start + length, place))
            start += length
        self._holders = list(own)
        holdings = [
            self._client.submit(
                hold, spec, [partitions[k] for k in places], *([of[k] for k in places] if of else [] for of in futures),
                workers=[worker], allow_other_workers=True, pure=False,
            )
            for worker, places in own.items()
        ]  # fmt: skip
        self.wait("the partitions of workers", holdings)
        self._client.run_on_scheduler(_let_go, [future.key for future in holdings])
        return owned, holdings

    def tasks(self, function: Callable[..., Any], *arguments: Sequence[Any], **common: Any) -> list[Any]:
        """Futures of function(a, b, ..., **common), each done where the largest of what it takes lies."""
        # Dask spreads tasks that are many and need little over all workers, data or no data. It counts those whose keys
        # begin alike: never more than there are workers.
        name, lot = f"{function.__name__}-{uuid.uuid4().hex}", len(self._holders) or len(arguments[0])
        keys = [(f"{name}-{i // lot}", i) for i in range(len(arguments[0]))]
        return self._client.map(function, *arguments, **common, key=keys, pure=False)

    def results(self, what: str, function: Callable[..., Any], *arguments: Sequence[Any], **common: Any) -> list[Any]:
        """What they come to."""
        futures = self.tasks(function, *arguments, **common)
        # the futures before live until now: a message that lets go of them would hold back the one with these tasks
        # by 10 ms, which a client leaves between any two
        self._before = futures
        self.wait(what, futures)
        try:
            return self._client.gather(futures)
        except Exception as error:
            raise WorkerError(f"Dask does not hand over {what}: {_told(error)}") from error

    def wait(self, what: str, futures: Sequence[Any]) -> None:
        """Until all are there. WorkerError where one cannot be computed, or nobody computes for long."""
        idle: float | None = None  # since when
        while True:
            try:
                distributed.wait(futures, timeout=LOOK_SECONDS)
                break
            except asyncio.TimeoutError:  # which Python 3.10 has beside the built-in one
                keys = [future.key for future in futures]
                is_at_work = self._asked(self._client.run_on_scheduler, _is_at_work, keys)
                idle = None if is_at_work else self._idle(what, idle)
            except Exception as error:  # cancelled: what was put on a worker by hand is lost with it, say
                there = ", ".join(self._holders) or "workers"
                raise WorkerError(
                    f"Dask gave up {what}: {_told(error)}. Of {there} there are left: {self._named() or 'none'}"
                ) from error
        for future in futures:
            if future.status != "finished":
                self._raise(what, future)

    def _idle(self, what: str, since: float | None) -> float:
        """Since when nobody has computed what is waited for, noticed once more. WorkerError where that is long."""
        now = time.monotonic()
        if since is not None and now - since > PATIENCE_SECONDS:
            names = self._named()
            who = f"the workers {names} do nothing" if names else "all workers of Dask are gone"
            there = f" (there were {', '.join(self._holders)})" if self._holders else ""
            raise WorkerError(f"{who} for {now - since:.0f} s, but somebody must compute {what}{there}")
        return now if since is None else since

    def _asked(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except Exception as error:
            raise WorkerError(f"the scheduler of Dask does not answer: {_told(error)}") from error

    def _threads(self) -> dict[str, int]:
        """Threads by worker, once there are any."""
        since: float | None = None
        while not (found := self._asked(self._client.nthreads)):
            since = self._idle("partitions", since)
            time.sleep(LOOK_SECONDS / 10)
        return found

    def _named(self) -> str:
        return ", ".join(self._asked(self._client.nthreads))

    def _raise(self, what: str, future: Any) -> None:
        error = future.exception()
        if isinstance(error, WorkerError):
            raise error
        where = self._client.run_on_scheduler(_workers_that_failed, future.key)
        raise WorkerError(f"{' and '.join(where) or 'a worker'} could not compute {what}: {_told(error)}") from error


# ------------------------------------------------------------------------------- run in the scheduler


def _needed(dask_scheduler: Any, keys: Sequence[Any]) -> Iterator[Any]:
    """Tasks of these keys and what they need that is not there."""
    known, rest = set(keys), [dask_scheduler.tasks[key] for key in keys if key in dask_scheduler.tasks]
    while rest:
        task = rest.pop()
        yield task
        for other in () if task.state == "memory" else task.dependencies:
            if other.key not in known:
                known.add(other.key)
                rest.append(other)


def _is_at_work(keys: Sequence[Any], dask_scheduler: Any = None) -> bool:
    """Whether a worker has one of the tasks, or one that they need, in its hands or before it."""
    workers = dask_scheduler.workers
    return bool(workers) and any(
        task.state == "queued" or (task.processing_on is not None and task.processing_on.address in workers)
        for task in _needed(dask_scheduler, keys)
    )


def _let_go(keys: Sequence[Any], dask_scheduler: Any = None) -> None:
    """Tasks are no longer for certain workers in the first place: while all workers are away, Dask takes that for a
    must, and leaves them alone when others come."""
    rest, known = [dask_scheduler.tasks[key] for key in keys if key in dask_scheduler.tasks], set(keys)
    while rest:
        task = rest.pop()
        if task.loose_restrictions:
            dask_scheduler.set_restrictions({task.key: []})
        for other in task.dependencies:
            if other.key not in known:
                known.add(other.key)
                rest.append(other)


def _workers_that_failed(key: Any, dask_scheduler: Any = None) -> list[str]:
    """Runs in the scheduler: where the task failed, or one that it needs."""
    task = dask_scheduler.tasks.get(key)
    cause = None if task is None else task.exception_blame or task
    return [] if cause is None else sorted(f"worker {name}" for name in cause.erred_on)


def _told(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"
