"""`spiralnn scale`: that it measures what is right, tells it, and loses nothing that was measured."""

import contextlib
import io
import json
import os
import signal
import struct
import sys

import numpy as np
import pytest
from commands import assert_wrong_usage, png_size, start
from scaling_runs import LIMITS, SMALL, assert_one_line, case, row, rows_of, scale

from spiralnn import cli
from spiralnn.kernels import reference
from spiralnn.kernels.models import Model
from spiralnn.scaling import hardware, measuring, ranks, results, rows, run
from spiralnn.scaling.cases import Case, ScalingError
from spiralnn.scaling.hardware import Limits

FIGURES = {"scale-time.png", "scale-row.png", "scale-strong.png"}
pytestmark = pytest.mark.usefixtures("short")

# the data and the losses to expect


@pytest.mark.parametrize(("D", "K"), [(2, 3), (5, 4)])
def test_rows_are_shuffled_repeat_and_do_not_depend_on_how_many(D, K):
    period = rows.PERIOD
    X, y = rows.make_rows(300 * period + 17, D, K, "float32")  # more than are written at a time
    assert X.dtype == np.float32 and y.dtype == np.uint8 and X.flags.c_contiguous and X.shape == (len(y), D)
    assert set(y[:1000]) == set(range(K))
    assert np.isfinite(X).all() and X[:period].std() > 0.1
    assert (X[: 300 * period].reshape(300, period, D) == X[:period]).all()
    assert (y[: 300 * period].reshape(300, period) == y[:period]).all()
    assert np.array_equal(X[300 * period :], X[:17]) and np.array_equal(y[300 * period :], y[:17])
    for few in (1, period - 1, period, period + 1):
        some_X, some_y = rows.make_rows(few, D, K, "float32")
        assert np.array_equal(some_X, X[:few]) and np.array_equal(some_y, y[:few])


@pytest.mark.parametrize("n_rows", [1, 999, 10_000, 20_000, 20_001])
@pytest.mark.parametrize("H", [0, 3])
def test_expected_losses_are_those_of_all_rows(n_rows, H):
    X, y = rows.make_rows(n_rows, 2, 3, "float64")
    params = rows.start(Model(2, H, 3), "float64")
    kernel = reference.two_layer_loss_gradients if H else reference.linear_loss_gradients
    moved, losses = [p.copy() for p in params], []
    for _ in range(2):
        gradients = [np.empty_like(p) for p in moved]
        losses.append(kernel(X, y.astype(int), *moved, rows.REG, *gradients))
        for p, dp in zip(moved, gradients, strict=True):
            p -= rows.STEP_SIZE * dp
    assert losses[1] < losses[0]
    np.testing.assert_allclose(rows.expected_losses(X, y, params, case(n_rows, H=H)), losses, rtol=1e-12)
    quasi_newton = rows.expected_losses(X, y, params, case(n_rows, H=H, solver="lbfgs"))
    assert len(quasi_newton) == 2 and quasi_newton[1] < quasi_newton[0] < losses[0]


def test_files_hold_the_rows_and_go_again(tmp_path):
    X, y = rows.make_rows(rows.PERIOD + 5, 3, 4, "float32")
    files = rows.write_rows(tmp_path, X, y)
    assert np.array_equal(np.load(files.X), X) and np.array_equal(np.load(files.y), y)
    assert files.n_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) and len(X) == files.N
    opened = rows.first_rows(files, 500)
    assert opened.shape == (500, 3)
    assert np.array_equal(opened.X.read(100, 500), X[100:500])
    assert hardware.file_rate(files.X, 2, files.forget) > 0
    files.remove()
    assert list(tmp_path.iterdir()) == []


# a run

WHOLE = ("--sizes=200,900", "--threads=1,2", "--shape", "2", "5", "3", "--solver=both", "--out-of-core", "--fit=3",
         "--page")  # fmt: skip


@pytest.fixture(scope="module")
def measured(short, tmp_path_factory):
    """A whole run: (exit code, lines of stdout, lines of stderr) and its folder."""
    folder = tmp_path_factory.mktemp("scale")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["scale", *WHOLE, f"--out={folder}"])
    assert code == 0, err.getvalue()
    return (code, out.getvalue().splitlines(), err.getvalue().splitlines()), folder


def wanted_cases():
    for dtype in ("float32", "float64"):
        for size in (200, 900):
            for solver in ("gd", "lbfgs"):
                for place in ("memory", "files"):
                    yield from (Case(2, 5, 3, dtype, size, solver, place, 0, n) for n in (1, 2))
            yield Case(2, 5, 3, dtype, size, "gd", "memory", 0, 0)


def test_every_case_is_measured_and_right(measured):
    lines = rows_of(measured[1])
    assert len(lines) == len(set(wanted_cases())) and {line.case for line in lines} == set(wanted_cases())
    for line in lines:
        assert line.median >= line.fastest > 0 and line.rounds >= 3 and line.steps >= 1
        assert line.ns_per_row == pytest.approx(1e9 * line.median / line.N)
        assert 0 < line.share <= 1 and line.launch >= 0
        assert line.ran <= line.threads and (line.ran > 0) == (line.threads > 0)
        assert (line.vectors is not None) == (line.solver == "lbfgs") and (line.vectors or 1) > 0
        X, y = rows.make_rows(line.N, 2, 3, line.dtype)
        expected = rows.expected_losses(X, y, rows.start(line.case.model, line.dtype), line.case)
        rtol = measuring.TOLERANCES[line.dtype, line.solver == "gd"]
        np.testing.assert_allclose(line.losses, expected, rtol=rtol)
    # the same bits for any number of threads, in memory and from files
    for line in lines:
        if line.threads:
            same = {tuple(other.losses) for other in lines if other.threads and other.case._replace(
                threads=1, place="memory") == line.case._replace(threads=1, place="memory")}  # fmt: skip
            assert len(same) == 1


def test_the_plan_comes_first_then_the_tables(measured):
    (_, out, err), _ = measured
    assert out[0] == "a pass over the rows by gd and lbfgs, (inputs, hidden units, classes) (2, 5, 3)"
    assert sum(line.startswith("limit of this machine") for line in out) == 4
    assert f"to measure: {len(set(wanted_cases()))} cases" in out
    assert "  (2, 5, 3) float32, lbfgs, 2 threads, from files: 200  900 rows" in out
    head = next(i for i, line in enumerate(out) if line.startswith("shape "))
    assert out[head - 1] == "a pass" and out[head + 1 + len(set(wanted_cases()))] == ""
    titles = [line for line in out if line.startswith(("strong scaling", "weak scaling", "once before"))]
    assert titles == ["strong scaling: the same rows", "once before a fit"]  # of few rows weak scaling says nothing
    n_cases = len(set(wanted_cases()))
    assert len(err) == n_cases
    assert err[-1].startswith(f"{n_cases}/{n_cases} ") and err[-1].endswith("; 0 s left")


def test_what_is_done_once_is_measured_and_told(measured):
    costs = json.loads((measured[1] / "scale.json").read_text())["costs"]
    for dtype in ("float32", "float64"):
        for place in ("memory", "files"):
            what = {cost["what"] for cost in costs if (cost["dtype"], cost["place"]) == (dtype, place)}
            expected = {"checks", "statistics", "digest", "making" if place == "memory" else "writing"}
            assert {one for one in what if not one.startswith("whole fit")} == expected
        fits = [cost["what"] for cost in costs if cost["dtype"] == dtype and cost["what"].startswith("whole fit")]
        assert len(fits) == 1 and fits[0].startswith("whole fit, (2, 5, 3) lbfgs, ")
    assert all(cost["seconds"] > 0 and cost["N"] == 900 for cost in costs)
    assert not list(measured[1].glob("*.npy")) and not list(measured[1].glob("*.checkpoint"))


def test_the_file_says_where_it_comes_from(measured):
    content = json.loads((measured[1] / "scale.json").read_text())
    assert set(content["machine"]) == {"cpu", "cores", "versions", "command", "date"}
    assert set(content["machine"]["versions"]) == {"spiralnn", "Python", "NumPy", "Numba"}
    assert content["machine"]["command"].startswith("spiralnn")
    assert {(line["dtype"], line["threads"]) for line in content["limits"]} == set(LIMITS)
    assert all(line["flops"] > 0 and line["bandwidth"] > 0 for line in content["limits"])
    (estimate,) = content["estimates"]
    assert estimate["cases"] == 3 and estimate["told"] > 0 and estimate["took"] > 0
    assert content["rates"] == []  # such small files tell nothing of the disk


def test_figures_and_page(measured):
    pytest.importorskip("matplotlib")
    assert {path.name for path in measured[1].glob("*.png")} == FIGURES
    for name in FIGURES:
        width, height = png_size(measured[1] / name)
        assert 600 <= width <= 3000 and 500 <= height <= 2000
    page = (measured[1] / "scale.md").read_text()
    assert all(f"({name})" in page for name in FIGURES)
    assert page.count("### 1,000,000,000 rows of (2, 5, 3) by lbfgs, ") == 4
    assert "| checks | 900 | 2 | float32 | files | 2 | " in page


def test_resume_with_nothing_left_measures_nothing(measured, capsys):
    before = json.loads((measured[1] / "scale.json").read_text())
    assert cli.main(["scale", *WHOLE, f"--out={measured[1]}", "--resume", "--no-figures"]) == 0
    out, err = capsys.readouterr()
    assert "to measure: 0 cases" in out and f"measured before: {len(set(wanted_cases()))} cases" in out and err == ""
    assert json.loads((measured[1] / "scale.json").read_text()) == before


def test_passes_from_the_disk_are_read_from_there(tmp_path, fast, monkeypatch, capsys):
    monkeypatch.setattr("spiralnn.scaling.cases.COLD_BYTES", 1)
    forgotten = []
    forget = rows.Files.forget
    monkeypatch.setattr(rows.Files, "forget", lambda files: (forgotten.append(files), forget(files)))
    code, _, _ = scale(tmp_path, capsys, "--out-of-core", "--model=linear", "--no-reference")
    lines = rows_of(tmp_path)
    assert code == 0 and [line.place for line in lines] == ["memory", "files", "disk"]
    rates = json.loads((tmp_path / "scale.json").read_text())["rates"]
    assert {line["place"] for line in rates} == {"files", "disk"} and all(line["bandwidth"] > 0 for line in rates)
    # once before the rate of the disk is measured, then before every pass
    assert len(forgotten) >= 1 + lines[-1].rounds and lines[-1].steps == 1


# interrupted, and gone on with


@pytest.mark.skipif(
    os.name != "posix" or signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="no signals here to inherit"
)
@pytest.mark.parametrize("sign", ["SIGINT", "SIGKILL"])
def test_what_was_measured_survives(sign, tmp_path, capsys):
    options = ("scale", "--sizes=1000,2000", "--threads=1", "--hidden=5", "--no-figures", "--dtype=float64")
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
        assert len(out[out.index("\nshape ") + 1 :].partition("\n\n")[0].splitlines()) == 1 + len(before)
        command = json.loads((tmp_path / "scale.json").read_text())["machine"]["command"]
        assert command.startswith("spiralnn scale --sizes")
    assert cli.main([*options, f"--out={tmp_path}", "--resume"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 8 - len(before)
    after = rows_of(tmp_path)
    assert after[: len(before)] == before
    assert len({line.case for line in after}) == len(after) == 8


def test_files_go_when_a_run_is_interrupted(tmp_path, fast, monkeypatch, capsys):
    def interrupt(case, *others):
        if case.place == "files":
            assert len(list((tmp_path / "scratch").glob("*.npy"))) == 2
            raise KeyboardInterrupt
        return measure(case, *others)

    measure = run.measure
    monkeypatch.setattr(run, "measure", interrupt)
    code, _, err = scale(tmp_path, capsys, "--out-of-core", f"--scratch={tmp_path / 'scratch'}")
    assert code == 130 and "interrupted; --resume" in err
    assert list((tmp_path / "scratch").iterdir()) == []
    assert [line.place for line in rows_of(tmp_path)] == ["memory"]


def test_too_little_memory_leaves_out_the_reference_and_large_sizes(tmp_path, fast, capsys):
    options = ("--max-rows=10000", "--memory=0.00006", "--threads=1", "--no-figures", "--hidden=5", "--dtype=float64")
    code, out, _ = scale(tmp_path, capsys, small=options)
    assert code == 0
    assert {(line.N, line.H, line.threads) for line in rows_of(tmp_path)} == {
        (size, H, 1) for size in (1000, 3000) for H in (0, 5)
    }
    assert "left out for lack of memory:" in out.splitlines()
    assert "  (2, 3) float64, gd, 1 thread: 10,000 rows" in out.splitlines()
    assert "  (2, 3) float64, gd, reference: 1,000  3,000  10,000 rows" in out.splitlines()


def test_an_overrun_budget_ends_the_run_and_resume_goes_on(tmp_path, fast, monkeypatch, capsys):
    clock = iter(range(0, 10**9))  # every look at the clock: a second later
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
    options = ("--sizes=200", "--threads=1", "--model=linear", "--no-figures", "--out=.", "--dtype=float64")
    process = start("scale", *options, "--budget=1", cwd=tmp_path, stderr=terminal)
    os.close(terminal)
    shown = ""
    with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
        while data := os.read(reader, 1 << 16):
            shown += data.decode()
    os.close(reader)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert "(2, 3) float64, 200 rows, gd, 1 thread" in shown and " s left, " in shown


# ranks


def test_ranks_are_measured_and_come_to_the_same_bits(tmp_path, fast, capsys):
    pytest.importorskip("mpi4py")
    if ranks.missing("mpiexec"):
        pytest.skip("no mpiexec")
    options = ("--ranks", "2", "--model=linear", "--no-reference", "--solver=lbfgs")
    code, out, err = scale(tmp_path, capsys, *options)
    assert code == 0, err
    here, there = sorted(rows_of(tmp_path), key=lambda line: line.ranks)
    assert (there.ranks, there.threads, there.ran) == (2, 1, 2) and there.losses == here.losses
    assert there.peak_bytes is None and there.vectors > 0
    assert "2 ranks x 1 thread" in out and not list(tmp_path.glob("*.npy"))


def test_without_mpi_it_says_what_is_missing_and_measures_the_rest(tmp_path, fast, monkeypatch, capsys):
    options = ("--ranks", "1", "2", "--model=linear", "--no-reference", "--mpiexec=no-such-program --flag")
    find = ranks.importlib.util.find_spec
    monkeypatch.setattr(ranks.importlib.util, "find_spec", lambda name: find("json" if name == "mpi4py" else name))
    code, out, err = scale(tmp_path, capsys, *options)
    assert code == 0 and len(rows_of(tmp_path)) == 1
    told = "no ranks are measured: there is no 'no-such-program --flag': install MPICH or Open MPI, or name it"
    assert [line for line in err.splitlines() if told in line]
    monkeypatch.setattr(ranks.importlib.util, "find_spec", lambda name: None if name == "mpi4py" else find(name))
    code, out, err = scale(tmp_path, capsys, *options)
    assert code == 0 and "no ranks are measured: mpi4py is not installed: pip install 'spiralnn[mpi]'" in err


@pytest.mark.skipif(os.name != "posix", reason="programs of the shell")
def test_ranks_that_end_with_an_error_are_told(tmp_path, monkeypatch):
    program = tmp_path / "mpiexec"
    program.write_text("#!/bin/sh\necho 'rank 1: no such thing' >&2\nexit 3\n")
    program.chmod(0o755)
    files = rows.Files(tmp_path / "X.npy", tmp_path / "y.npy", 10)
    with pytest.raises(ScalingError, match=r"2 ranks x 1 thread: '.*' ended with code 3: rank 1: no such thing"):
        ranks.measure(case(10, ranks=2), files, str(program), 0.1, 1.0)
    program.write_text("#!/bin/sh\nsleep 100\n")
    monkeypatch.setattr(ranks, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(ranks, "PATIENCE", 0.2)
    with pytest.raises(ScalingError, match="its processes said nothing for 0 s"):
        ranks.measure(case(10, ranks=2), files, str(program), 0.1, 1.0)


# what goes wrong

EMPTY = '"machine": {}, "limits": []'


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
        whole.replace('"share": 0', '"share": 7'),
        whole.replace('"place": "memory", "ranks"', '"place": "cloud", "ranks"'),
        whole.replace('"dtype": "float64", "threads": 1, "flops"', '"dtype": "float32", "threads": 1, "flops"'),
    ):
        assert broken != whole
        path.write_text(broken)
        assert_one_line(scale(tmp_path, capsys, "--resume"), "cannot resume from")


def test_results_of_another_machine_are_not_mixed(tmp_path, fast, capsys):
    assert scale(tmp_path, capsys)[0] == 0
    path = tmp_path / "scale.json"
    content = json.loads(path.read_text())
    content["machine"]["versions"]["NumPy"] = "1.0"
    path.write_text(json.dumps(content))
    assert_one_line(scale(tmp_path, capsys, "--resume"), "measured with NumPy 1.0, now it is ")


def test_resume_without_a_file_and_a_new_run_over_an_old_one(tmp_path, fast, capsys):
    small = (*SMALL[:2], *SMALL[3:])
    assert scale(tmp_path, capsys, "--resume", "--model=linear", small=small)[0] == 0
    assert [line.H for line in rows_of(tmp_path)] == [0] * 2
    # shapes may be others
    assert scale(tmp_path, capsys, "--resume", "--no-reference", "--shape", "3", "4", "2", small=small)[0] == 0
    assert [line.H for line in rows_of(tmp_path)] == [0] * 2 + [4]
    assert scale(tmp_path, capsys, "--model=two-layer", "--hidden=5", small=small)[0] == 0
    assert [line.H for line in rows_of(tmp_path)] == [5] * 2


def test_a_wrong_loss_stops_the_run_and_is_not_kept(tmp_path, fast, monkeypatch, capsys):
    right = rows.expected_losses
    monkeypatch.setattr(run, "expected_losses", lambda *a: [loss * (1 + 1e-9) for loss in right(*a)])
    assert_one_line(scale(tmp_path, capsys), "wrong result: (2, 5, 3) float64, 200 rows, gd, 1 thread")
    assert not (tmp_path / "scale.json").exists()


@pytest.mark.parametrize("other", [{"threads": 2}, {"place": "files"}, {"ranks": 3}, {"place": "disk", "threads": 4}])
def test_wherever_rows_lie_losses_must_agree_to_the_last_bit(other):
    here, there = row(case(10), losses=[1.0, 0.9]), row(case(10, **other), losses=[1.0, 0.9])
    measuring.check(there, [1.0, 0.9], [here])
    measuring.check(there, [1.0, 0.9], [row(case(11), losses=[2.0, 0.9])])
    off = there._replace(losses=[1.0, np.nextafter(0.9, 1)])
    with pytest.raises(ScalingError, match=r"wrong result: \(2, 100, 3\) float64, 10 rows, gd, "):
        measuring.check(off, [1.0, 0.9], [here])


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
    monkeypatch.undo()
    monkeypatch.setattr(rows.os, "fsync", lambda descriptor: write(None, None))
    with pytest.raises(OSError, match="No space left"):
        rows.write_rows(tmp_path, *rows.make_rows(10, 2, 3, "float32"))
    assert not list(tmp_path.glob("*.npy"))


def test_sizes_beyond_memory_are_told_at_once(tmp_path, capsys):
    assert_one_line(scale(tmp_path, capsys, "--sizes=10000000000000"), "10,000,000,000,000 rows of 2 float64 need ")


def test_an_unwritable_folder_is_told_at_once(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert_one_line(scale(tmp_path / "file" / "out", capsys), "cannot write results to ")
    assert_one_line(scale(tmp_path, capsys, "--out-of-core", f"--scratch={tmp_path / 'file'}"), "cannot write rows to ")


def test_more_threads_than_cores_are_measured(tmp_path, fast, monkeypatch, capsys):
    monkeypatch.setitem(LIMITS, ("float64", 64), Limits(1e12, 1e11))
    code, out, _ = scale(tmp_path, capsys, "--threads=64", "--model=linear", "--no-reference")
    assert code == 0 and "more will have to share" in out and " of 64 " in out


def test_without_matplotlib_it_measures_and_says_so_once(tmp_path, fast, monkeypatch, capsys):
    find = run.importlib.util.find_spec
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    code, _, err = scale(tmp_path, capsys, "--model=linear", "--no-reference", small=SMALL[:2])
    assert code == 0
    assert err.splitlines()[-1] == "spiralnn scale: no figures without matplotlib: pip install spiralnn[plot]"
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
        ("--ranks", "0", "an integer, 1 or more"),
        ("--threads-per-rank", "0", "an integer, 1 or more"),
        ("--fit", "-1", "an integer, 0 or more"),
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sizes=1000", "--max-rows=1000"), "not allowed with argument"),
        (("--shape", "2", "3", "3", "--model=linear"), "not allowed with argument"),
        (("--shape", "2", "x", "3"), "an integer, 0 or more"),
        (("--shape", "2", "3", "3", "--hidden=7"), "argument --hidden: not allowed with argument --shape"),
        (("--shape", "0", "3", "3"), "argument --shape: 0 inputs and 3 classes given, expected 1 or more, and 2"),
        (("--shape", "2", "3", "1"), "argument --shape: 2 inputs and 1 classes given, expected 1 or more, and 2"),
        (("--shape", "2", "3", "257"), "argument --shape: 2 inputs and 257 classes given, expected"),
        (("--json",), "argument --json: needs --plan"),
        (("--passes=3",), "argument --passes: needs --plan"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(arguments, message, capsys):
    try:
        code = cli.main(["scale", *arguments])
    except SystemExit as stopped:
        code = stopped.code
    out, err = capsys.readouterr()
    assert_wrong_usage((code, out.splitlines(), err.splitlines()), message)


def test_the_peak_of_memory_is_told_where_it_says_something():
    if sys.platform != "linux":
        pytest.skip("the system does not tell")
    from spiralnn.scaling import report

    few, many = row(case(1000), peak_bytes=3 << 20), row(case(10**6), peak_bytes=3 << 20)
    lines = report.measured([few, many]).splitlines()
    assert "3 MiB" not in lines[1] and "3 MiB" in lines[2]
