"""Seconds to a target on real data: everybody trains in turns, on one thread, with three seeds.

    python bench/time_to_result.py --out bench/results/fits.json        # some 25 minutes on one core
    python bench/time_to_result.py --out some.json --sets digits letter --seeds 1
    python bench/time_to_result.py --out quick.json --quick

The rows to train with and to judge by are the same for all; a seed fixes the start and the order of rows. What is
trained, a row of the results each:
- "network": 100 hidden units, everybody with its own defaults, judged after every epoch or iteration by the accuracy on
  a fifth of the rows. Target: what MLPClassifier comes to in the end, the mean over seeds, less 0.002. It comes first,
  as its result has to be known; then everybody else takes turns. Who is no network tries to reach it, too.
- "objective": the same network, everybody minimising one objective. Target: 1.01 times the smallest value seen.
- "linear": the linear model, one objective. Targets: 1.0001 times its optimum, and the optimum's accuracy less 0.002.
- "defaults": whole fits at all defaults, nobody looking.
- "batches": microseconds a mini-batch of Adam in a long training, of JAX and of spiralnn.
The clock stands still while the judge looks, compilation is counted apart, and what is too slow is cut off at a cap:
whoever was, short of the target, with the first seed does not try again with the others.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import datasets  # noqa: E402
import fits  # noqa: E402
from judging import Clock, Judge, first_reached, thinned  # noqa: E402
from trainers import (  # noqa: E402
    MANY,
    SGD,
    Boosting,
    CompiledPyTorch,
    Jax,
    LogisticLbfgs,
    LogisticNewton,
    MLPAdam,
    MLPLbfgs,
    Own,
    OwnDefaults,
    PyTorch,
    Task,
    import_error,
    jax_dtype,
    jax_epoch,
    jax_start,
    our_settings,
)

from spiralnn.files.results import BadResults, save  # noqa: E402
from spiralnn.scaling import hardware  # noqa: E402

PEERS = {"scikit-learn": "scikit-learn", "PyTorch": "torch", "JAX": "jax"}
# Set before anything is imported, in a process of its own. JAX has a pool of threads by NPROC beside that of Eigen.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC", "NUMBA_NUM_THREADS"), "1"
) | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
CHILD = "TIME_TO_RESULT_CHILD"  # says that it is this process

HIDDEN = 100
SEEDS = 3
SHORT_BY = 0.002  # of the accuracy of MLPClassifier, or of the linear model's optimum
CLOSE = {"objective": 1.01, "linear": 1.0001}  # times the best objective
REG = 1e-4  # where all have the same objective
AIMS = {
    "network": {"accuracy": "accuracy"},
    "objective": {"objective": "objective"},
    "linear": {"linear accuracy": "accuracy", "linear objective": "objective", "accuracy": "accuracy"},
}  # of each task: its targets, and what each is judged by
CAP = {"network": 8.0, "objective": 4.0, "linear": 8.0}  # seconds of a fit, of all but MLPClassifier's own
SPARSE = 1.01  # times the seconds of the lap that was judged last: the objective of all rows takes a judge long
GO_ON = 1.5  # a peer that could go on for ever ends after so many times the seconds to its target
OBJECTIVE_SETS = ("digits", "penbased")  # nobody but L-BFGS gets there within a cap, so two show it
LONG_SETS = {"synthetic": 5}  # epochs of MLPClassifier, of which 200 would take minutes; and one seed

NETWORKS = [
    MLPLbfgs(), PyTorch("float32"), PyTorch("float64"), CompiledPyTorch("float32"),  # compiles a quarter of a minute
    Jax("float32"), Jax("float64"), Jax("float32", our_settings), Boosting(),
    Own("auto"), Own("auto", "float32"), Own("adam"), Own("adam", "float32"), Own("lbfgs"), Own("lbfgs", "float32"),
    Own("auto", columns="raw"),
]  # fmt: skip
SAME_OBJECTIVE = [MLPAdam(), MLPLbfgs(), PyTorch("float64"), Jax("float64"), Own("adam"), Own("lbfgs")]
LINEAR = [
    LogisticLbfgs(), LogisticNewton(), SGD(),
    Own("auto"), Own("auto", "float32"), Own("lbfgs"), Own("newton-cholesky"), Own("auto", columns="raw"),
]  # fmt: skip
DEFAULTS = [OwnDefaults(), OwnDefaults("float32")]
LINEAR_DEFAULTS = [LogisticLbfgs(), *DEFAULTS]

BATCH_SHAPES = ((28, 100, 2), (64, 100, 10), (784, 128, 10))  # D, H, K
BATCH_SIZES = (32, 200)
BATCHES = 50  # an epoch, which is one call of JAX
BATCH_SECONDS, BATCH_TURNS = 0.15, 5


# ------------------------------------------------------------------------------------------------------- one table


class Course:
    """All trainings on one table."""

    def __init__(self, name, table, seeds, cap_scale=1.0):
        self.name, self.seeds, self.cap_scale = name, seeds, cap_scale
        self.split = datasets.split(table, seed=0)
        self.fits, self.targets, self.skipped, self.too_slow = [], {}, {}, set()

    def run(self):
        """Rows of results: fits, targets, and who did not take part."""
        self.network()
        self.linear()
        if self.name in OBJECTIVE_SETS:
            self.objective()
        self.defaults()
        N, D = self.split.X.shape
        shared = {"set": self.name, "N": N, "D": D, "K": self.split.n_classes}
        targets = [{**shared, "target": name, "value": value} for name, value in self.targets.items()]
        skipped = [{"set": self.name, "trainer": who, "reason": why} for who, why in self.skipped.items()]
        return {"fits": [self._row(*fit) for fit in self.fits], "targets": targets, "skipped": skipped}

    def network(self):
        for seed in range(self.seeds):
            self.train("network", MLPAdam(), seed, hidden=HIDDEN, cap=math.inf, max_epochs=LONG_SETS.get(self.name))
        known = [clock.laps[-1].accuracy for _, _, _, clock, _ in self.fits]
        if known:
            self.targets["accuracy"] = statistics.mean(known) - SHORT_BY
        for seed in range(self.seeds):
            for trainer in NETWORKS:
                until = None if trainer.name.startswith("spiralnn") else self._until(accuracy="accuracy")
                self.train("network", trainer, seed, hidden=HIDDEN, until=until)

    def objective(self):
        first = len(self.fits)
        for seed in range(self.seeds):
            for trainer in SAME_OBJECTIVE:
                self.train("objective", trainer, seed, hidden=HIDDEN, reg=REG, by=("objective",), sparse=SPARSE)
        seen = [lap.objective for _, _, _, clock, _ in self.fits[first:] for lap in clock.laps]
        if seen:
            self.targets["objective"] = CLOSE["objective"] * min(seen)

    def linear(self):
        try:
            best, params = optimum(self.split)
        except ImportError:
            self.skipped["linear model"] = "its optimum takes SciPy to know"
            return
        self.targets["linear objective"] = CLOSE["linear"] * best
        self.targets["linear accuracy"] = self._judge("standardised").accuracy(params) - SHORT_BY
        for seed in range(self.seeds):
            for trainer in LINEAR:
                by, until = ("accuracy", "objective"), {"accuracy": "linear accuracy", "objective": "linear objective"}
                if isinstance(trainer, SGD) or trainer.columns == "raw":
                    by, until = ("accuracy",), {"accuracy": "linear accuracy"}
                self.train("linear", trainer, seed, reg=REG, by=by, until=self._until(**until), sparse=SPARSE)

    def defaults(self):
        for seed in range(self.seeds):
            for hidden, trainers in ((HIDDEN, DEFAULTS), (None, LINEAR_DEFAULTS)):
                for trainer in trainers:
                    self.train("defaults", trainer, seed, hidden=hidden)

    def train(self, goal, trainer, seed, *, hidden=None, reg=None, max_epochs=None, by=("accuracy",), **options):
        """One fit by one trainer, kept with its clock."""
        split, raw = self.split, trainer.columns == "raw"
        by = ("accuracy",) if raw else by  # in raw columns reg means something else
        task = Task(goal, split.raw if raw else split.X, split.y, split.n_classes, seed, hidden, reg, max_epochs)
        reason = trainer.why_not(task)
        if reason is not None:
            self.skipped[f"{trainer.name}, {goal}"] = reason
            return
        if (goal, trainer) in self.too_slow:
            return
        print(f"  {goal}, seed {seed}: {trainer.name}, {trainer.dtype}, {trainer.columns}", end="", file=sys.stderr)
        options.setdefault("cap", self.cap_scale * CAP.get(goal, math.inf))
        clock = Clock(self._judge(trainer.columns), by, **options)
        try:
            compiled = trainer.prepare(task)
            trainer.fit(task, clock)
        except Exception as error:  # one of many, whose failure is a result
            self.skipped[f"{trainer.name}, {goal}"] = f"{type(error).__name__}: {error}"
            print(f": {type(error).__name__}: {error}", file=sys.stderr)
            return
        self.fits.append((task, trainer, seed, clock, compiled))
        if clock.capped and None in self._reached(task, clock).values():
            self.too_slow.add((goal, trainer))
        print(f": {clock.seconds:.3g} s, {clock.n_laps} laps, {clock.laps[-1]}", file=sys.stderr, flush=True)

    def _until(self, **targets):
        """Ends a training some time after it reached every target, {what: its name}."""

        def until(laps):
            reached = [first_reached(laps, by, self.targets.get(name)) for by, name in targets.items()]
            return None not in reached and laps[-1].seconds >= GO_ON * max(reached)

        return until

    def _judge(self, columns):
        split = self.split
        X, X_test = (split.raw, split.raw_test) if columns == "raw" else (split.X, split.X_test)
        return Judge(X, split.y, X_test, split.y_test, REG)

    def _reached(self, task, clock):
        """{target: seconds, None where it was not reached} of the targets that this fit is judged by."""
        return {
            name: first_reached(clock.laps, by, self.targets[name])
            for name, by in AIMS.get(task.goal, {}).items()
            if by in clock.by and name in self.targets
        }

    def _row(self, task, trainer, seed, clock, compiled):
        last = clock.laps[-1]
        accuracy = last.accuracy if "accuracy" in clock.by else clock.judge.accuracy(clock.model)
        objective = last.objective if "objective" in clock.by or trainer.columns == "raw" else None
        if objective is None:
            objective = clock.judge.objective(clock.model)
        curve = [[_number(number) for number in lap] for lap in thinned(clock.laps)] if seed == 0 else []
        return {
            "task": task.goal, "set": self.name, "model": "linear" if task.hidden is None else "network",
            "trainer": trainer.name, "dtype": trainer.dtype, "columns": trainer.columns, "seed": seed,
            "max_epochs": task.max_epochs, "seconds": clock.seconds, "compile": compiled, "laps": clock.n_laps,
            "capped": clock.capped, "cpu": clock.cpu / clock.seconds, "accuracy": accuracy,
            "objective": _number(objective), "reached": self._reached(task, clock),
            "curve": curve,
        }  # fmt: skip


def _number(value):
    """Seven digits; None for NaN, which is no JSON."""
    return None if math.isnan(value) else float(f"{value:.7g}")


def optimum(split):
    """The linear model's smallest objective and its parameters, to far more digits than a target has.

    With reg > 0 the gradient bounds what is left: at most |g|^2 / (2 reg), but for the biases.
    """
    from scipy.optimize import minimize

    from spiralnn import Objective

    objective = Objective(split.X, split.y, n_classes=split.n_classes, reg=REG)
    options = {"maxiter": MANY, "maxfun": MANY, "ftol": 0, "gtol": 1e-8, "maxcor": 20}
    found = minimize(objective, np.zeros(objective.size), jac=True, method="L-BFGS-B", options=options)
    left = float(found.jac @ found.jac) / (2 * REG) / found.fun
    if left > (CLOSE["linear"] - 1) / 10:
        raise ArithmeticError(f"the optimum is known to {left:.0e} only")
    return float(found.fun), objective.unpack(found.x)


# -------------------------------------------------------------------------------------------------------- batches


def batches(turns=BATCH_TURNS):
    """Rows: microseconds a batch of Adam inside a training, everybody in turns."""
    rows = []
    for D, H, K in BATCH_SHAPES:
        for size in BATCH_SIZES:
            for dtype in ("float64", "float32"):
                random = np.random.RandomState(0)
                X = random.randn(BATCHES * size, D).astype(dtype)
                y = random.randint(K, size=len(X))
                calls = {"spiralnn": _own_batches(X, y, H, size)}
                if import_error("jax") is None:
                    calls["JAX"] = _jax_batches(X, y, H, K, size)
                taken = {who: [] for who in calls}
                for _ in range(turns):
                    for who, call in calls.items():
                        taken[who].append(call())
                shared = {"D": D, "H": H, "K": K, "batch": size, "dtype": dtype}
                rows += [
                    {**shared, "trainer": who, "median": statistics.median(seconds), "min": min(seconds)}
                    for who, seconds in taken.items()
                ]
                print(f"  batches: {shared} {taken}", file=sys.stderr, flush=True)
    return rows


def _per_batch(train):
    """A call that measures seconds a batch: train(epochs) often enough for a clock."""
    start = time.perf_counter()
    train(2)
    epochs = max(2, math.ceil(2 * BATCH_SECONDS / (time.perf_counter() - start)))

    def measure():
        start = time.perf_counter()
        train(epochs)
        return (time.perf_counter() - start) / (epochs * BATCHES)

    return measure


def _own_batches(X, y, H, size):
    import spiralnn

    def train(epochs):
        options = {"solver": "adam", "batch_size": size, "max_iter": epochs, "n_threads": 1, "random_state": 0}
        assert spiralnn.TwoLayerNet(hidden_size=H, **options).fit(X, y).n_iter_ == epochs

    train(1)
    return _per_batch(train)


def _jax_batches(X, y, H, K, size):
    import jax

    with jax_dtype(X.dtype.name):
        X, Y, start = jax_start(X, y, H, K, 0)
        rates = np.full(BATCHES, 1e-3, X.dtype)
        order = np.random.RandomState(0).permutation(len(y)).astype(np.int32).reshape(BATCHES, size)
        epoch = jax.jit(jax_epoch(our_settings(len(y))[-1])).lower(X, Y, order, rates, *start).compile()

    def train(epochs):
        with jax_dtype(X.dtype.name):
            state = start
            for _ in range(epochs):
                order = np.random.permutation(len(y)).astype(np.int32).reshape(BATCHES, size)
                state = epoch(X, Y, order, rates, *state)
            jax.block_until_ready(state)

    return _per_batch(train)


# -------------------------------------------------------------------------------------------------------- command


def measure(args):
    """All results; written after every table, so that a run that is ended leaves what it has."""
    results = {"machine": {**hardware.machine(PEERS), "command": args.command}, **{part: [] for part in fits.PARTS}}
    for name in args.sets:
        print(name, file=sys.stderr)
        try:
            table = datasets.load(name, args.wheels)
        except datasets.Unavailable as reason:
            results["skipped"].append({"set": name, "trainer": None, "reason": str(reason)})
            print(f"  {reason}", file=sys.stderr)
            continue
        seeds = 1 if name in LONG_SETS else args.seeds
        for part, rows in Course(name, table, seeds, 0.1 if args.quick else 1.0).run().items():
            results[part] += rows
        save(args.out, results)
    if not args.no_batches:
        results["batches"] = batches(2 if args.quick else BATCH_TURNS)
    save(args.out, results)
    return results


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="file that the results go to")
    parser.add_argument("--sets", nargs="+", choices=datasets.TABLES, help="only these tables")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"trainings of each (default: {SEEDS})")
    parser.add_argument("--wheels", type=Path, default=datasets.WHEELS, help="folder where fetched tables are kept")
    parser.add_argument("--quick", action="store_true", help="digits alone, one seed, a tenth of the caps")
    parser.add_argument("--no-batches", action="store_true", help="leave out the microseconds a mini-batch")
    args = parser.parse_args(argv)
    if CHILD not in os.environ:
        command = [sys.executable, str(HERE / "time_to_result.py"), *(sys.argv[1:] if argv is None else argv)]
        return subprocess.run(command, env={**os.environ, **ONE_THREAD, CHILD: "1"}).returncode
    args.command = "python bench/time_to_result.py" + " --quick" * args.quick  # what was measured, not where it lies
    args.command += f" --sets {' '.join(args.sets)}" if args.sets else ""
    args.command += f" --seeds {args.seeds}" * (args.seeds != SEEDS)
    args.sets = args.sets or (["digits"] if args.quick else list(datasets.TABLES))
    args.seeds = 1 if args.quick else args.seeds
    try:
        measure(args)
    except (BadResults, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
