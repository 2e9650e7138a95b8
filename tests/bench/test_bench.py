"""The benchmark suite: its problems and its races at a few rows; ratios by hand, tables and figures, broken files."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from places import BENCH

sys.path.append(str(BENCH))  # last: tests and bench both have a module `problems`
import records  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402

from spiralnn.files.results import BadResults, save  # noqa: E402

JAX, C = "JAX", "C, all threads"
RATE = 50e9  # of one thread, in the rows made by hand


@pytest.fixture(scope="module")
def suite():
    """The modules that measure. The tests' own `problems` steps aside while they are loaded; peers stay away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        for name in ("problems", "implementations", "turns", "compare", "sweep", "busy_machine"):
            patch.delitem(sys.modules, name, raising=False)
        import peers

        patch.setattr(peers, "ALL", [])
        import busy_machine
        import compare
        import implementations
        import problems
        import sweep
        import turns

        loaded = SimpleNamespace(
            busy_machine=busy_machine, compare=compare, implementations=implementations, problems=problems,
            sweep=sweep, turns=turns,
        )  # fmt: skip
        for name in vars(loaded):
            del sys.modules[name]
        yield loaded


def _rows(sizes, dtype, seconds, steps, operation="step"):
    """A row for everybody in {name: seconds of a call}; sizes N, D, H, K."""
    N, D, H, K = sizes
    shared = {"operation": operation, "model": "linear" if H is None else "two_layer", "dtype": dtype, "steps": steps}
    shared |= {"N": N, "D": D, "H": H, "K": K, "flops": N * (H or 1) * (4 * D + 6 * K), "traffic": N * (8 * D + 8)}
    shared |= {"fma_rate": RATE, "fma_rate_all": 2 * RATE}
    threads = {name: 1 if "1 thread" in name else 2 for name in seconds}
    return [{**shared, "implementation": n, "threads": threads[n], "min": s, "median": s} for n, s in seconds.items()]


@pytest.fixture
def results():
    machine = {"cpu": "a CPU", "cores": 2, "versions": {"Numba": "0.68"}, "command": "spiralnn bench"}
    three = records.REFERENCE, records.ONE, records.ALL
    few = _rows((300, 2, 100, 3), "float64", dict(zip(three, (0.0284, 0.00161, 0.00142), strict=True)), 100)
    seconds = {**dict(zip(three, (7.0, 0.1, 0.05), strict=True)), records.PLAIN: 0.8, JAX: 1.0, C: 0.2}
    many = _rows((10**6, 2, 100, 3), "float64", seconds, 2)
    known = _rows((300, 2, None, 3), "float64", {records.REFERENCE: 5e-6, records.ALL: 27e-6}, 1, "forward")
    guess = _rows((300, 2, 100, 3), "float32", {JAX: 40e-6, C: 30e-6, records.ALL: 60e-6}, 1, "predict")
    sizes = {"D": 2, "H": 100, "K": 3}
    return {
        "machine": {**machine, "date": "2024-01-01"},
        "limits": [{"dtype": "float64", "threads": n, "flops": n * RATE, "bandwidth": 20e9} for n in (1, 2)],
        "rows": [*few, *known],
        "interleaved": [*many, *guess],
        "sweep": [{"axis": "D", **row} for row in few[1:]],
        "processes": [{"job": "spiralnn train", "implementation": "reference", "median": 3.5}],
        "memory": [{"model": "two_layer", "implementation": "fused", "N": 10**6, **sizes, "bytes": 3 * 2**20}],
        "load": [
            {"job": "one fit", "busy": 8, "solver": "gd", "N": 300, **sizes, "threads": who, "median": m, "mean": m + 1}
            for who, m in ((records.DEFAULT, 3.0), (records.SINGLE, 2.0))
        ],
    }


@pytest.fixture
def results_file(results, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    return path


# --------------------------------------------------------------------------------------------- what is measured


@pytest.mark.parametrize(
    "model, N, D, H, K",
    [("two_layer", 301, 2, 8, 3), ("two_layer", 64, 5, 9, 7), ("two_layer", 40, 1, 3, 2), ("linear", 90, 4, None, 10)],
)
def test_problem(suite, model, N, D, H, K):
    given, single = (suite.problems.problem(model, N, dtype, D, H, K) for dtype in ("float64", "float32"))
    assert given.shape == (N, D, H, K) and given.X.flags.c_contiguous and given.y.dtype == np.int64
    assert (given.dtype, single.dtype) == ("float64", "float32")
    assert np.array_equal(np.unique(given.y), np.arange(K))
    for a, b in zip((given.X, *given.params), (single.X, *single.params), strict=True):
        assert b.dtype == np.float32 and np.array_equal(a, b)
    first, second = given.truth.losses
    assert given.truth is single.truth
    assert second < first * (1 - 1e-3)  # a step is seen, in float32 too
    run = suite.implementations.PlainLoop(given.X, given.y, given.params, step_size=given.step_size, reg=given.reg)
    run.run(200)
    assert np.isfinite(run.losses).all() and run.losses[-1] < second


def test_flops_of_the_network_are_the_defined_ones(suite):
    given = suite.problems.problem("two_layer", 300, "float64")
    assert given.flops("step") == given.flops("training") == 300 * 100 * (4 * 2 + 6 * 3) == 780_000
    assert given.flops("predict") == given.flops("forward") == 300 * 100 * (2 * 2 + 2 * 3)
    assert given.traffic("step") == 300 * (2 * 8 + 8)


@pytest.mark.parametrize("operation", ["step", "predict"])
@pytest.mark.parametrize("model, D, H", [("two_layer", 2, 8), ("linear", 2, None)])
def test_race_times_everybody_who_is_right(suite, model, D, H, operation, monkeypatch):
    monkeypatch.setattr(suite.turns, "CALL_SECONDS", 1e-4)
    given = suite.problems.problem(model, 60, "float32", D, H, 3)
    rows = suite.turns.race(given, operation, suite.implementations.OWN, turns=3, pause=0)
    assert [row["implementation"] for row in rows] == [records.REFERENCE, records.ONE, records.ALL]
    for row in rows:
        assert row["rounds"] == 3 and 0 < row["min"] <= row["median"]
        assert (row["operation"], row["N"], row["D"], row["H"], row["dtype"]) == (operation, 60, D, H, "float32")
        assert row["flops"] == given.flops(operation) and row["fma_rate"] > 1e8


class _Wrong:
    """Reports another loss, and the class next to the right one."""

    name, threads, compiles, tolerance = "wrong", 1, False, {"float64": 1e-11}

    def __init__(self, right):
        self.right = right

    def serves(self, problem):
        return problem.model == "two_layer"

    def step(self, problem, steps):
        return self.right.step(problem, steps)

    def losses(self, result):
        return tuple(loss + 1e-9 for loss in self.right.losses(result))

    def predict(self, problem):
        classes = self.right.predict(problem)() ^ 1
        return lambda: classes


@pytest.mark.parametrize("model, D, H, dtype", [("two_layer", 2, 8, "float32"), ("linear", 2, None, "float64")])
def test_every_rung_takes_part_in_a_step(suite, model, D, H, dtype, monkeypatch):
    monkeypatch.setattr(suite.turns, "CALL_SECONDS", 1e-4)
    given = suite.problems.problem(model, 60, dtype, D, H, 3)
    rungs = suite.implementations.RUNGS
    names = [records.REFERENCE, records.PLAIN, records.ONE, records.ALL]
    assert [row["implementation"] for row in suite.turns.race(given, "step", rungs, turns=1, pause=0)] == names
    assert suite.turns.race(given, "predict", [rungs[1]], turns=1, pause=0) == []  # which is no step
    for rung in rungs:
        suite.problems.check(rung.loss_gradients(given)(), given.truth.loss_gradients, rung.tolerance[dtype])
    assert [rung.compiles for rung in rungs] == [False, True, True, True]
    assert rungs[1].threads == 1


@pytest.mark.parametrize("operation, message", [("step", "relative error"), ("predict", "lower score")])
def test_race_refuses_wrong_results(suite, operation, message):
    wrong = _Wrong(suite.implementations.OWN[0])
    given = suite.problems.problem("two_layer", 60, "float64", 3, 8, 2)
    with pytest.raises(AssertionError, match=message):
        suite.turns.race(given, operation, [wrong], turns=1, pause=0)
    assert suite.turns.race(suite.problems.problem("linear", 60, "float64"), operation, [wrong], turns=1, pause=0) == []


def test_the_slow_take_every_nth_turn(suite):
    order = []
    measurements = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert suite.turns.in_turns(measurements, 5, {"b": 2}) == {"a": [1, 3, 4, 6, 7], "b": [2, 5, 8]}
    assert "".join(order) == "abaabaab"


def test_compare_and_sweep_give_rows_that_load(suite, tmp_path, results, monkeypatch):
    monkeypatch.setattr(suite.turns, "CALL_SECONDS", 1e-4)
    monkeypatch.setattr(suite.turns, "PAUSE", 0)
    monkeypatch.setattr(suite.compare, "IMPLEMENTATIONS", suite.implementations.OWN)
    monkeypatch.setattr(suite.compare, "CASES", [("two_layer", (50, 2, 8, 3)), ("linear", (50, 2, None, 3))])
    monkeypatch.setattr(suite.sweep, "SWEEPS", [("D", (2,), {"H": 8, "K": 3}), ("K", (3,), {"D": 2, "H": 8})])
    monkeypatch.setattr(suite.sweep, "FEWEST_ROWS", 40)
    monkeypatch.setattr(suite.sweep, "STEP_FLOPS", 1)
    results["interleaved"], results["sweep"] = suite.compare.measure(quick=True), suite.sweep.measure(quick=False)
    assert len(results["interleaved"]) == 2 * 2 * 2 * 3  # cases, dtypes, operations, implementations
    assert [(row["axis"], row["D"], row["K"], row["N"]) for row in results["sweep"][::4]] == [
        ("D", 2, 3, 41), ("K", 2, 3, 41),
    ]  # fmt: skip
    path = tmp_path / "results.json"
    save(path, results)
    assert records.load(path) == results
    assert "50, 2, 8, 3" in report.text(results)


@pytest.mark.filterwarnings("ignore::spiralnn.NoDescentWarning")
def test_fits_on_a_busy_machine_give_rows_that_load(suite, tmp_path, results, monkeypatch):
    monkeypatch.setattr(suite.busy_machine, "BUSY", (0, 1))
    monkeypatch.setattr(suite.busy_machine, "SHAPES", {(60, 2, 8, 3): 5})
    monkeypatch.setattr(suite.busy_machine, "QUICK_SHAPES", ((60, 2, 8, 3),))
    monkeypatch.setattr(suite.busy_machine, "AT_ONCE", 2)
    monkeypatch.setattr(suite.busy_machine, "FITS", 2)
    results["load"] = rows = suite.busy_machine.measure(quick=True)
    jobs = [(row["job"], row["busy"], row["solver"]) for row in rows if row["threads"] == records.DEFAULT]
    assert jobs[:4] == [("one fit", n, solver) for n in (0, 1) for solver in ("auto", "gd")]
    assert [job for job, _, _ in jobs[4:]] == ["8 Python threads", "8 forked processes"][: 1 + hasattr(os, "fork")]
    path = tmp_path / "results.json"
    save(path, results)
    assert records.load(path) == results
    assert "60, 2, 8, 3" in report.text(results)


def test_busy_processes_run_as_long_as_they_are_wanted(suite, monkeypatch):
    started, start = [], subprocess.Popen

    def recorded(*arguments, **options):
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(suite.busy_machine.subprocess, "Popen", recorded)
    with suite.busy_machine.busy(2):
        assert [process.poll() for process in started] == [None, None]
    assert all(process.poll() is not None for process in started)


# -------------------------------------------------------------------------------------------- what is made of it


def test_speedups_and_efficiencies_are_the_hand_computed_ones(results):
    small = records.by_problem(results["rows"])["step", "two_layer", 300, 2, 100, 3, "float64"]
    assert records.seconds(small[records.REFERENCE]) == pytest.approx(284e-6, rel=1e-12)
    assert records.speedup(small, records.ONE) == pytest.approx(284 / 16.1, rel=1e-12)
    assert records.speedup(small, records.ALL) == pytest.approx(20, rel=1e-12)
    assert records.efficiency(small[records.ONE]) == pytest.approx(780_000 / 16.1e-6 / RATE, rel=1e-12)
    assert records.efficiency(small[records.ALL]) == pytest.approx(780_000 / 14.2e-6 / (2 * RATE), rel=1e-12)
    (large,) = records.by_problem(results["interleaved"], "step").values()
    assert records.speedup(large, records.ONE) == pytest.approx(70, rel=1e-12)
    assert records.speedup(large, records.ALL, JAX) == pytest.approx(20, rel=1e-12)


def test_a_peer_is_what_one_could_take_instead(results):
    (large,) = records.by_problem(results["interleaved"], "step").values()
    assert records.fastest_peer(large) == JAX  # C is faster, but no library; so is plain Numba, but it is ours
    assert records.faster_ones(large) == []
    (guess,) = records.by_problem(results["interleaved"], "predict").values()
    assert records.faster_ones(guess) == [C, JAX]
    assert records.fastest_peer({records.ONE: large[records.ONE]}) is None


def test_saved_results_load_as_they_were_one_row_a_line(results, tmp_path):
    path = tmp_path / "results.json"
    save(path, results)
    assert records.load(path) == results
    assert len(path.read_text().splitlines()) < 40
    results["memory"] = []
    save(path, results)
    assert records.load(path) == results


def test_parts_that_were_not_run_leave_out_tables_and_figures(results, tmp_path):
    results = {key: results[key] for key in ("machine", "rows", "interleaved")}
    results["interleaved"] = [row for row in results["interleaved"] if row["implementation"] in records.OWN]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    loaded = records.load(path)
    shown = report.text(loaded)
    assert "25.0 ms" in shown and "16.1" not in shown and "Prediction" in shown
    assert "peak memory" not in shown and "Limits" not in shown
    if report.draw(loaded, tmp_path):
        assert {file.name for file in tmp_path.glob("*.png")} == {"speed.png", "peers.png"}


def test_parts_that_are_measured_again_are_of_the_same_machine(monkeypatch):
    then = {"cpu": "a", "cores": 2, "versions": {"NumPy": "1"}, "command": "spiralnn bench", "date": "2020-01-01"}
    now = {**then, "command": "spiralnn bench --parts load", "date": "2020-01-02"}
    monkeypatch.setattr(run.hardware, "machine", lambda packages: now)
    assert run.described(["load"], {"machine": then}) == {**then, "date": "2020-01-02"}
    assert run.described(list(records.PARTS), {}) == now
    for other in ({"cpu": "b"}, {"versions": {"NumPy": "2"}}):
        with pytest.raises(BadResults, match=f"measured with other {next(iter(other))}: measure all"):
            run.described(["load"], {"machine": {**then, **other}})


@pytest.mark.parametrize(
    "seconds, shown",
    [(16.1e-6, "16.1 µs"), (3.5, "3.50 s"), (0.9999e-3, "1.00 ms"), (2e-7, "200 ns"), (123.4, "123 s")],
)
def test_duration(seconds, shown):
    assert report.duration(seconds) == shown


def test_tables_show_times_ratios_and_where_it_is_slower(results):
    lines = report.page(results, {"speed.png": "speed"}).splitlines()
    # flops 2.6e9 in 50 and 25 ms: a little more and a little less than the rates made up above
    assert any("| NumPy | plain Numba, 1 thread | JAX | C, all threads | fused, 1 thread |" in line for line in lines)
    everybody = "3.50 s | 400 ms | 500 ms | 100 ms | 50.0 ms | 25.0 ms | 1.04 | 1.04 | 140 x | 20.0 x"
    assert f"| 1 000 000, 2, 100, 3 | float64 | {everybody} |" in lines
    assert "| 300, 2, 100, 3 | float32 | - | JAX 40.0 µs | - | 60.0 µs | 0.67 x |" in lines
    assert "| scores | linear | 5.00 µs / 27.0 µs (0.19 x) |" in lines
    assert "| prediction | network | 300, 2, 100, 3 | float32 | 60.0 µs | C, all threads 30.0 µs, and 1 more |" in lines
    assert "| scores | linear | 300, 2, 3 | float64 | 27.0 µs | NumPy 5.00 µs |" in lines
    assert "| one fit | 300, 2, 100, 3 | gd | 3.00 s: 1.50, 1.33 |" in lines
    assert "![speed](speed.png)" in lines
    for shown in ("140 x", "3.0 MiB", "1 000 000 rows of 2", "a CPU", "Numba 0.68", "spiralnn bench", "50 Gflop/s"):
        assert shown in report.text(results)


def test_the_readme_leads_with_the_same_steps_by_everybody(results):
    assert report.readme_blocks(results, {}, "figures")["benchmark"] == ""  # none of these problems was measured
    seconds = {records.REFERENCE: 3e-4, records.PLAIN: 1e-4, JAX: 2e-4, "JAX compiled": 1.5e-4, C: 1e-5}
    seconds |= {records.ONE: 2e-5, records.ALL: 3e-5}
    case_study = _rows((300, 2, 100, 3), "float64", {name: 50 * s for name, s in seconds.items()}, 50)
    digits = _rows((1797, 64, 100, 10), "float64", {records.REFERENCE: 0.04, records.ALL: 0.01}, 10)
    single = _rows((300, 2, 100, 3), "float32", {records.REFERENCE: 1e-4}, 1)
    results["interleaved"] = [*case_study, *digits, *single]
    block = report.readme_blocks(results, {"lead.png": "everybody"}, "figures")["benchmark"].splitlines()
    assert block[0] == "![everybody](figures/lead.png)"
    assert block[2:8] == [
        "|  | 10 000 steps, 300 x 2 | 1 000 steps, 1 797 x 64 |",
        "| --- | --- | --- |",
        "| NumPy | 3.00 s | 4.00 s |",
        "| JAX | 1.50 s | - |",
        "| plain Numba | 1.00 s | - |",
        "| spiralnn | 200 ms | 1.00 s |",
    ]
    assert "a CPU" in block[-1]


def test_rewriting_the_readme_is_idempotent_and_keeps_the_rest(results_file, tmp_path):
    readme = tmp_path / "README.md"
    parts = [f"<!-- {name}:{end} -->" for name in ("benchmark", "losses") for end in ("start", "end")]
    readme.write_text("before\n{}\nold \\1 text\n{}\nbetween\n{}\nold text\n{}\nafter\n".format(*parts))
    arguments = [str(results_file), "--readme", str(readme), "--figures", str(tmp_path / "figures")]
    assert report.main(arguments) == 0
    once = readme.read_text()
    assert once.startswith(f"before\n{parts[0]}\n") and once.endswith(f"\n{parts[3]}\nafter\n")
    assert f"\n{parts[1]}\nbetween\n{parts[2]}\n" in once and "old" not in once
    assert "| scores, linear | 300, 2, 3 float64: 27.0 µs, NumPy 5.00 µs |" in once
    page = (tmp_path / "figures" / "README.md").read_text()
    assert "140 x" in page
    assert report.main(arguments) == 0
    assert (readme.read_text(), (tmp_path / "figures" / "README.md").read_text()) == (once, page)
    for name in (tmp_path / "figures").glob("*.png"):
        assert f"]({name.name})" in page


def test_readme_without_markers_is_left_alone(results_file, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("no markers\n")
    assert report.main([str(results_file), "--readme", str(readme)]) == 1
    assert "benchmark:start" in capsys.readouterr().err
    assert readme.read_text() == "no markers\n"


def test_figures_are_drawn(results_file, tmp_path):
    pytest.importorskip("matplotlib")
    assert report.main([str(results_file), "--figures", str(tmp_path / "figures")]) == 0
    drawn = {file.name: file.read_bytes() for file in (tmp_path / "figures").iterdir()}
    assert set(drawn) == {"speed.png", "peers.png", "roofline.png", "sweep.png"}
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())


def test_figures_show_every_rung(results):
    pytest.importorskip("matplotlib")
    import figures

    seconds = {records.REFERENCE: 0.03, records.PLAIN: 0.01, records.ONE: 0.002, records.ALL: 0.001}
    rows = _rows((300, 2, 100, 3), "float64", seconds, 100)
    time, gain, row_cost = figures.speed({**results, "rows": rows}).axes
    shown = [[line.get_ydata()[0] for line in axes.get_lines() if len(line.get_ydata())] for axes in (time, gain)]
    assert shown == [pytest.approx([3e-4, 1e-4, 2e-5, 1e-5]), pytest.approx([3, 15, 30])]
    everybody = figures.peers({**results, "interleaved": rows})
    names = [text.get_text() for text in everybody.legends[0].get_texts()]
    assert names[:4] == ["NumPy (the reference)", records.PLAIN, records.ONE, records.ALL]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"machine": {}}', "null", "\x00", '{"machine": 1, "rows": 2}']
)
def test_a_file_that_is_no_result_is_one_line_and_exit_code_1(content, tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(content)
    assert report.main([str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and str(path) in captured.err


@pytest.mark.parametrize("part", ["rows", "interleaved", "sweep"])
@pytest.mark.parametrize("damage", [{"median": 0.0}, {"median": "fast"}, {"steps": None}, {"N": -1}])
def test_a_row_with_an_impossible_number_is_refused(results, part, damage, tmp_path):
    results[part][0].update(damage)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    with pytest.raises(BadResults, match=f"{next(iter(damage))} is .* expected a positive number"):
        records.load(path)


def test_run_report_only(results_file, tmp_path):
    def run(path):
        command = [sys.executable, str(BENCH / "run.py"), "--report-only", str(path)]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")

    done = run(results_file)
    assert done.returncode == 0 and "140 x" in done.stdout
    missing = run(tmp_path / "nothing.json")
    assert missing.returncode == 1 and missing.stderr.count("\n") == 1 and "nothing.json" in missing.stderr
