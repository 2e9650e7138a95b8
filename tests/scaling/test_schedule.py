"""What a scaling run measures next, by rates that are made up: sizes, memory, budget, estimates that get better."""

import zlib

import numpy as np
import pytest
from scaling_runs import LIMITS, LINEAR, NETWORK, case, settings

from spiralnn.kernels.models import Model
from spiralnn.scaling import cases, planning, report
from spiralnn.scaling.cases import ScalingError
from spiralnn.scaling.estimates import Estimates, Part
from spiralnn.scaling.hardware import Limits
from spiralnn.scaling.planning import Schedule


def test_default_sizes_and_threads():
    assert planning.default_sizes(10_000) == [1000, 3000, 10_000]
    assert planning.default_sizes(9_999) == [1000, 3000]
    assert planning.default_sizes(10**8)[-2:] == [3 * 10**7, 10**8]
    assert planning.default_threads(1) == [1]
    assert planning.default_threads(6) == [1, 2, 4, 6]
    assert planning.default_threads(8) == [1, 2, 4, 8]


def planned(asked, limits=LIMITS, done=()):
    return [case for case, _ in Schedule(asked, limits, done).plan().cases]


def test_everything_is_planned_where_there_is_time_and_memory_the_largest_first():
    plan = planned(settings())
    wanted = {case(N, H=H, threads=n) for N in (1000, 10**5, 10**7) for H in (0, 100) for n in (0, 1, 2)}
    # weak scaling: as many rows for one thread as each of two has
    assert set(plan) == wanted | {case(5 * 10**6, H=H, threads=1) for H in (0, 100)}
    assert len(set(plan)) == len(plan)
    fused = [c for c in plan if c.threads]
    assert plan[: len(fused)] == fused
    assert [c.N for c in fused] == sorted((c.N for c in fused), reverse=True)
    assert [c.threads for c in fused[:4]] == [2, 2, 1, 1]
    assert [c.N for c in plan[len(fused) :]] == sorted(c.N for c in plan if not c.threads)
    assert not any(c.threads == 0 for c in planned(settings(reference=False)))


def test_data_sets_come_one_after_the_other_the_smaller_first():
    plan = planned(settings(dtypes=["float64", "float32"], shapes=[NETWORK, Model(54, 20, 7)]))
    order = [(c.dtype, c.D) for c in plan]
    assert list(dict.fromkeys(order)) == [("float32", 2), ("float64", 2), ("float32", 54), ("float64", 54)]
    assert order == sorted(order, key=list(dict.fromkeys(order)).index)


def test_solvers_places_and_ranks_are_kinds_of_their_own():
    asked = settings(
        shapes=[NETWORK], sizes=[1000, 10**6], solvers=["gd", "lbfgs"], out_of_core=True, ranks=[1, 2], reference=False,
        threads_per_rank=1,
    )  # fmt: skip
    kinds = {c._replace(N=0) for c in planned(asked)}
    assert kinds == {
        case(0, solver=solver, **more)
        for solver in ("gd", "lbfgs")
        for more in (
            *({"place": place, "threads": n} for place in ("memory", "files", "disk") for n in (1, 2)),
            *({"place": "files", "ranks": n} for n in (1, 2)),
        )
    }
    # what is read from the disk must be worth reading, and 10^6 rows of 17 bytes are
    assert {c.N for c in planned(asked) if c.place == "disk"} == {10**6}
    asked = asked._replace(out_of_core=False)
    assert {c.place for c in planned(asked) if c.ranks} == {"memory"}


def test_weak_scaling_takes_rows_that_do_not_take_long():
    assert cases.weak_sizes([1000, 10**6, 10**7, 10**8], [1, 2, 4]) == {1: 2_500_000, 2: 5_000_000, 4: 10**7}
    assert cases.weak_sizes([1000, 10**4], [1, 2]) == {}
    assert cases.weak_sizes([10**6], [2]) == {}


def test_memory_bounds_the_data_and_the_reference():
    # 10^7 rows of two float64 and a byte are 170 MB; the reference needs 208 and 1908 bytes a row beside them
    schedule = Schedule(settings(memory=500_000_000), LIMITS)
    assert schedule.too_large == [case(10**7, H=H, threads=0) for H in (0, 100)]
    assert planning.reference_bytes(schedule.too_large[1]) == 1908 * 10**7
    schedule = Schedule(settings(memory=169_000_000), LIMITS)
    assert {c.N for c in schedule.too_large if c.threads} == {10**7}
    assert not schedule.plan().too_long
    assert planned(settings(memory=10)) == []
    # files are read from the system's copy, which lies beside the rows
    schedule = Schedule(settings(memory=339_000_000, out_of_core=True, ranks=[2], reference=False), LIMITS)
    assert {(c.place, c.ranks, c.N) for c in schedule.too_large} == {
        ("files", 0, 10**7), ("disk", 0, 10**7), ("files", 2, 10**7)
    }  # fmt: skip


def test_what_was_asked_for_by_size_must_fit():
    planning.check_sizes(settings(memory=169_000_000))
    planning.check_sizes(settings(memory=170_000_000, explicit=True))
    with pytest.raises(ScalingError, match=r"^10,000,000 rows of 2 float64 need 162 MiB, but 161 MiB of"):
        planning.check_sizes(settings(memory=169_000_000, explicit=True))


@pytest.mark.parametrize("budget", [0, 3, 20, 100])
def test_the_budget_bounds_the_plan(budget):
    plan = Schedule(settings(budget=budget), LIMITS).plan()
    assert plan.seconds <= budget
    assert len(plan.cases) + len(plan.too_long) == 20
    assert plan.too_long and (budget == 0 or case(1000, H=0) in dict(plan.cases))
    assert all(seconds <= max(budget / 2, 2) for _, seconds in plan.cases)


def test_the_budget_is_spent_on_the_fused_kernels_first():
    plan = Schedule(settings(budget=20), LIMITS).plan()
    assert case(10**7, threads=2) in dict(plan.cases)
    assert case(10**7, threads=0) in plan.too_long
    assert all(c.threads == 0 for c in plan.too_long)


@pytest.mark.parametrize("dtypes", [["float32"], ["float32", "float64"]])
def test_a_minute_on_two_cores_has_a_hundred_million_rows_in_it(dtypes):
    # a server of 2019 with vectors of 256 bits: 50 Gflop/s a core in float64
    limits = {(d, n): Limits(n * (1e11 if d == "float32" else 5e10), 2e10) for d in ("float32", "float64")
              for n in (1, 2)}  # fmt: skip
    asked = settings(sizes=planning.default_sizes(10**8), dtypes=dtypes, budget=60.0)
    plan = planned(asked, limits)
    assert plan[0].N == 10**8
    assert case(10**8, dtype="float32", threads=2) in plan and case(10**8, H=0, dtype="float32", threads=2) in plan
    # and each size has something
    assert {c.N for c in plan} >= set(asked.sizes)


def test_what_is_done_is_not_planned_again():
    everything = planned(settings())
    assert planned(settings(), done=everything[3:]) == everything[:3]


def test_what_is_done_once_is_done_for_the_largest_and_told_apart():
    schedule = Schedule(settings(out_of_core=True, ranks=[2]), LIMITS)
    first = schedule.once(case(10**7))
    assert [once.key[0] for once in first] == ["rows", "look", "expect"]
    for once in first:
        schedule.did_once(once, 1.0)
    assert schedule.once(case(10**5)) == []  # fewer of the same rows, whole periods both
    assert [once.key[0] for once in schedule.once(case(10**5 + 1))] == ["expect"]
    assert [once.key[0] for once in schedule.once(case(10**5, place="files"))] == ["files"]
    assert [once.key[0] for once in schedule.once(case(10**5, ranks=2))] == ["files"]
    assert [once.key[0] for once in schedule.once(case(10**5, solver="lbfgs"))] == ["expect"]
    assert [once.key[0] for once in schedule.once(case(2 * 10**7))] == ["rows", "look"]
    assert [once.key[0] for once in schedule.once(case(10**5, dtype="float32"))] == ["rows", "look", "expect"]


def test_the_last_of_the_most_similar_corrects_a_guess():
    estimates = Estimates(LIMITS)
    assert estimates.seconds(Part(2.0, ("a", "b"))) == 2.0
    estimates.record(Part(2.0, ("a", "b")), 6.0)
    assert estimates.seconds(Part(1.0, ("a", "b"))) == 3.0
    assert estimates.seconds(Part(1.0, ("c", "b"))) == 3.0
    estimates.record(Part(1.0, ("c", "b")), 10.0)
    assert estimates.seconds(Part(1.0, ("a", "b"))) == 3.0 and estimates.seconds(Part(1.0, ("d", "b"))) == 10.0
    estimates.record(Part(0.0, ("a",)), 1.0)  # nothing follows from it
    assert estimates.seconds(Part(1.0, ("a",))) == 3.0


def spread(key, low, high):
    """A made-up number from low to high, the same for the same key."""
    return low + (high - low) * (zlib.crc32(repr(key).encode()) % 1000) / 999


def run_made_up(schedule, factor):
    """Go through a schedule on a machine whose times are made up: seconds left as told after each case, and as they
    turned out to be."""
    estimates, plain = schedule.estimates, Estimates(LIMITS)
    told, clock, times = [], 0.0, []
    while (plan := schedule.plan()).cases:
        now = plan.cases[0][0]
        schedule.begin(now)
        before = clock
        for once in schedule.once(now):
            seconds = once.part.guess * factor * (1.0 if once.key[0] == "expect" else spread(once.key[0], 0.5, 2.0))
            schedule.did_once(once, seconds)
            clock += seconds
        # each kind of work has a pace of its own, and sizes differ by a tenth
        pace = factor * spread((now.kind, "pace"), 0.9, 1.1) * spread(now, 0.95, 1.05) * (1.5 if now.H == 0 else 1.0)
        a_pass = plain.a_pass(now).guess * pace
        measured = max(schedule.case_seconds, 3 * a_pass)
        beside = plain.starting(now).guess * factor
        steps = round(measured / a_pass)
        seconds = beside + 2 * a_pass + measured
        schedule.measured(now, a_pass, steps, seconds)
        clock += seconds
        schedule.spend(clock - before)
        told.append(schedule.plan().seconds)
        times.append(clock)
    assert estimates is schedule.estimates
    return told, [times[-1] - time for time in times]


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("budget", [60.0, 600.0])
def test_estimates_are_right_after_the_third_case(budget, factor):
    sizes = planning.default_sizes(10**7)
    schedule = Schedule(settings(sizes=sizes, budget=budget, ranks=[1, 2], solvers=["gd", "lbfgs"]), LIMITS)
    told, left = run_made_up(schedule, factor)
    assert len(told) > 8
    assert told[2] == pytest.approx(left[2], rel=0.25)
    assert told[len(told) // 2] == pytest.approx(left[len(told) // 2], rel=0.25, abs=0.01 * budget)


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_the_budget_is_kept_whatever_the_guesses_are_worth(factor):
    schedule = Schedule(settings(sizes=planning.default_sizes(10**7), budget=60.0), LIMITS)
    _, left = run_made_up(schedule, factor)
    assert left[0] <= 60.0
    assert schedule.left >= -6.0
    plan = schedule.plan()
    assert plan.cases == [] and (factor < 1.0 or plan.too_long)


def test_what_was_too_long_is_measured_after_all_where_guesses_were_too_large():
    asked = settings(sizes=[1000, 10**7], budget=10.0, reference=False)
    first = Schedule(asked, LIMITS).plan().too_long
    schedule = Schedule(asked, LIMITS)
    run_made_up(schedule, 0.05)
    assert first and not schedule.plan().too_long


def test_cases_of_a_data_set_that_is_over_are_told_as_left_out():
    schedule = Schedule(settings(dtypes=["float32", "float64"], budget=20.0), LIMITS)
    run_made_up(schedule, 3.0)
    assert {c.dtype for c in schedule.plan().too_long} == {"float32", "float64"}


def test_the_plan_tells_what_is_left_out_and_why():
    asked = settings(memory=500_000_000, budget=10, threads=[1, 64])
    limits = {**LIMITS, ("float64", 64): Limits(1e12, 1e11)}
    text = report.schedule_text(asked, limits, Schedule(asked, limits), 0)
    lines = text.splitlines()
    assert lines[0] == "a pass over the rows by gd, (inputs, hidden units, classes) (2, 3) (2, 100, 3)"
    assert "limit of this machine, float64, 1 thread: 50.0 Gflop/s, 30.0 GB/s" in lines
    assert any(line.startswith("this process may use ") for line in lines)
    assert "memory: 477 MiB may be used; the largest data take 162 MiB" in lines
    assert any(line.startswith("time: about ") and " of a budget of 10 s" in line for line in lines)
    assert "left out for lack of memory:" in lines and "left out for lack of time:" in lines
    assert "  (2, 100, 3) float64, gd, reference: 10,000,000 rows" in lines


def test_sizes_of_a_case():
    network = case(1000)
    assert network.model == NETWORK and case(1000, H=0).model == LINEAR
    assert network.data_bytes == 17_000 and case(1000, dtype="float32").data_bytes == 9000
    # two columns of scores are enough for three classes
    assert network.flops == 1000 * 100 * (4 * 2 + 6 * 2)
    assert case(10, threads=2, ranks=3).workers == 6 and case(10, threads=2).workers == 2
    assert case(10, threads=2, ranks=3).implementation == "3 ranks x 2 threads"
    assert case(10, place="files").implementation == "1 thread, from files"
    assert np.dtype(case(10).dtype) == np.float64
