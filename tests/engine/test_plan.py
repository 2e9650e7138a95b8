"""Who computes which rows, and how many threads a process that was given fewer CPUs may start."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from spiralnn import resources
from spiralnn.engine import plan as plans
from spiralnn.engine import threads
from spiralnn.kernels.models import Model

SHAPES = [(D, H, K) for D in (1, 2, 5, 28, 31, 32, 784, 1024) for H in (0, 8, 100, 1024) for K in (2, 3, 10, 100)]



@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("N", [1, 2, 127, 128, 129, 255, 256, 257, 300, 1023, 1797, 4097, 100_003, 10**6, 10**9])
def test_leaves_and_tiles_cover_the_rows(N, itemsize):
    lanes = 64 // itemsize
    for shape in SHAPES:
        plan = plans.plan(N, Model(*shape), itemsize)
        assert (plan.n_leaves - 1) * plan.leaf_rows < N <= plan.n_leaves * plan.leaf_rows
        assert plan.tile_rows % lanes == 0 and plan.leaf_rows % lanes == 0
        assert lanes <= plan.tile_rows <= plans.TILE_BYTES // itemsize


def test_from_some_number_of_rows_on_leaves_have_a_size_of_their_own():
    for shape in SHAPES:
        model = Model(*shape)
        P = (model.D + model.K + 1) * (model.H or model.K)
        many = [plans.plan(N, model, 8) for N in (10**8, 10**8 + 1, 10**9, 10**12)]
        tile_rows, leaf_rows, _ = many[0]
        assert {plan[:2] for plan in many} == {(tile_rows, leaf_rows)}
        assert leaf_rows % tile_rows == 0 and leaf_rows >= plans.LEAF_TILES * tile_rows
        assert leaf_rows >= P // plans.LEAF_PARAMETERS  # so that sums are no more than a part of the work
        # from one row to many a leaf is never larger
        assert all(plans.plan(N, model, 8).leaf_rows <= leaf_rows for N in (1, 300, 10**4, 10**5, 10**6, 10**7))


def test_leaves_share_out_evenly_and_their_sums_stay_small():
    for shape in SHAPES:
        model = Model(*shape)
        plan = plans.plan(10**6, model, 8)
        P = (model.D + model.K + 1) * (model.H or model.K)
        at_least = plans.LEAF_TILES * min(plans.FEWEST_ROWS, plan.tile_rows)
        assert plan.leaf_rows >= min(at_least, 10**6 / plans.FEW_LEAVES)
        assert plan.n_leaves * P * 8 <= max(plans.LEAF_BYTES, 8 * 10**6 * plans.LEAF_PARAMETERS + 8 * P)
        for n_threads in (2, 4):
            most = -(-plan.n_leaves // n_threads)
            assert most * plan.leaf_rows <= 10**6 / n_threads + plan.leaf_rows


def test_tiles_are_shorter_where_there_are_many_classes():
    assert plans.plan(2000, Model(50, 64, 20_000), 4).tile_rows == plans.FEWEST_ROWS
    assert plans.plan(2000, Model(50, 0, 20_000), 4).tile_rows == plans.FEWEST_ROWS
    assert plans.plan(2000, Model(50, 64, 20), 4).tile_rows > 500


def test_three_hundred_rows_are_two_leaves_and_a_few_rows_one():
    assert plans.plan(300, Model(2, 100, 3), 8).n_leaves == 2
    assert plans.plan(300, Model(2, 100, 3), 4).n_leaves == 2
    assert plans.plan(100, Model(2, 100, 3), 8).n_leaves == 1


# ------------------------------------------------------------------------------------------------ CPUs


@pytest.mark.parametrize(
    "files, groups, expected",
    [
        ({"a/b/cpu.max": "150000 100000"}, "0::/a/b", 1.5),
        ({"a/b/cpu.max": "max 100000"}, "0::/a/b", None),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, "0::/a/b", 3.0),
        ({"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, "0::/a/b", 3.0),
        ({"cpu.max": "50000 100000"}, "0::/not/seen/from/here", 0.5),
        ({"cpu.max": "broken"}, "0::/", None),
        ({"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, "3:cpu:/a\n1:name=x:/", 2.0),
        (
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            "3:cpu,cpuacct:/docker/1",
            None,
        ),
        ({}, "0::/", None),
    ],
)
def test_quota_of_the_control_group(tmp_path, monkeypatch, files, groups, expected):
    monkeypatch.setattr(resources, "PROCESS_GROUPS", tmp_path / "self")
    monkeypatch.setattr(resources, "GROUPS", tmp_path / "cgroup")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "self").write_text(groups + "\n")
    assert resources._cpu_quota() == expected


def test_no_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "PROCESS_GROUPS", tmp_path / "none")
    assert resources._cpu_quota() is None


def test_available_memory():
    assert resources.available_memory() > 0
    if hasattr(os, "sysconf"):
        assert resources.available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_memory_left_by_a_control_group(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "PROCESS_GROUPS", tmp_path / "self")
    monkeypatch.setattr(resources, "GROUPS", tmp_path / "cgroup")
    (tmp_path / "self").write_text("0::/a/b\n")
    (tmp_path / "cgroup/a/b").mkdir(parents=True)
    for name, text in {"a/memory.max": "3000", "a/memory.current": "1000", "a/b/memory.max": "max"}.items():
        (tmp_path / "cgroup" / name).write_text(text)
    (tmp_path / "cgroup/a/b/memory.current").write_text("500")
    assert resources.available_memory() == 2000


@pytest.mark.parametrize("quota, expected", [(None, 8), (16.0, 8), (3.9, 3), (0.5, 1)])
def test_threads_follow_affinity_and_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(resources.numba.config, "NUMBA_NUM_THREADS", 64)
    monkeypatch.setattr(resources, "_cpu_quota", lambda: quota)
    monkeypatch.setattr(resources, "_quota", resources._Quota(0.0, None))
    for name in resources.THREAD_LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert resources.available_threads() == resources.available_cpus() == expected


def test_a_quota_is_read_once_a_second(monkeypatch):
    quotas, now = [2.0, 1.0], [100.0]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(resources.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(resources, "_cpu_quota", lambda: quotas.pop(0))
    monkeypatch.setattr(resources, "_quota", resources._Quota(100.0, None))
    found = []
    for now[0] in (100.0, 100.9, 101.1, 102.0):
        found.append(resources.available_cpus())
    assert found == [2, 2, 1, 1] and not quotas


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("OMP_NUM_THREADS", "3", 3),
        ("OMP_NUM_THREADS", "4,2", 4),
        ("OMP_THREAD_LIMIT", "5", 5),
        ("OMP_NUM_THREADS", "0", 1),
        ("OMP_NUM_THREADS", "100", 8),
        ("OMP_NUM_THREADS", "", 8),
        ("OMP_NUM_THREADS", "many", 8),
    ],
)
def test_threads_follow_the_limits_of_the_environment(monkeypatch, name, value, expected):
    monkeypatch.setattr(resources, "available_cpus", lambda: 8)
    monkeypatch.setattr(resources.numba.config, "NUMBA_NUM_THREADS", 64)
    for other in resources.THREAD_LIMITS:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    assert resources.available_threads() == expected


LIMITED = """
import numba, joblib
from spiralnn import resources
numba.config.NUMBA_NUM_THREADS = 3
free = min(resources.available_cpus(), 3)
assert resources.available_threads() == free, "asking sets no limit"
numba.set_num_threads(1)
assert resources.available_threads() == 1
numba.set_num_threads(free)
assert resources.available_threads() == free

def in_a_worker():
    from spiralnn import resources
    return resources.available_threads()

with joblib.parallel_config("loky", inner_max_num_threads=1):
    assert joblib.Parallel(2)(joblib.delayed(in_a_worker)() for _ in range(2)) == [1, 1]
"""


def test_limits_that_numba_and_the_workers_of_joblib_have_are_kept():
    environment = {name: value for name, value in os.environ.items() if name not in resources.THREAD_LIMITS}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, "-c", LIMITED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0.10 0.20 0.30 3/456 7890\n", 5),
        ("0.10 0.20 0.30 12/456 7890\n", 0),
        ("", None),
        ("no numbers here at all", None),
    ],
)
def test_idle_cpus_are_those_without_a_running_task(monkeypatch, tmp_path, text, expected):
    monkeypatch.setattr(resources.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(resources, "LOAD", tmp_path / "loadavg")
    assert resources.idle_cpus() is None
    (tmp_path / "loadavg").write_text(text)
    assert resources.idle_cpus() == expected


FIT = """
import os, sys, threading, time
import numpy as np
environment = dict(os.environ)
if len(sys.argv) > 1:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import spiralnn
from spiralnn import resources
from spiralnn.solvers.descent import Descent

X, y = spiralnn.make_spiral(20_000, random_state=0)
most = 0
def threads(step, loss, model):
    global most
    with open("/proc/self/status") as lines:
        most = max(most, next(int(line.split()[1]) for line in lines if line.startswith("Threads")))
before = threading.active_count()
losses = []
for solver, steps in (("gd", 5), ("lbfgs", 3), ("auto", 1)):
    model = spiralnn.TwoLayerNet(solver=solver, max_iter=steps, random_state=0, callback=threads).fit(X, y)
    model.predict(X)
    losses.append(model.loss_curve_[-1].hex())
params = [a for pair in zip(model.coefs_, model.intercepts_) for a in pair]
descent = Descent(X, np.zeros(len(X), np.uint8), params, step_size=0.1, reg=0.0)
descent.run(20)
assert dict(os.environ) == environment
while threading.active_count() > before:  # helpers stay for milliseconds, and end by themselves
    time.sleep(1e-3)
print(resources.available_threads(), descent.n_threads, *losses)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_a_process_bound_to_one_cpu_computes_in_one_thread_with_the_same_bits():
    def run(*arguments):
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-c", FIT, *arguments]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    available, used, *losses = run("one CPU")
    assert (available, used, len(losses)) == ("1", "1", 3)
    assert run()[2:] == losses


def one_cpu_group():
    """A control group of one CPU, where this process may make one (root); OSError where it may not."""
    root, name = Path("/sys/fs/cgroup"), f"spiralnn-test-{os.getpid()}"
    if (root / "cgroup.controllers").exists():  # version 2
        (root / "cgroup.subtree_control").write_text("+cpu")
        group, files = root / name, {"cpu.max": "100000 100000"}
    else:
        group, files = root / "cpu" / name, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}
    group.mkdir()
    for file, text in files.items():
        (group / file).write_text(text)
    return group


def test_a_real_control_group_is_followed():
    try:
        group = one_cpu_group()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    code = (
        "import os, sys; open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "from spiralnn import resources; print(resources.available_threads())"
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command, environment = [sys.executable, "-c", code, str(group)], {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    finally:
        group.rmdir()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


def test_an_exception_in_a_thread_is_raised_once_all_have_left():
    stop = np.zeros(1, np.int64)

    def work(thread):
        if thread == 1:
            raise MemoryError("no room")
        while not stop[0]:
            pass

    with pytest.raises(MemoryError, match="no room"):
        threads.run_threads(work, 3, stop)


def test_ctrl_c_while_a_thread_is_starting_waits_for_it_too(monkeypatch):
    stop, left = np.zeros(1, np.int64), []
    start = threading.Thread.start

    def start_and_interrupt(thread):
        start(thread)
        if thread.name == "spiralnn-1":
            raise KeyboardInterrupt

    def work(thread):
        while not stop[0]:
            pass
        threading.Event().wait(0.1)  # longer than a caller that does not wait takes to return
        left.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        threads.run_threads(work, 3, stop)
    assert sorted(left) == [0, 1]


@pytest.mark.parametrize("granted", [0, 1])
def test_threads_that_the_system_does_not_grant_cost_speed_alone(granted, monkeypatch):
    start, refused = threading.Thread.start, []

    def start_some(thread):
        if int(thread.name.removeprefix("spiralnn-")) < granted:
            start(thread)
        else:
            refused.append(thread)
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start_some)
    seen, rows = [], plans.Plan(8, 8, 13)
    threads.over_leaves(lambda first, last, leaf: seen.append((first, last, leaf)), 100, rows, 3, run=2)
    assert seen.pop(0) == (0, 0, 0)  # the caller's, before any thread is asked for
    assert sorted(seen) == [(16 * i, min(16 * i + 16, 100), 2 * i) for i in range(7)] and len(refused) == 1
    with pytest.raises(RuntimeError, match="can't start"):
        threads.run_threads(lambda thread: None, 3, np.zeros(1, np.int64), needs_all=True)


def test_the_caller_compiles_what_threads_run():
    seen = []

    def work(start, stop, leaf):
        seen.append((threading.current_thread() is threading.main_thread(), start, stop))

    threads.over_leaves(work, 100, plans.Plan(8, 8, 13), 2)
    assert seen[0] == (True, 0, 0)
    assert not any(is_main for is_main, _, _ in seen[1:]) and len(seen) == 14


def test_threads_may_run_wherever_the_process_may():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no CPU affinity")
    seen = []
    threads.run_threads(lambda thread: seen.append(os.sched_getaffinity(0)), 2, np.zeros(1, np.int64))
    assert seen == [os.sched_getaffinity(0)] * 2
