"""What tests of `spiralnn scale` share: settings, limits by word, small runs."""

import json
from pathlib import Path

from spiralnn import cli
from spiralnn.kernels.models import Model
from spiralnn.scaling import results
from spiralnn.scaling.cases import Case, Settings
from spiralnn.scaling.hardware import Limits

LIMITS = {(dtype, n): Limits(5e10 * n, 3e10) for dtype in ("float64", "float32") for n in (1, 2)}
LINEAR, NETWORK = Model(2, 0, 3), Model(2, 100, 3)


def settings(**changes):
    default = Settings(
        shapes=[LINEAR, NETWORK], dtypes=["float64"], solvers=["gd"], sizes=[1000, 10**5, 10**7], explicit=False,
        threads=[1, 2], ranks=[], threads_per_rank=1, mpiexec="mpiexec", out_of_core=False, budget=1e6, memory=1 << 40,
        out=Path("out"), scratch=Path("out"), resume=False, reference=True, figures=False, page=False, fit=0,
    )  # fmt: skip
    return default._replace(**changes)


def case(N, *, H=100, D=2, K=3, dtype="float64", solver="gd", place="memory", ranks=0, threads=1):
    return Case(D, H, K, dtype, N, solver, place, ranks, threads)


def row(of, median=1.0, ran=None, **changes):
    """A line of results, of one second a pass unless told otherwise."""
    values = {
        "ran": of.workers if ran is None else ran, "implementation": of.implementation, "median": median,
        "fastest": median, "rounds": 3, "steps": 1, "ns_per_row": 1e9 * median / of.N, "vectors": None, "launch": 1e-6,
        "limit": "arithmetic", "share": 0.5, "peak_bytes": 0, "losses": [1.0, 0.9],
    }  # fmt: skip
    return results.Row(**of._asdict(), **values | changes)


def rows_of(folder):
    content = json.loads((folder / "scale.json").read_text())
    return [results.Row(**line) for line in content["rows"]]


SMALL = ("--sizes=200", "--threads=1", "--hidden=5", "--dtype=float64", "--no-figures")


def scale(tmp_path, capsys, *options, small=SMALL):
    """(exit code, stdout, stderr) of a small run within this process."""
    code = cli.main(["scale", *small, f"--out={tmp_path}", *options])
    return code, *capsys.readouterr()


def assert_one_line(result, *parts):
    code, _, err = result
    assert code == 1 and len(err.splitlines()) == 1 and err.startswith("spiralnn scale: error: ")
    assert all(part in err for part in parts), err
