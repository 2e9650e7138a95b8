"""Threads however little there is to do, and how many there were: for tests that would otherwise run on one."""

from spiralnn.engine import pace, passes, plan

started = set()  # numbers of threads that calls were made for


def want_all_threads(setattr=setattr):
    """Share everything out to as many threads as are asked for, without trial of one; setattr=None: no more."""
    if setattr is not None:
        setattr(plan, "SPLIT_BYTES", 1)
        setattr(plan, "SHARED_FLOPS", 0.0)
        setattr(pace, "THREAD_FLOPS", 1e-9)
        setattr(pace, "START_FLOPS", 1e-9)
        setattr(pace, "SHORT_FLOPS", -1.0)
    passes.cached_plan.cache_clear()
    passes.cached_batch_plan.cache_clear()


def count_threads(setattr=setattr):
    """Have `started` tell how many threads steps were done by."""
    run = passes.Passes.run

    def counted(self, steps, n_threads=None):
        started.add(n_threads or self.n_threads)
        return run(self, steps, n_threads)

    started.clear()
    setattr(passes.Passes, "run", counted)
