"""`spiralnn scale`: what it plans, that it measures what is right, and that nothing measured is lost."""

import contextlib
import io
import json
import os
import signal
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import assert_wrong_usage, png_size, start

from spiralnn import cli
from spiralnn.kernels import reference
from spiralnn.scaling import hardware, measuring, planning, report, results, rows, run
from spiralnn.scaling.hardware import Limits
from spiralnn.scaling.planning import Case

FIGURES = {"scale-time.png", "scale-row.png", "scale-memory.png", "scale-threads.png"}
LIMITS = {(dtype, n): Limits(5e10 * n, 3e10) for dtype in ("float64", "float32") for n in (1, 2)}


def settings(**changes):
    default = planning.Settings(
        models=("linear", "two-layer"), dtypes=("float64",), sizes=[1000, 10**5, 10**7], explicit=False, threads=[1, 2],
        hidden=100, budget=1e6, memory=1 << 40, out=Path("out"), resume=False, reference=True, figures=False,
    )  # fmt: skip
    return default._replace(**changes)


def rows_of(folder):
    content = json.loads((folder / "scale.json").read_text())
    return [results.Row(**row) for row in content["rows"]]


# the plan


def test_default_sizes_and_threads():
    assert planning.default_sizes(10_000) == [1000, 3000, 10_000]
    assert planning.default_sizes(9_999) == [1000, 3000]
    assert planning.default_sizes(10**8)[-2:] == [3 * 10**7, 10**8]
    assert planning.default_threads(1) == [1]
    assert planning.default_threads(6) == [1, 2, 4, 6]
    assert planning.default_threads(8) == [1, 2, 4, 8]


def test_everything_is_planned_where_there_is_time_and_memory():
    plan = planning.make_schedule(settings(), LIMITS, [])
    wanted = {Case("float64", N, model, n) for N in (1000, 10**5, 10**7) for model in ("linear", "two-layer")
              for n in (0, 1, 2)}  # fmt: skip
    assert set(plan.cases) == wanted
    assert plan.too_large == plan.too_long == []
    assert [case.N for case in plan.cases] == sorted(case.N for case in plan.cases)
    assert not any(case.threads == 0 for case in planning.make_schedule(settings(reference=False), LIMITS, []).cases)


def test_memory_bounds_the_data_and_the_reference():
    # 10^7 rows of two float64 and a byte are 170 MB; the reference needs 208 and 1908 bytes a row beside them
    plan = planning.make_schedule(settings(memory=500_000_000), LIMITS, [])
    assert plan.too_large == [Case("float64", 10**7, model, 0) for model in ("linear", "two-layer")]
    assert planning.reference_bytes(plan.too_large[1], 100) == 1908 * 10**7
    plan = planning.make_schedule(settings(memory=169_000_000), LIMITS, [])
    assert {case.N for case in plan.too_large if case.threads} == {10**7}
    assert not plan.too_long
    assert planning.make_schedule(settings(memory=10), LIMITS, []).cases == {}


def test_what_was_asked_for_by_size_must_fit():
    with pytest.raises(planning.ScalingError, match=r"^10,000,000 rows of float64 need 162 MiB, but 161 MiB of"):
        planning.make_schedule(settings(memory=169_000_000, explicit=True), LIMITS, [])


@pytest.mark.parametrize("budget", [0, 3, 20, 100])
def test_the_budget_bounds_the_plan(budget):
    plan = planning.make_schedule(settings(budget=budget), LIMITS, [])
    assert sum(plan.cases.values()) <= budget
    assert len(plan.cases) + len(plan.too_long) == 18 and not plan.too_large
    assert plan.too_long and (budget == 0 or Case("float64", 1000, "linear", 1) in plan.cases)


def test_the_budget_is_spent_on_the_fused_kernels_first():
    plan = planning.make_schedule(settings(budget=20), LIMITS, [])
    assert all(case.threads == 0 for case in plan.too_long)
    assert Case("float64", 10**7, "two-layer", 1) in plan.cases
    assert Case("float64", 10**7, "two-layer", 0) in plan.too_long


def test_what_is_done_is_not_planned_again():
    everything = planning.make_schedule(settings(), LIMITS, [])
    some = list(everything.cases)[3:]
    assert list(planning.make_schedule(settings(), LIMITS, some).cases) == list(everything.cases)[:3]


def test_the_plan_tells_what_is_left_out_and_why():
    asked = settings(memory=500_000_000, budget=10, threads=[1, 64])
    limits = {**LIMITS, ("float64", 64): Limits(1e12, 1e11)}
    text = report.schedule_text(asked, limits, planning.make_schedule(asked, limits, []), 0)
    lines = text.splitlines()
    assert "limit of this machine, float64, 1 thread: 50.0 Gflop/s, 30.0 GB/s" in lines
    assert any(line.startswith("this process may use ") for line in lines)
    assert "memory: 477 MiB may be used; the largest data take 162 MiB" in lines
    assert any(line.startswith("time: about ") and line.endswith(" of a budget of 10 s") for line in lines)
    assert "left out for lack of memory:" in lines and "left out for lack of time:" in lines
    assert "  two-layer, float64, reference: 10,000,000 rows" in lines


# the data and the losses to expect


def test_rows_are_shuffled_repeat_and_do_not_depend_on_how_many():
    X, y = rows.make_rows(700_000, "float32")
    assert X.dtype == np.float32 and y.dtype == np.uint8 and X.flags.c_contiguous
    assert set(y[:1000]) == {0, 1, 2}
    assert np.isfinite(X).all() and 0.9 < np.abs(X).max() <= 1
    period = planning.PERIOD
    assert np.array_equal(X[period : 2 * period], X[:period]) and np.array_equal(X[2 * period :], X[:100_000])
    assert np.array_equal(y[2 * period :], y[:100_000])
    for N in (1, 30_000, 30_001, period):
        some_X, some_y = rows.make_rows(N, "float32")
        assert np.array_equal(some_X, X[:N]) and np.array_equal(some_y, y[:N])


@pytest.mark.parametrize("N", [1, 999, 10_001, 300_000, 700_001])
@pytest.mark.parametrize("H", [0, 3])
def test_expected_losses_are_those_of_all_rows(N, H):
    X, y = rows.make_rows(N, "float64")
    params = rows.start(H, "float64")
    kernel = reference.two_layer_loss_gradients if H else reference.linear_loss_gradients
    moved, losses = [p.copy() for p in params], []
    for _ in range(2):
        gradients = [np.empty_like(p) for p in moved]
        losses.append(kernel(X, y.astype(int), *moved, rows.REG, *gradients))
        for p, dp in zip(moved, gradients, strict=True):
            p -= rows.STEP_SIZE * dp
    assert losses[1] < losses[0]
    np.testing.assert_allclose(rows.expected_losses(X, y, params, N), losses, rtol=1e-12)


# a run


@pytest.fixture(scope="module")
def short():
    """Cases of hundredths of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "CASE_SECONDS", 0.01)
        patch.setattr(run, "LIMIT_SECONDS", 0.0)
        yield


@pytest.fixture
def fast(short, monkeypatch):
    """And limits by word."""
    monkeypatch.setattr(hardware, "measure", lambda dtype, n_threads, seconds: LIMITS[dtype, n_threads])


WHOLE = ("--sizes=200,900", "--threads=1,2", "--dtype=both", "--hidden=5")


@pytest.fixture(scope="module")
def measured(short, tmp_path_factory):
    """A whole run: (exit code, lines of stdout, lines of stderr) and its folder."""
    folder = tmp_path_factory.mktemp("scale")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["scale", *WHOLE, f"--out={folder}"])
    assert code == 0, err.getvalue()
    return (code, out.getvalue().splitlines(), err.getvalue().splitlines()), folder


def test_every_case_is_measured_and_right(measured):
    lines = rows_of(measured[1])
    wanted = {(dtype, N, model, n) for dtype in ("float64", "float32") for N in (200, 900)
              for model in ("linear", "two-layer") for n in (0, 1, 2)}  # fmt: skip
    assert len(lines) == len(wanted) and {row.case for row in lines} == wanted
    for row in lines:
        assert row.median >= row.fastest > 0 and row.rounds >= 3 and row.steps >= 1
        assert row.ns_per_row == pytest.approx(1e9 * row.median / row.N)
        assert row.efficiency > 0 and row.bandwidth_share > 0
        X, y = rows.make_rows(row.N, row.dtype)
        params = rows.start(5 if row.model == "two-layer" else 0, row.dtype)
        expected = rows.expected_losses(X, y, params, row.N)
        np.testing.assert_allclose(row.losses[:2], expected, rtol=1e-12 if row.dtype == "float64" else 2e-5)
    if sys.platform == "linux":
        assert all(row.peak_bytes is not None for row in lines)


def test_the_plan_comes_first_then_the_table(measured):
    (_, out, err), _ = measured
    assert out[0] == "one step of gradient descent, linear and two-layer: 2 inputs, 5 hidden units, 3 classes"
    assert sum(line.startswith("limit of this machine") for line in out) == 4
    assert "to measure: 24 cases" in out
    assert "  two-layer, float32, fused, 2 threads: 200  900 rows" in out
    head = next(i for i, line in enumerate(out) if line.startswith("model "))
    assert len(out) - head == 1 + 24
    assert len(err) == 24 and err[-1].startswith("24/24 ") and err[-1].endswith("; 0 s left")


def test_the_file_says_where_it_comes_from(measured):
    content = json.loads((measured[1] / "scale.json").read_text())
    assert set(content["machine"]) == {"cpu", "cores", "versions", "command", "date"}
    assert set(content["machine"]["versions"]) == {"spiralnn", "Python", "NumPy", "Numba"}
    assert content["model"] == {"inputs": 2, "hidden": 5, "classes": 3}
    assert content["machine"]["command"].startswith("spiralnn")
    assert {(row["dtype"], row["threads"]) for row in content["limits"]} == set(LIMITS)
    assert all(row["flops"] > 0 and row["bandwidth"] > 0 for row in content["limits"])


def test_figures(measured):
    pytest.importorskip("matplotlib")
    expected = FIGURES if sys.platform == "linux" else FIGURES - {"scale-memory.png"}
    assert {path.name for path in measured[1].glob("*.png")} == expected
    for name in expected:
        width, height = png_size(measured[1] / name)
        assert 600 <= width <= 2000 and 500 <= height <= 2000


def test_resume_with_nothing_left_measures_nothing(measured, capsys):
    before = (measured[1] / "scale.json").read_bytes()
    assert cli.main(["scale", *WHOLE, f"--out={measured[1]}", "--resume", "--no-figures"]) == 0
    out, err = capsys.readouterr()
    assert "to measure: 0 cases" in out and "measured before: 24 cases" in out and err == ""
    assert (measured[1] / "scale.json").read_bytes() == before


@pytest.mark.skipif(
    os.name != "posix" or signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="no signals here to inherit"
)
@pytest.mark.parametrize("sign", ["SIGINT", "SIGKILL"])
def test_what_was_measured_survives(sign, short, tmp_path, capsys):
    options = ("scale", "--sizes=1000,2000", "--threads=1", "--hidden=5", "--no-figures")
    process = start(*options, "--out=.", cwd=tmp_path)
    for _ in range(2):
        process.stderr.readline()
    process.send_signal(getattr(signal, sign))
    out, err = process.communicate(timeout=60)
    before = rows_of(tmp_path)
    assert 2 <= len(before) < 8
    if sign == "SIGINT":
        assert process.returncode == 130
        assert err.splitlines()[-1] == "spiralnn scale: interrupted; --resume goes on with what is missing"
        assert len(out[out.index("\nmodel ") + 1 :].splitlines()) == 1 + len(before)
        command = json.loads((tmp_path / "scale.json").read_text())["machine"]["command"]
        assert command.startswith("spiralnn scale --sizes")
    assert cli.main([*options, f"--out={tmp_path}", "--resume"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 8 - len(before)
    after = rows_of(tmp_path)
    assert after[: len(before)] == before
    assert len({row.case for row in after}) == len(after) == 8


def test_too_little_memory_leaves_out_the_reference_and_large_sizes(tmp_path, fast, capsys):
    options = ("--max-rows=10000", "--memory=0.00005", "--threads=1", "--no-figures", "--hidden=5")
    assert cli.main(["scale", *options, f"--out={tmp_path}"]) == 0
    assert {row.case[1:] for row in rows_of(tmp_path)} == {
        (N, model, 1) for N in (1000, 3000) for model in ("linear", "two-layer")
    }
    out = capsys.readouterr().out.splitlines()
    assert "left out for lack of memory:" in out
    assert "  linear, float64, fused, 1 thread: 10,000 rows" in out
    assert "  linear, float64, reference: 1,000  3,000  10,000 rows" in out


def test_an_overrun_budget_ends_the_run_and_resume_goes_on(tmp_path, fast, monkeypatch, capsys):
    clock = iter(range(0, 10**9, 10))  # every look at the clock: ten seconds later
    monkeypatch.setattr(run.time, "perf_counter", lambda: float(next(clock)))
    code, _, err = scale(tmp_path, capsys, "--budget=20")
    n_done = len(rows_of(tmp_path))
    assert code == 0 and 0 < n_done < 4
    assert f"spiralnn scale: the budget is used up; --resume measures the {4 - n_done} cases left" in err
    monkeypatch.undo()
    assert scale(tmp_path, capsys, "--resume")[0] == 0
    assert len(rows_of(tmp_path)) == 4


@pytest.mark.skipif(os.name != "posix", reason="terminals")
def test_a_bar_with_the_time_left_on_a_terminal(tmp_path):
    pytest.importorskip("tqdm")
    import fcntl
    import pty
    import termios

    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))  # lines, columns
    options = ("--sizes=200", "--threads=1", "--model=linear", "--no-figures", "--out=.")
    process = start("scale", *options, cwd=tmp_path, stderr=terminal)
    os.close(terminal)
    shown = ""
    with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
        while data := os.read(reader, 1 << 16):
            shown += data.decode()
    os.close(reader)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert "linear, float64, 200 rows, reference" in shown and " left, " in shown


# what goes wrong


def scale(tmp_path, capsys, *options):
    """(exit code, stdout, stderr) of a small run within this process."""
    small = ("--sizes=200", "--threads=1", "--hidden=5", "--no-figures", f"--out={tmp_path}")
    code = cli.main(["scale", *small, *options])
    return code, *capsys.readouterr()


def assert_one_line(result, *parts):
    code, _, err = result
    assert code == 1 and len(err.splitlines()) == 1 and err.startswith("spiralnn scale: error: ")
    assert all(part in err for part in parts), err


EMPTY = '"machine": {}, "model": {}, "limits": []'


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "\xff", '{"machine": {}, "model": {}}', f'{{{EMPTY}, "rows": 3}}',
     f'{{{EMPTY}, "rows": [{{"N": 3}}]}}'],
)  # fmt: skip
def test_a_broken_file_is_told_and_left_alone(content, tmp_path, fast, capsys):
    (tmp_path / "scale.json").write_text(content, encoding="latin-1")
    assert_one_line(scale(tmp_path, capsys, "--resume"), "cannot resume from", "scale.json")
    assert (tmp_path / "scale.json").read_text(encoding="latin-1") == content


def test_a_file_cut_short_or_with_a_wrong_value_is_told(tmp_path, fast, capsys):
    assert scale(tmp_path, capsys)[0] == 0
    path = tmp_path / "scale.json"
    whole = path.read_text()
    for broken in (
        whole[: len(whole) // 2],
        whole.replace('"median": ', '"median": -'),
        whole.replace('"threads": 1, "flops"', '"threads": 2, "flops"'),  # the limit that rows refer to
    ):
        assert broken != whole
        path.write_text(broken)
        assert_one_line(scale(tmp_path, capsys, "--resume"), "cannot resume from")


def test_results_of_another_machine_or_model_are_not_mixed(tmp_path, fast, capsys):
    assert scale(tmp_path, capsys)[0] == 0
    assert_one_line(scale(tmp_path, capsys, "--resume", "--hidden=6"), "measured with hidden 5, now it is 6")
    path = tmp_path / "scale.json"
    content = json.loads(path.read_text())
    content["machine"]["versions"]["NumPy"] = "1.0"
    path.write_text(json.dumps(content))
    assert_one_line(scale(tmp_path, capsys, "--resume"), "measured with NumPy 1.0, now it is ")


def test_resume_without_a_file_and_a_new_run_over_an_old_one(tmp_path, fast, capsys):
    assert scale(tmp_path, capsys, "--resume", "--model=linear")[0] == 0
    assert [row.model for row in rows_of(tmp_path)] == ["linear"] * 2
    assert scale(tmp_path, capsys, "--resume", "--no-reference")[0] == 0
    assert [row.model for row in rows_of(tmp_path)] == ["linear"] * 2 + ["two-layer"]
    assert scale(tmp_path, capsys, "--model=two-layer")[0] == 0
    assert [row.model for row in rows_of(tmp_path)] == ["two-layer"] * 2


def test_a_wrong_loss_stops_the_run_and_is_not_kept(tmp_path, fast, monkeypatch, capsys):
    right = rows.expected_losses
    factors = iter([1.0, 1.0 + 1e-9])
    monkeypatch.setattr(run, "expected_losses", lambda *a: [loss * factor for loss in right(*a)
                                                               for factor in [next(factors, 1.0)]])  # fmt: skip
    assert_one_line(scale(tmp_path, capsys), "wrong result: linear, float64, 200 rows, fused, 1 thread")
    assert not (tmp_path / "scale.json").exists()


def test_thread_counts_must_agree_to_the_last_bit():
    def row(n, losses):
        return results.Row("float64", 10, "linear", n, f"fused, {n}", 1.0, 1.0, 3, 1, 1.0, 1.0, 1.0, 0, losses)

    losses = [1.0, 0.9, 0.8, 0.7]
    measuring.check(row(2, losses), losses[:2], [row(1, losses)])
    with pytest.raises(planning.ScalingError, match="wrong result: linear, float64, 10 rows, fused, 2"):
        measuring.check(row(2, losses), losses[:2], [row(1, [*losses[:3], np.nextafter(0.7, 1)])])


def test_a_limit_that_cannot_be_trusted_stops_the_run(tmp_path, monkeypatch, capsys):
    def measure(*arguments):
        raise RuntimeError("a loop gave a wrong result")

    monkeypatch.setattr(hardware, "measure", measure)
    assert_one_line(scale(tmp_path, capsys), "a loop gave a wrong result")


def test_a_full_disk_is_told(tmp_path, fast, monkeypatch, capsys):
    def write(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.results, "write_atomically", write)
    assert_one_line(scale(tmp_path, capsys), "cannot write", "scale.json", "No space left on device")


def test_sizes_beyond_memory_are_told_at_once(tmp_path, capsys):
    assert_one_line(scale(tmp_path, capsys, "--sizes=10000000000000"), "10,000,000,000,000 rows of float64 need ")


def test_an_unwritable_folder_is_told_at_once(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert_one_line(scale(tmp_path / "file" / "out", capsys), "cannot write results to ")


def test_more_threads_than_cores_are_measured(tmp_path, fast, monkeypatch, capsys):
    monkeypatch.setitem(LIMITS, ("float64", 64), Limits(1e12, 1e11))
    code, out, _ = scale(tmp_path, capsys, "--threads=64", "--model=linear", "--no-reference")
    assert code == 0 and "more will have to share" in out


def test_without_matplotlib_it_measures_and_says_so_once(tmp_path, fast, monkeypatch, capsys):
    find = run.importlib.util.find_spec
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    arguments = ["scale", "--sizes=200", "--threads=1", "--model=linear", f"--out={tmp_path}"]
    assert cli.main(arguments) == 0
    err = capsys.readouterr().err.splitlines()
    assert err[-1] == "spiralnn scale: no figures without matplotlib: pip install spiralnn[plot]"
    assert [path.name for path in tmp_path.iterdir()] == ["scale.json"]


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--sizes", "0", "an integer, 1 or more"),
        ("--sizes", "1000,-5", "an integer, 1 or more"),
        ("--sizes", "", "an integer, 1 or more"),
        ("--max-rows", "999", "an integer, 1000 or more"),
        ("--threads", "1,0", "an integer, 1 or more"),
        ("--threads", "two", "an integer, 1 or more"),
        ("--hidden", "0", "an integer, 1 or more"),
        ("--budget", "-1", "a finite number, 0 or more"),
        ("--budget", "nan", "a finite number, 0 or more"),
        ("--memory", "-0.5", "a finite number, 0 or more"),
        ("--memory", "inf", "a finite number, 0 or more"),
    ],
)
def test_bad_values_are_wrong_usage(option, value, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["scale", f"{option}={value}"])
    out, err = capsys.readouterr()
    assert_wrong_usage((stopped.value.code, out.splitlines(), err.splitlines()), f"argument {option}: ")
    assert expected in err


def test_sizes_and_most_rows_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["scale", "--sizes=1000", "--max-rows=1000"])
    out, err = capsys.readouterr()
    assert_wrong_usage((stopped.value.code, out.splitlines(), err.splitlines()), "not allowed with argument")
