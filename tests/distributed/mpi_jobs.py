"""What ranks do in tests: `mpiexec -n P python mpi_jobs.py JOB ...`. Rank 0 answers with a line of JSON."""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np

from spiralnn import SoftmaxClassifier, TwoLayerNet, cli
from spiralnn.engine import folding
from spiralnn.engine.statistics import SomeRows
from spiralnn.resources import available_threads
from spiralnn.rows.rows import Rows
from spiralnn.rows.source import Memory

N = 5001


def data(dtype="float64", n=N):
    """(X, y, weights): three classes, one of which only the last rows have."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(n, 3)).astype(dtype)
    y = rng.integers(0, 2, n)
    y[-3:] = 2
    return X, y, rng.random(n)


def model(kind, solver, **settings):
    made = SoftmaxClassifier() if kind == "linear" else TwoLayerNet(hidden_size=5)
    return made.set_params(**{"solver": solver, "max_iter": 4, "random_state": 3, **settings})


def digest(fitted):
    sha = hashlib.sha256()
    for array in (*fitted.coefs_, *fitted.intercepts_, np.array(fitted.loss_curve_)):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


class Case(NamedTuple):
    kind: str
    solver: str
    dtype: str
    weighted: bool

    def fit(self, rows=None, n=N, **arguments):
        """rows(X, y, weights) makes what is fitted of arrays; None: they are."""
        X, y, weights = data(self.dtype, n)
        given = (X, y, weights if self.weighted else None)
        return model(self.kind, self.solver).fit(*(given if rows is None else [rows(*given)]), **arguments)


CASES = [
    Case(kind, solver, dtype, weighted)
    for kind in ("linear", "network")
    for solver in ("gd", "lbfgs")
    for dtype in ("float64", "float32")
    for weighted in (False, True)
]
FEW = 300  # rows in two leaves: fewer than ranks


def part_of(cuts, rank):
    """A function that makes a rank's part of arrays cut at these rows; who has no rows knows nothing of them."""
    own = slice(cuts[rank], cuts[rank + 1])

    def part(X, y, weights):
        if cuts[rank] == cuts[rank + 1]:
            return Rows.of(np.empty((0, 0)), np.empty(0)).as_part()
        return Rows.of(X[own], y[own], None if weights is None else weights[own]).as_part()

    return part


def cut_everywhere(size, n):
    """Rows where parts begin and end: at random, all with the last rank or the first, some of 5 rows."""
    some = np.random.default_rng(size).integers(0, n, size - 1)
    return [
        [0, *sorted(some.tolist()), n],
        [0, *[0] * (size - 1), n],
        [0, *[n - 1002 + 5 * i for i in range(size - 1)], n],
        [0, *[n] * (size - 1), n],
        [0, *[5 * i for i in range(1, size)], n],
    ]


def same_bits(comm, path):
    """Digests by case, and the cases in which one rank came to another. path: of a checkpoint to go on from."""
    found, different = {}, []
    cuttings = cut_everywhere(comm.size, N)
    for i, case in enumerate(CASES):
        own = digest(case.fit(communicator=comm))
        cuts = cuttings[i % len(cuttings)]
        others = comm.allgather([own, digest(case.fit(part_of(cuts, comm.rank), communicator=comm))])
        found[str(case)] = own
        different += [f"{case} {cuts}"] * (set(sum(others, [])) != {own})
    for n in (FEW, 7):
        for case in CASES[1::3]:
            cuts = cut_everywhere(comm.size, n)[0]
            found[f"{n} {case}"] = digest(case.fit(n=n, communicator=comm))
            if digest(case.fit(part_of(cuts, comm.rank), n=n, communicator=comm)) != found[f"{n} {case}"]:
                different.append(f"{n} {case}")
    X, y, _ = data()
    drawn = digest(model("network", "lbfgs", random_state=None).fit(X, y, communicator=comm))
    if len(set(comm.allgather(drawn))) > 1:
        different.append("random_state=None")
    labels = np.array(["a", "bb", "ccc"])[y]
    own = slice(*part_bounds(comm))
    narrow = labels[own].astype(f"<U{max(map(len, labels[own].tolist()))}")  # of another width on each rank
    fitted = model("linear", "gd").fit(Rows.of(X[own], narrow).as_part(), communicator=comm)
    found["labels"] = [digest(fitted), fitted.classes_.tolist()]
    judged = model("network", "gd", early_stopping=True)
    judged.fit(X, y, validation=Rows.of(X[own], y[own]).as_part(), communicator=comm)
    found["judged"] = judged.validation_loss_curve_
    if path:
        resumed = model("network", "lbfgs", max_iter=12).fit(X, y, checkpoint=path, resume=True, communicator=comm)
        found["resumed"] = digest(resumed)
    return {"digests": found, "different": different}


def part_bounds(comm):
    return N * comm.rank // comm.size, N * (comm.rank + 1) // comm.size


def talk(comm, path):
    """What is printed and kept, and by whom: a fit that a callback of rank 0 ends after step 2."""
    from spiralnn.distributed.communicator import Communicator

    X, y, _ = data()
    printed = io.StringIO()
    stops = (lambda step, loss, model: step == 2) if comm.rank == 0 else None
    with contextlib.redirect_stdout(printed):
        fitted = model("network", "lbfgs", max_iter=12, verbose=1, callback=stops).fit(
            X, y, checkpoint=path, communicator=comm
        )
    return {
        "printed": comm.allgather(len(printed.getvalue().splitlines())),
        "steps": comm.allgather(fitted.n_iter_),
        "threads": comm.allgather(Communicator.of(comm).threads(None)),
        "wanted threads": comm.allgather(Communicator.of(comm).threads(3)),
        "cpus": available_threads(),
        "read": comm.allgather(rows_read(comm, X, y)),
        "interrupted": comm.allgather(interrupted(comm, X, y)),
    }


def rows_read(comm, X, y):
    """The first row that this rank reads in a fit, and where the last ends."""
    seen = []

    class Watched(Memory):
        def read(self, start, stop, buffer=None):
            seen.append((start, stop))
            return super().read(start, stop)

    model("linear", "lbfgs").fit(Rows(Watched(X), Watched(y)), communicator=comm)
    return min(start for start, _ in seen), max(stop for _, stop in seen)


def interrupted(comm, X, y):
    """Steps of a fit in whose fifth pass rank 1 gets a SIGINT, and the warning that tells so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    read = Rows.features

    def features(*arguments):
        Rows.features = read
        os.kill(os.getpid(), signal.SIGINT)
        return read(*arguments)

    def callback(step, loss, fitted):
        if step == 3 and comm.rank == 1:
            Rows.features = features

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fitted = model("linear", "gd", max_iter=30, n_threads=1, callback=callback).fit(X, y, communicator=comm)
    return fitted.n_iter_, *(warning.category.__name__ for warning in told)


def slow(comm, seconds):
    """A first pass that takes rank 1 so long a piece of rows, of 8."""
    folding.PIECE_BYTES = 1
    own = Rows.checked_features

    def features(*arguments):
        if comm.rank == 1:
            time.sleep(float(seconds))
        return own(*arguments)

    Rows.checked_features = features
    return digest(CASES[0].fit(communicator=comm))


def refusals(comm):
    """What each rank says of rows and settings that do not go together: [type, message] by case."""
    from spiralnn.distributed.ranks import Ranks

    X, y, weights = data()
    odd = comm.rank == 1
    nan = X.copy()
    nan[4000, 1] = np.nan
    later, sooner = y.astype(float), y.astype(float)
    later[4990] = sooner[10] = np.nan
    own = slice(*part_bounds(comm))
    strange = np.where(odd & (y == 2), 9, y)
    negative = weights.copy()
    negative[3] = -1.0
    part = Rows.of(X[own], y[own]).as_part()
    wide = Rows.of(np.hstack([X, X])[own], y[own]).as_part()
    single = Rows.of(X[own].astype(np.float32), y[own]).as_part()
    words = Rows.of(X[own], y[own].astype(str)).as_part()
    broken = Rows.of(nan[own], y[own]).as_part()
    cases = {
        "D": lambda: model("linear", "gd").fit(X[:, :2] if odd else X, y, communicator=comm),
        "N": lambda: model("linear", "gd").fit(X[:-1] if odd else X, y[:-1] if odd else y, communicator=comm),
        "dtype": lambda: model("linear", "gd").fit(X.astype(np.float32) if odd else X, y, communicator=comm),
        "setting": lambda: model("linear", "gd", max_iter=9 if odd else 4).fit(X, y, communicator=comm),
        "solver": lambda: model("linear", "lbfgs" if odd else "gd").fit(X, y, communicator=comm),
        "model": lambda: model("network" if odd else "linear", "gd").fit(X, y, communicator=comm),
        "labels": lambda: model("linear", "gd").fit(X, strange if odd else y, communicator=comm),
        "labels' dtype": lambda: model("linear", "gd").fit(X, y.astype(str) if odd else y, communicator=comm),
        "weights": lambda: model("linear", "gd").fit(X, y, weights if odd else None, communicator=comm),
        "validation": lambda: model("linear", "gd").fit(X, y, validation=(X[odd:], y[odd:]), communicator=comm),
        "length of y": lambda: model("linear", "gd").fit(X, y[:-1] if odd else y, communicator=comm),
        "part": lambda: model("linear", "gd").fit(part if odd else Rows.of(X, y), communicator=comm),
        "D of a part": lambda: model("linear", "gd").fit(wide if odd else part, communicator=comm),
        "dtype of a part": lambda: model("linear", "gd").fit(single if odd else part, communicator=comm),
        "labels of a part": lambda: model("linear", "gd").fit(words if odd else part, communicator=comm),
        "no rows": lambda: model("linear", "gd").fit(Rows.of(X[:0], y[:0]).as_part(), communicator=comm),
        "NaN": lambda: model("linear", "gd").fit(nan, y, communicator=comm),
        "NaN in a part": lambda: model("linear", "gd").fit(broken, communicator=comm),
        "first of two": lambda: model("linear", "gd").fit(
            X, np.where(np.isnan(later), later, sooner), communicator=comm
        ),
        "weight": lambda: model("linear", "gd").fit(X, y, negative, communicator=comm),
        "batches": lambda: model("linear", "adam").fit(X, y, communicator=comm),
        "parameters": lambda: Ranks(Rows.of(X, y), comm).total(SomeRows(N, 3, 8, (1,)), np.array([1.0 + odd])),
        "communicator": lambda: model("linear", "gd").fit(X, y, communicator="world"),
        "diverged": lambda: model("linear", "gd", step_size=1e300).fit(X, y, communicator=comm),
    }
    said = {}
    for name, case in cases.items():
        try:
            case()
            mine = ["nothing", ""]
        except Exception as error:
            mine = [type(error).__name__, str(error)]
        every = comm.allgather(mine)
        said[name] = every[0] if all(one == every[0] for one in every) else ["differs", str(every)]
    said["afterwards"] = digest(CASES[0].fit(communicator=comm))
    return said


# -------------------------------------------------------------------------------------------- faults


def hit(kind):
    """What befalls this rank."""
    if kind == "raise":
        raise LookupError("the culprit")
    if kind == "exit":
        sys.exit(3)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    seconds = os.environ["STOPPED_SECONDS"]
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)


def fault(comm, kind, when, path):
    """A fit with a checkpoint, in which something befalls one rank: before or in its first pass, after a step, or as
    rank 0 writes."""
    from spiralnn.engine import checkpoint
    from spiralnn.files import whole_file

    X, y, _ = data()
    culprit = 0 if when == "checkpoint" else 1
    step = {"step": 0, "middle": 25}.get(when)
    if when == "before" and comm.rank == culprit:
        hit(kind)
    if when == "start" and comm.rank == culprit:
        read = Rows.features

        def features(*arguments):
            Rows.features = read
            hit(kind)
            return read(*arguments)

        Rows.features = features
    if when == "checkpoint" and comm.rank == culprit:
        write, writes = checkpoint.array_file.write, []

        def slow(target, *arguments):
            writes.append(target)
            if len(writes) == 2:  # part of a file lies there
                replace = os.replace

                def cut(*names):
                    os.replace = whole_file.os.replace = replace
                    hit(kind)
                    return replace(*names)

                whole_file.os.replace = cut
            write(target, *arguments)

        checkpoint.array_file.write = slow

    def callback(n, loss, fitted):
        if n == step and comm.rank == culprit:
            hit(kind)

    fitted = model("network", "gd", max_iter=50, callback=callback)
    fitted.fit(X, y, checkpoint=path, checkpoint_every=0.0, communicator=comm)
    return {"digest": digest(fitted)}


def main():
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    warnings.simplefilter("ignore")
    name, *arguments = sys.argv[1:]
    if name == "command":
        sys.exit(cli.main(arguments))
    answer = {job.__name__: job for job in (same_bits, talk, slow, refusals, fault)}[name](comm, *arguments)
    if comm.rank == 0:
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
