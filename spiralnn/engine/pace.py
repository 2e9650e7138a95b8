"""How many threads the next steps take: whatever is faster at the moment, found out by a few steps now and then.

Steps of milliseconds gain from every thread, on a busy machine too, for parts are taken by whoever is free. Shorter
ones gain on a quiet machine ((300, 2, 100, 3) takes 14 us on one thread, 8 on two) and lose on a busy one, where half a
step may lie in the hands of a thread that has no core: more threads are tried only when that many CPUs are idle. The
result is the same, to the last bit.
"""

from collections.abc import Callable

from ..kernels.models import Model
from ..resources import available_threads, idle_cpus

THREAD_FLOPS = 200_000  # work of a step a thread must have to be worth its two words with the others
START_FLOPS = 20e6  # work of all steps a thread must have to be worth starting: 0.1 ms quiet, 1 ms on a busy machine
SHORT_FLOPS = 2e8  # work of a step, some milliseconds, up to which both ways are tried
ASSUMED_FLOPS = 10e9  # a second and thread, before anything is measured

SLICE_SECONDS = 0.1  # between two looks at what goes on beside the steps
TRIAL_STEPS, TRIAL_SECONDS = 8, 2e-3  # of a trial at most, but one step
# A trial every so many seconds of steps; from the first to the last twice as many each time, for a short fit is over
# before the last. Where all threads are HOPELESS times as slow the machine is busy, and the last comes at once: a step
# may then take as long as the system lets others run, 10 to 30 ms.
FIRST_STRETCH, LAST_STRETCH = 2e-3, 1.0
# Where no CPU is idle the next look is at least so far off: who comes back to Python among many waits for the GIL.
HOPELESS, BUSY_STRETCH = 4.0, 32e-3


def threads_for(flops: float, n_parts: int, n_threads: int | None, steps: int = 1) -> int:
    """Threads worth having for `steps` steps of so much work, at most n_threads (None: all this process may use)."""
    worth = min(n_parts, int(flops // THREAD_FLOPS), int(flops * steps // START_FLOPS))
    if worth < 2:  # asking the system would take longer than the work
        return 1
    return max(1, min(worth, available_threads() if n_threads is None else n_threads))


class Pace:
    """The pace of one kind of step on one thread and on `most`.

    `choose` says how the next steps are done, `record` is told how long they took. idle() is the number of idle CPUs,
    or None.
    """

    def __init__(
        self, model: Model, N: int, most: int, idle: Callable[[], int | None] = idle_cpus
    ) -> None:
        self.flops = model.flops(N)
        self.most = most
        self._idle = idle
        self.seconds: dict[int, float] = {}  # a step, by the number of threads, as last measured
        self.taken: dict[int, int] = {}  # steps, by the number of threads
        self.is_short = most > 1 and self.flops < SHORT_FLOPS
        self._chosen = 1 if self.is_short else most
        self._trial = False  # whether the next steps are one
        self._warm = True  # whether the helpers have done a step since they were called
        self._steps, self._spent = 0, 0.0  # of the trial so far
        self._stretch = self._left = FIRST_STRETCH
        if self.is_short:
            self._begin_trial()

    def expected(self, n_threads: int) -> float:
        """Seconds a step, as measured, with another number of threads if need be, or by a guess."""
        return self.seconds.get(n_threads) or max(self.seconds.values(), default=self.flops / ASSUMED_FLOPS)

    def choose(self) -> tuple[int, int]:
        """(threads, steps at most) for what comes next."""
        n = self._on_trial() if self._trial else self._chosen
        if not self._trial:
            seconds = min(SLICE_SECONDS, self._left) if self.is_short else SLICE_SECONDS
            return n, max(1, int(seconds / self.expected(n)))
        if not self._warm:
            return n, 1
        return n, max(1, min(TRIAL_STEPS - self._steps, int(TRIAL_SECONDS / self.expected(n))))

    def _on_trial(self) -> int:
        if self.seconds:
            return self.most if self._chosen == 1 else 1
        return 1

    def record(self, n_threads: int, steps: int, seconds: float) -> None:
        """So many steps on so many threads took so long."""
        self.taken[n_threads] = self.taken.get(n_threads, 0) + steps
        if not self._trial:
            self.seconds[n_threads] = seconds / steps
            self._left -= seconds
            if self.is_short and self._left <= 0:
                self._begin_trial()
            return
        other = self.seconds.get(1 if n_threads > 1 else self.most)
        if not self._warm:  # this step woke the helpers
            self._warm = True
            if other is None or seconds < HOPELESS * TRIAL_STEPS * other:
                return
        self._steps += steps
        self._spent += seconds
        pace = self._spent / self._steps
        hopeless = other is not None and n_threads > 1 and pace > HOPELESS * other
        if self._steps < TRIAL_STEPS and self._spent < TRIAL_SECONDS and not hopeless:
            return
        self.seconds[n_threads] = pace
        if len(self.seconds) < 2:
            self._begin_trial()
            return
        self._chosen = min(self.seconds, key=self.seconds.__getitem__)
        self._go_on(LAST_STRETCH if hopeless else 2 * self._stretch)

    def _begin_trial(self) -> None:
        n = self._on_trial()
        most = n if self.seconds else self.most  # the first trial is of one thread, for a second to be compared with
        idle = self._idle() if most > 1 else None
        if idle is not None and idle < most - 1:
            self._go_on(max(4 * self._stretch, BUSY_STRETCH))
            return
        self._trial, self._steps, self._spent = True, 0, 0.0
        self._warm = n == 1

    def _go_on(self, stretch: float) -> None:
        """As chosen, for so many seconds; trials of steps that take their time must be few, too."""
        self._trial = False
        self._stretch = min(stretch, LAST_STRETCH)
        self._left = max(self._stretch, 2 * TRIAL_STEPS * self.expected(self._chosen))
