"""`spiralnn bench`: run the suite, measure the headline ratios, write one JSON, print and draw it.

Also on its own: `python bench/run.py --quick`.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # this folder is no package: the command loads this file by its path

import report  # noqa: E402


def add_arguments(parser):
    parser.add_argument("--json", type=Path, help="where results go (default: bench/results/latest.json or quick.json)")
    parser.add_argument("--figures", type=Path, help="folder for the figure (default: where the JSON goes)")
    parser.add_argument("--quick", action="store_true", help="up to 30 000 rows and fewer rounds: a minute or two")
    parser.add_argument("--report-only", type=Path, metavar="JSON", help="print and draw these results, run nothing")


def run(args):
    try:
        if args.report_only:
            report.publish(report.load(args.report_only), args.figures or args.report_only.parent)
            return 0
        missing = [name for name in ("pytest", "pytest_benchmark") if importlib.util.find_spec(name) is None]
        if missing:
            raise report.BadResults(f"the suite needs {' and '.join(missing)}: pip install 'spiralnn[bench]'")
        path = args.json or HERE / "results" / ("quick.json" if args.quick else "latest.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()  # cannot be written: better known now than in minutes
        results = measure(args.quick)
        report.save(results, path)
        report.publish(results, args.figures or path.parent)
    except (report.BadResults, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        print(f"a measurement failed, nothing written: {reason[0]}", file=sys.stderr)
        return 1
    return 0


def measure(quick):
    """All results of one run."""
    import compare

    rows = suite(quick)
    print("measuring in turns", file=sys.stderr)
    return {"machine": machine(quick), "rows": rows, **compare.measure(quick)}


def suite(quick):
    """The rows of test_speed.py; of every row's rounds only what is reported."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw.json")
        options = ["--largest=30000", "--budget=0.05"] if quick else []
        command = [sys.executable, "-m", "pytest", str(HERE / "test_speed.py"), "-q", "--benchmark-only"]
        command += ["--benchmark-quiet", f"--benchmark-json={raw}", "-p", "no:cacheprovider", *options]
        subprocess.run(command, check=True)
        benchmarks = json.loads(raw.read_text())["benchmarks"]
    kept = "min", "median", "rounds", "iterations"
    return [{**row["extra_info"], **{key: row["stats"][key] for key in kept}} for row in benchmarks]


def machine(quick):
    import numba
    import numpy

    import spiralnn

    versions = {"Python": platform.python_version(), "NumPy": numpy.__version__, "Numba": numba.__version__}
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "versions": {"spiralnn": spiralnn.__version__, **versions},
        "command": "spiralnn bench --quick" if quick else "spiralnn bench",
        "date": datetime.date.today().isoformat(),
    }


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
