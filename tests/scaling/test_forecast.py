"""`spiralnn scale --plan`: its arithmetic by hand, rates that are found, and what is told."""

import json

import pytest
from commands import assert_wrong_usage
from scaling_runs import LIMITS, NETWORK, assert_one_line, case, row

from spiralnn import cli
from spiralnn.kernels.models import Model
from spiralnn.scaling import forecast, forecast_report, page, rates
from spiralnn.scaling.costs import Cost
from spiralnn.scaling.forecast import Cluster, Rates
from spiralnn.scaling.results import Results

# 20 ns a row on one thread, 10 on two; 1 s of each GB of X for what is done once, on one thread
RATES = Rates(
    row=20e-9, threads=2, gain=2.0, vectors=3e-6, launch=1e-6, add=1e-9,
    once={"checks": 1e-9, "survey": 2e-9, "statistics": 3e-9, "digest": 4e-9}, disk=None, source="made up",
)  # fmt: skip
BILLION = 10**9


def plan(N=BILLION, model=NETWORK, dtype="float32", solver="lbfgs", passes=100, rates=RATES, **cluster):
    here = {"ranks": 1, "threads": 2, "memory": 16e9, "bandwidth": 2e9, "latency": 1e-5, "disk": 1e9, **cluster}
    return forecast.forecast(N, model, dtype, solver, passes, Cluster(**here), rates)


def seconds(told):
    return {term.name: pytest.approx(term.seconds) for term in told.terms}


def test_a_billion_rows_in_memory():
    told = plan()
    assert seconds(told) == {
        "computing": 10.0, "reading the rows": 0.0, "exchange of roots": 0.0, "launching a pass": 1e-6,
        "L-BFGS' vectors": 3e-6,
        # 8 GB of X: the checks of an array take one thread
        "checks": 8.0, "statistics": 12.0, "digest": 16.0,
    }  # fmt: skip
    assert told.a_pass == pytest.approx(10.000004) and told.fit == pytest.approx(1036.0004)
    assert told.dominates.name == "computing"
    # 6144 rows a leaf, 162 761 of them
    facts = told.facts
    assert (facts["leaf_rows"], facts["leaves"], facts["depth"]) == (6144, 162_761, 18)
    assert facts["all_bytes"] == facts["rank_bytes"] == 9 * BILLION and facts["in_memory"]


def test_gradient_descent_has_neither_vectors_nor_statistics():
    told = plan(solver="gd")
    assert "L-BFGS' vectors" not in seconds(told) and "statistics" not in seconds(told)
    assert told.fit == pytest.approx(100 * 10.000001 + 8.0 + 16.0)


def test_what_does_not_fit_the_memory_is_read_in_every_pass():
    told = plan(memory=11e9)  # three quarters are for rows
    # 9 s of reading go on beside 10 s of computing
    assert seconds(told)["reading the rows"] == 0.0 and seconds(told)["computing"] == 10.0
    told = plan(memory=11e9, disk=0.5e9)
    assert seconds(told)["reading the rows"] == 18.0 - 10.0
    # what is done once is bound by the disk, too
    assert [seconds(told)[what] for what in ("checks", "statistics", "digest")] == [18.0, 18.0, 18.0]
    # one thread reads, and then computes
    told = plan(memory=11e9, threads=1)
    assert seconds(told)["reading the rows"] == 9.0 and seconds(told)["computing"] == 20.0
    assert told.a_pass == pytest.approx(29.000004)
    assert seconds(told)["checks"] == 16.0  # of rows that are no array


def test_ranks_share_the_rows_and_exchange_roots():
    told = plan(ranks=4)
    facts = told.facts
    assert facts["rows_a_rank"] == pytest.approx(BILLION / 4, rel=0.02)
    # W 2 x 112, W2 3 x 112, b 112, b2 16, and 16 beside: as float64
    assert facts["root_bytes"] == 8 * (2 * 112 + 3 * 112 + 112 + 16 + 16)
    n_bytes = 3 * facts["roots_a_rank"] * facts["root_bytes"]
    assert seconds(told)["exchange of roots"] == 2 * 1e-5 + n_bytes / 2e9
    assert seconds(told)["adding up roots"] == 4 * facts["roots_a_rank"] * facts["root_bytes"] / 8 * 1e-9
    assert seconds(told)["computing"] == facts["rows_a_rank"] * 10e-9
    assert seconds(told)["checks"] == facts["rows_a_rank"] * 8 * 2e-9 / 2
    slow = plan(ranks=4, latency=100.0)
    assert slow.dominates.name == "exchange of roots" and slow.a_pass > 200.0


def test_more_threads_gain_as_much_each_as_those_measured():
    assert [RATES.on(n) for n in (1, 2, 8)] == [pytest.approx(t) for t in (20e-9, 10e-9, 2.5e-9)]
    poor = RATES._replace(gain=1.5)
    assert poor.on(2) == pytest.approx(20e-9 / 1.5) and poor.on(64) == pytest.approx(20e-9 / 48)
    assert seconds(plan(threads=64))["computing"] == 0.3125
    # no more threads than leaves
    assert seconds(plan(N=300, threads=64))["computing"] == 300 * 10e-9


def test_a_trillion_rows_of_a_large_shape():
    told = plan(N=10**12, model=Model(54, 128, 7), ranks=1024, threads=64, memory=256e9, disk=7e9)
    assert told.facts["all_bytes"] == 217 * 10**12 and not told.facts["in_memory"] and told.facts["depth"] == 28
    assert told.dominates.name == "reading the rows"
    assert told.a_pass == pytest.approx(told.facts["rank_bytes"] / 7e9, rel=0.05)


def test_what_a_person_reads():
    text = forecast_report.text(plan(ranks=4, threads=64, memory=1e9, disk=0.5e9))
    lines = text.splitlines()
    assert lines[0] == "1,000,000,000 rows of (2, 100, 3) float32, lbfgs, 4 ranks of 64 threads"
    assert "rates: made up" in lines and "disk: 0.5 GB/s a rank, assumed" in lines
    assert "threads: 64 gain as much each as 2 did here, assumed" in lines
    assert "network: 2 GB/s and 10 us a message" in text
    assert lines[-1].startswith("a pass takes ") and "reading the rows is " in lines[-1]
    one = forecast_report.text(plan(passes=1))
    assert "a fit of 1 pass " in one and "network" not in one and "disk:" not in one
    assert "1,000,000,000 rows x 10.0 ns on 2 threads" in one


# rates


def results(tmp_path, lines, costs=()):
    made = Results(tmp_path / "scale.json")
    made.rows, made.costs = list(lines), list(costs)
    made.limits = dict(LIMITS)
    return made


def costs_of(dtype, place="memory"):
    return [Cost(what, dtype, 2, 1000, place, 2, 1e-3) for what in ("checks", "statistics", "digest")]


def test_rates_of_a_results_file_are_those_of_the_most_rows(tmp_path):
    lines = [
        row(case(1000, dtype="float32"), 1e-3), row(case(10**6, dtype="float32"), 0.02, launch=7e-6),
        row(case(10**6, dtype="float32", threads=2), 0.0125), row(case(10**7, dtype="float32", threads=2), 0.3, ran=1),
        row(case(10**8, dtype="float32", place="files"), 9.0), row(case(10**8, dtype="float64"), 9.0),
    ]  # fmt: skip
    made = results(tmp_path, lines, costs_of("float32") + costs_of("float32", "files"))
    made.rates = {"disk": 3e9}
    made.save()
    found = rates.find(NETWORK, "float32", "gd", 2, tmp_path)
    # the fastest of one thread is that of the most rows on which one ran
    assert found.row == pytest.approx(30e-9) and found.threads == 2
    assert found.gain == pytest.approx(30 / 12.5) and found.disk == 3e9 and found.launch == 1e-6
    assert found.once == {
        "checks": pytest.approx(1e-3 / 8000), "survey": pytest.approx(2e-3 / 8000),
        "statistics": pytest.approx(2e-3 / 8000), "digest": pytest.approx(2e-3 / 8000),
    }  # fmt: skip
    assert str(tmp_path / "scale.json") in found.source


def test_a_file_without_what_is_needed_is_told(tmp_path, capsys):
    options = ["scale", "--plan", "1000", "2", "100", "3", "--solver=gd", f"--out={tmp_path}"]

    def told(*options):
        code = cli.main(list(options))
        return code, *capsys.readouterr()

    assert_one_line(told(*options), "there is no ", "scale.json", "expected a folder that spiralnn scale wrote")
    results(tmp_path, [row(case(1000, dtype="float32"), 1e-3)]).save()
    assert_one_line(told(*options), "holds no costs of 2 inputs")
    assert_one_line(told(*options, "--dtype=float64"), "holds no (2, 100, 3) float64 by gd on one thread, in memory")
    results(tmp_path, [row(case(1000, dtype="float32"), 1e-3)], costs_of("float32")).save()
    assert told(*options)[0] == 0


def test_rates_are_measured_where_there_is_no_file(monkeypatch, capsys):
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    monkeypatch.setattr(rates, "SAMPLE_FLOPS", 1e6)
    options = ("--ranks", "16", "--threads-per-rank=8", "--bandwidth=1", "--latency=2", "--disk=7", "--memory=0.001",
               "--passes=50", "--solver=lbfgs")  # fmt: skip
    assert cli.main(["scale", "--plan", "1000000", "2", "5", "3", *options, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert err == "" and (told["N"], told["D"], told["H"], told["K"], told["passes"]) == (1_000_000, 2, 5, 3, 50)
    assert told["cluster"] == {
        "ranks": 16, "threads": 8, "memory": 1e6, "bandwidth": 1e9, "latency": 2e-6, "disk": 7e9, "disk_is": "as given",
    }  # fmt: skip
    assert all(told["rates"][name] > 0 for name in ("row", "gain", "vectors", "add")) and told["rates"]["launch"] >= 0
    assert set(told["rates"]["once"]) == {"checks", "survey", "statistics", "digest"}
    total = sum(term["seconds"] * term["times"] for term in told["terms"])
    assert told["fit_seconds"] == pytest.approx(total) and told["dominates"] in {t["name"] for t in told["terms"]}
    assert cli.main(["scale", "--plan", "1000000", "2", "0", "3", "--dtype=float64", "--solver=gd"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1,000,000 rows of (2, 3) float64, gd, 1 rank of ") and "checks " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0", "2", "3", "3"], "argument --plan: 0 rows given, expected 1 or more"),
        (["9", "0", "3", "3"], "argument --plan: 0 inputs and 3 classes given, expected 1 or more, and 2 to 256"),
        (["9", "2", "3", "1"], "argument --plan: 2 inputs and 1 classes given, expected 1 or more, and 2 to 256"),
        (["9", "2", "3"], "expected 4 arguments"),
        (["9", "2", "3", "x"], "an integer, 0 or more"),
        (["9", "2", "3", "3", "--ranks", "1", "2"], "argument --ranks: '1 2' given, expected one for --plan"),
        (["9", "2", "3", "3", "--ranks", "0"], "an integer, 1 or more"),
        (["9", "2", "3", "3", "--solver=both"], "argument --solver: 'both' given, expected one for --plan"),
        (["9", "2", "3", "3", "--dtype=both"], "argument --dtype: 'both' given, expected one for --plan"),
        (["9", "2", "3", "3", "--passes=0"], "an integer, 1 or more"),
        (["9", "2", "3", "3", "--bandwidth=0"], "expected a finite number above 0"),
        (["9", "2", "3", "3", "--disk=-1"], "expected a finite number, 0 or more"),
        (["9", "2", "3", "3", "--latency=-1"], "expected a finite number, 0 or more"),
        (["9", "2", "3", "3", "--sizes=5"], "argument --sizes: is not for --plan"),
        (["9", "2", "3", "3", "--out-of-core"], "argument --out-of-core: is not for --plan"),
    ],
)
def test_bad_values_are_wrong_usage(arguments, message, capsys):
    try:
        code = cli.main(["scale", "--plan", *arguments])
    except SystemExit as stopped:
        code = stopped.code
    out, err = capsys.readouterr()
    assert_wrong_usage((code, out.splitlines(), err.splitlines()), message)


def test_the_page_has_plans_by_the_rates_of_its_run(tmp_path):
    lines = [row(case(10**6, dtype="float32", solver=solver, threads=n), 0.02 / n, vectors=1e-6)
             for solver in ("gd", "lbfgs") for n in (1, 2)]  # fmt: skip
    made = results(tmp_path, lines, costs_of("float32"))
    made.rates = {"files": 5e9, "disk": 2e9}
    text = page.text(tmp_path, made, [10**6])
    assert "Files were read with 5 GB/s where their pages are in memory and 2 GB/s from the disk." in text
    assert "| 1,000,000,000 | (2, 100, 3) by lbfgs | 1 x 2 | 9 GB | 10.0 s | " in text
    assert text.count("### ") == 8 and "by gd" not in text
    assert "1,000,000,000 rows x 10.0 ns on 2 threads" in text
    assert "## Strong scaling: the same rows" in text
