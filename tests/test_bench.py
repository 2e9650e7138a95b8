"""The benchmark report: ratios by hand, the README's part, and files that are no results."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


def _load(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report = _load("report")


def _rows(N, dtype, reference, one, everything, steps):
    """Three rows of a full step of the network; times are those of a call of so many steps."""
    medians = {report.REFERENCE: reference, report.ONE: one, report.ALL: everything}
    shared = {"operation": "step", "model": "two_layer", "N": N, "dtype": dtype, "steps": steps}
    return [{**shared, "implementation": name, "median": median} for name, median in medians.items()]


@pytest.fixture
def results():
    machine = {"cpu": "a CPU", "cores": 2, "versions": {"Numba": "0.68"}, "command": "spiralnn bench"}
    rows = _rows(300, "float64", 0.0284, 0.00161, 0.00142, 100) + _rows(1_000_000, "float64", 7.0, 0.1, 0.05, 2)
    return {
        "machine": {**machine, "date": "2024-01-01"},
        "rows": rows,
        "interleaved": rows[3:],
        "processes": [{"job": "spiralnn train", "implementation": "reference", "median": 3.5}],
        "memory": [{"model": "two_layer", "implementation": "fused", "N": 1_000_000, "bytes": 3 * 2**20}],
    }


@pytest.fixture
def results_file(results, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    return path


def test_speedups_are_the_hand_computed_ones(results):
    table = report.problems(results["rows"])
    small = table["step", "two_layer", 300, "float64"]
    assert small[report.REFERENCE] == pytest.approx(284e-6, rel=1e-12)
    assert report.speedup(small, report.ONE) == pytest.approx(284 / 16.1, rel=1e-12)
    assert report.speedup(small, report.ALL) == pytest.approx(20, rel=1e-12)
    large = table["step", "two_layer", 1_000_000, "float64"]
    assert report.speedup(large, report.ONE) == pytest.approx(70, rel=1e-12)
    assert report.speedup(large, report.ALL) == pytest.approx(140, rel=1e-12)


def test_saved_results_load_as_they_were_one_row_a_line(results, tmp_path):
    path = tmp_path / "results.json"
    report.save(results, path)
    assert report.load(path) == results
    assert len(path.read_text().splitlines()) < 30
    results["memory"] = []
    report.save(results, path)
    assert report.load(path) == results


def test_speedup_without_a_reference_is_none(results):
    seconds = {report.ONE: 1.0}
    assert report.speedup(seconds, report.ONE) is None
    results["rows"] = [row for row in results["rows"] if row["implementation"] != report.REFERENCE]
    assert "16.1 µs" in report.text(results)


@pytest.mark.parametrize(
    "seconds, shown",
    [(16.1e-6, "16.1 µs"), (3.5, "3.50 s"), (0.9999e-3, "1.00 ms"), (2e-7, "200 ns"), (123.4, "123 s")],
)
def test_duration(seconds, shown):
    assert report.duration(seconds) == shown


def test_tables_show_times_and_speedups(results):
    line = "| full step | network | 300 | float64 | 284 µs | 16.1 µs | 14.2 µs | 17.6 x | 20.0 x |"
    assert line in report.markdown(results)
    in_turns = "| network | 1 000 000 | float64 | 3.50 s | 50.0 ms | 25.0 ms | 70.0 x | 140 x |"
    assert in_turns in report.markdown(results).splitlines()
    for shown in ("17.6 x", "140 x", "3.0 MiB", "1 000 000 rows", "a CPU", "Numba 0.68", "spiralnn bench"):
        assert shown in report.text(results)


def test_rewriting_the_readme_is_idempotent_and_keeps_the_rest(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\nold \\1 text\n{report.END}\nafter\n")
    report.rewrite_readme(readme, report.markdown(results))
    once = readme.read_text()
    assert once.startswith(f"before\n{report.START}\n!") and once.endswith(f"\n{report.END}\nafter\n")
    assert "17.6 x" in once and "old" not in once
    report.rewrite_readme(readme, report.markdown(results))
    assert readme.read_text() == once


def test_readme_without_markers_is_left_alone(results_file, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("no markers\n")
    assert report.main([str(results_file), "--readme", str(readme)]) == 1
    assert "benchmark:start" in capsys.readouterr().err
    assert readme.read_text() == "no markers\n"


def test_figure_is_drawn(results_file, tmp_path):
    pytest.importorskip("matplotlib")
    assert report.main([str(results_file), "--figures", str(tmp_path / "figures")]) == 0
    assert (tmp_path / "figures" / "speed.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"machine": {}}', "null", "\x00", '{"machine": 1, "rows": 2}']
)
def test_a_file_that_is_no_result_is_one_line_and_exit_code_1(content, tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(content)
    assert report.main([str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and str(path) in captured.err


@pytest.mark.parametrize("damage", [{"median": 0.0}, {"median": "fast"}, {"steps": None}, {"N": -1}])
def test_a_row_with_an_impossible_number_is_refused(results, damage, tmp_path):
    results["rows"][0].update(damage)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    with pytest.raises(report.BadResults, match="positive numbers"):
        report.load(path)


def test_run_report_only(results_file, tmp_path):
    def run(path):
        command = [sys.executable, str(BENCH / "run.py"), "--report-only", str(path)]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")

    done = run(results_file)
    assert done.returncode == 0 and "17.6 x" in done.stdout
    missing = run(tmp_path / "nothing.json")
    assert missing.returncode == 1 and missing.stderr.count("\n") == 1 and "nothing.json" in missing.stderr
