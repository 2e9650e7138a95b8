"""Threads, forks and worker processes around threaded fits, as a program: python process_scenarios.py SCENARIO REPEATS.

Every fit is compared with one on a single thread, every child must end by itself with status 0, and what hangs is
ended with a trace of its threads. Prints JSON: the seconds of each thing done.
"""

import importlib
import multiprocessing
import random
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import numba
import numba.core.event as event
from children import answer_of, fork, limit_time
from joblib import Parallel, delayed
from process_jobs import fit

CHILD_SECONDS = 300  # of a child that would never end: far more than one takes, on a busy machine, too
LAYERS = {"workqueue": "workqueue", "omp": "omppool", "tbb": "tbbpool"}

done = []  # things that were done


def in_fork(jobs):
    """What fits in a forked child come to: jobs are arguments of fit."""
    found = answer_of(*fork(lambda: [fit(**job) for job in jobs], CHILD_SECONDS))
    done.append("fork")
    return found


def alone(jobs):
    return [fit(**{**job, "n_threads": 1}) for job in jobs]


def threads_at_once(repeats, n=8):
    """Fits in Python threads at once, from the start: they also load the kernels at once."""
    for turn in range(repeats):
        found, meeting = {}, threading.Barrier(n)

        def work(seed, found=found, meeting=meeting):
            meeting.wait()
            found[seed] = fit(seed)

        workers = [threading.Thread(target=work, args=(n * turn + i,)) for i in range(n)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        done.append("threads")
        assert found == {seed: fit(seed, n_threads=1) for seed in range(n * turn, n * turn + n)}


def layer(name, repeats):
    """Threads at once, then children, beside one of Numba's threading layers, started."""
    try:
        importlib.import_module(f"numba.np.ufunc.{LAYERS[name]}")
    except ImportError:
        return
    numba.set_num_threads(numba.get_num_threads())
    assert numba.threading_layer() == name
    threads_at_once(repeats)
    jobs = [{"seed": 0}, {"seed": 1}]
    for _ in range(repeats):
        assert in_fork(jobs) == alone(jobs)
        pool("fork")
        executor("fork")


def ended_well(workers):
    assert workers
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def pool(method):
    with multiprocessing.get_context(method).Pool(2, limit_time, (CHILD_SECONDS,)) as workers:
        processes = multiprocessing.active_children()
        found = workers.map(fit, range(4), chunksize=1)
        workers.close()
        workers.join()
    ended_well(processes)
    done.append(method)
    assert found == [fit(seed, n_threads=1) for seed in range(4)]


def executor(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context, initializer=limit_time, initargs=(CHILD_SECONDS,)) as workers:
        found = list(workers.map(fit, range(4)))
        processes = multiprocessing.active_children()
    ended_well(processes)
    done.append(method)
    assert found == [fit(seed, n_threads=1) for seed in range(4)]


def with_joblib(backend):
    found = Parallel(n_jobs=2, backend=backend)(delayed(fit)(seed) for seed in range(4))
    done.append(backend)
    assert found == [fit(seed, n_threads=1) for seed in range(4)]


def workers(method, repeats):
    """Worker processes after a threaded fit in this one."""
    fit(0, n_threads=4), fit(1, n_threads=4), fit(3, n_threads=4), fit(4, n_threads=4)
    for _ in range(repeats):
        if method in ("loky", "multiprocessing"):
            with_joblib(method)
        else:
            pool(method)
            executor(method)


def forks(repeats):
    """Forks after a threaded fit, and while another thread is in the middle of one."""
    jobs = [{"seed": 0, "n_threads": 4}, {"seed": 1, "n_threads": 4}]
    assert [fit(**job) for job in jobs] == alone(jobs)
    draw, enough, found = random.Random(0), threading.Event(), []

    def keep_fitting():
        while not enough.is_set():
            found.append(fit(2, steps=1000))

    expected = fit(2, n_threads=1, steps=1000)
    assert in_fork(jobs) == alone(jobs)
    other = threading.Thread(target=keep_fitting)
    other.start()
    for _ in range(4 * repeats):
        time.sleep(draw.uniform(0, 0.05))
        assert in_fork(jobs) == alone(jobs)
    enough.set()
    other.join()
    assert set(found) == {expected}


class Beginning(event.Listener):
    """Tells when a compilation begins."""

    def __init__(self):
        self.begun = threading.Semaphore(0)

    def on_start(self, event):
        self.begun.release()

    def on_end(self, event):
        pass


def forks_while_compiling(repeats):
    """Forks while another thread compiles; a child loads a kernel that this process has not, the first compiles one."""
    shapes = [(1, 2), (1, 3), (1, 4), (1, 5), (2, 2), (2, 4), (3, 3), (4, 2)]  # each with a kernel of its own
    draw = random.Random(0)
    fit(0, n_threads=4)
    for D, K in shapes[: 2 * repeats]:
        beginning = Beginning()
        with event.install_listener("numba:compile", beginning):
            other = threading.Thread(target=fit, args=(1,), kwargs={"D": D, "K": K})
            other.start()
            assert beginning.begun.acquire(timeout=CHILD_SECONDS)
            time.sleep(draw.uniform(0, 0.4))
            jobs = [{"seed": 1}]
            if shapes[0] == (D, K):
                jobs.append({"seed": 1, "D": 3, "K": 2})
            found = in_fork(jobs)
            other.join()
        assert found == in_fork([{**job, "n_threads": 1} for job in jobs])  # not here, where it would stay loaded


if __name__ == "__main__":
    limit_time(1200)
    scenario, *arguments, repeats = sys.argv[1:]
    known = (layer, workers, forks, forks_while_compiling)
    {function.__name__: function for function in known}[scenario](*arguments, int(repeats))
    print(len(done))
