"""Which limit binds, and what more workers bring: by hand values."""

import pytest
from scaling_runs import LIMITS, case, row

from spiralnn.scaling import efficiency, report, units
from spiralnn.scaling.bounds import bound, least_seconds, limits_of
from spiralnn.scaling.hardware import Limits


def test_limits_of_threads_that_were_not_measured():
    limits = {("float64", 1): Limits(10.0, 5.0), ("float64", 4): Limits(36.0, 12.0), ("float32", 1): Limits(9.0, 9.0)}
    assert limits_of(case(1), 4, limits) == Limits(36.0, 12.0)
    assert limits_of(case(1), 3, limits) == Limits(30.0, 5.0)
    assert limits_of(case(1), 8, limits) == Limits(72.0, 12.0)
    assert limits_of(case(1), 0, limits) == Limits(10.0, 5.0)


def test_the_largest_part_is_the_limit_that_binds():
    # 10^6 rows: 2 Gflop at 50 Gflop/s, 17 MB at 30 GB/s
    parts = least_seconds(case(10**6), 1, LIMITS, {}, 1e-5, None)
    assert parts == {
        "arithmetic": pytest.approx(0.04), "memory bandwidth": pytest.approx(17e6 / 30e9), "launch overhead": 1e-5
    }  # fmt: skip
    assert bound(parts, 0.05) == ("arithmetic", pytest.approx(0.8))
    # on two threads half of it
    assert least_seconds(case(10**6, threads=2), 2, LIMITS, {}, 0.0, None)["arithmetic"] == pytest.approx(0.02)
    # that were asked for, but did not run
    assert least_seconds(case(10**6, threads=2), 1, LIMITS, {}, 0.0, None)["arithmetic"] == pytest.approx(0.04)


def test_files_and_disk_bind_where_they_are_slow():
    rates = {"files": 1e9, "disk": 1e8}
    assert bound(least_seconds(case(10**6, place="files"), 1, LIMITS, rates, 0.0, None), 1.0).limit == "arithmetic"
    linear = least_seconds(case(10**6, H=0, place="files"), 1, LIMITS, rates, 0.0, None)
    assert bound(linear, 0.02) == ("copying from files", pytest.approx(0.85))
    cold = least_seconds(case(10**6, place="disk"), 1, LIMITS, rates, 0.0, None)
    assert bound(cold, 0.2) == ("disk", pytest.approx(0.85))
    assert "disk" not in least_seconds(case(10**6, place="disk"), 1, LIMITS, {}, 0.0, None)


def test_few_rows_are_bound_by_overheads():
    parts = least_seconds(case(10, solver="lbfgs"), 1, LIMITS, {}, 2e-6, 5e-6)
    assert bound(parts, 1e-5) == ("L-BFGS' vectors", pytest.approx(0.5))
    assert bound(least_seconds(case(10), 1, LIMITS, {}, 2e-6, None), 4e-6) == ("launch overhead", pytest.approx(0.5))


def test_no_case_is_beyond_a_limit():
    assert bound({"arithmetic": 1.047}, 1.0) == ("arithmetic", 1.0)


def test_efficiency_is_divided_by_what_ran():
    one, two, four = (row(case(1000, threads=n), *told) for n, *told in ((1, 1.0, 1), (2, 0.9, 1), (4, 0.4, 3)))
    gains = efficiency.strong([four, two, one])
    assert [(gain.row.threads, gain.base.threads) for gain in gains] == [(2, 1), (4, 1)]
    assert gains[0].times == pytest.approx(1 / 0.9) and gains[0].efficiency is None
    assert gains[1].times == pytest.approx(2.5) and gains[1].efficiency == pytest.approx(2.5 / 3)
    table = report.gains(gains).splitlines()
    assert "1 of 2" in table[1] and table[1].split()[-1] == "-"
    assert "3 of 4" in table[2] and table[2].split()[-1] == "83.3%"
    assert report.ran_text(one) == "1" and report.ran_text(row(case(9, ranks=2, threads=2), ran=4)) == "4"


def test_only_the_same_kind_of_work_is_compared():
    lines = [row(case(1000)), row(case(1000, threads=2, place="files")), row(case(1000, threads=2, dtype="float32")),
             row(case(1000, ranks=2)), row(case(1000, threads=0)), row(case(999, threads=2)),
             row(case(1000, threads=2, solver="lbfgs")), row(case(1000, threads=2, H=7))]  # fmt: skip
    assert efficiency.strong(lines) == []
    ranks = [row(case(1000, ranks=1), 1.0), row(case(1000, ranks=2), 0.6)]
    (gain,) = efficiency.strong([*lines[:3], *ranks])
    assert gain.efficiency == pytest.approx(1 / 1.2)


def test_weak_scaling_is_rows_a_second_at_as_many_rows_a_worker():
    sizes = [1000, 10**6, 10**8]
    lines = [row(case(250_000), 1.0), row(case(500_000, threads=2), 1.1), row(case(10**6, threads=4), 1.25),
             row(case(10**6), 4.0), row(case(10**8, threads=4), 100.0)]  # fmt: skip
    gains = efficiency.weak(lines, sizes)
    assert [(gain.row.N, gain.base.N) for gain in gains] == [(500_000, 250_000), (10**6, 250_000)]
    assert [gain.efficiency for gain in gains] == [pytest.approx(1 / 1.1), pytest.approx(1 / 1.25)]
    assert efficiency.weak(lines, [1000]) == []


def test_a_page_shows_powers_of_ten_and_the_most_rows():
    lines = [row(case(N)) for N in (1000, 3000, 10_000, 30_000)]
    lines += [row(case(3000, threads=2)), row(case(10, threads=2))]
    assert report.some_sizes(lines) == [lines[i] for i in (0, 2, 3, 4, 5)]


def test_numbers_as_people_read_them():
    assert [units.duration(s) for s in (1.61e-5, 0.9996, 59.0, 119.0, 120.0, 5400.0, 7200.0, 86400.0, 172800.0)] == [
        "16.1 µs", "1.00 s", "59.0 s", "119 s", "2.00 min", "90.0 min", "2.00 h", "24.0 h", "2.00 days",
    ]  # fmt: skip
    assert [units.size(n) for n in (1536, 1 << 20, 5 << 40)] == ["1.5 KiB", "1 MiB", "5 TiB"]
    assert [units.decimal_size(n) for n in (9e9, 217e12, 5632)] == ["9 GB", "217 TB", "5.63 KB"]
    assert units.count(1, "thread") == "1 thread" and units.count(1024, "rank") == "1,024 ranks"
