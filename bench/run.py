"""`spiralnn bench`: run all parts, write one JSON, print and draw it.

Also on its own: `python bench/run.py --quick`. One part alone, renewed in a file: `--parts sweep --json results.json`.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PEERS = {"scikit-learn": "scikit-learn", "PyTorch": "torch", "JAX": "jax"}  # as people call them, as pip does

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # this folder is no package: the command loads this file by its path

import records  # noqa: E402
import report  # noqa: E402

from spiralnn import resources  # noqa: E402
from spiralnn.files.results import BadResults, save  # noqa: E402
from spiralnn.scaling import hardware  # noqa: E402


def add_arguments(parser):
    parser.add_argument("--json", type=Path, help="where results go (default: bench/results/latest.json or quick.json)")
    parser.add_argument("--figures", type=Path, help="folder for the figures (default: where the JSON goes)")
    parser.add_argument("--quick", action="store_true", help="small problems and fewer rounds: a minute or two")
    parser.add_argument("--parts", nargs="+", choices=records.PARTS, help="measure only these, in a file of results")
    parser.add_argument("--report-only", type=Path, metavar="JSON", help="print and draw these results, run nothing")


def run(args):
    try:
        if args.report_only:
            report.publish(records.load(args.report_only), args.figures or args.report_only.parent)
            return 0
        parts = args.parts or list(records.PARTS)
        missing = [name for name in ("pytest", "pytest_benchmark") if importlib.util.find_spec(name) is None]
        if missing and "rows" in parts:
            raise BadResults(f"the suite needs {' and '.join(missing)}: pip install 'spiralnn[bench]'")
        path = args.json or HERE / "results" / ("quick.json" if args.quick else "latest.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()  # cannot be written: better known now than in minutes
        results = records.load(path) if args.parts else {}
        results = measure(args.quick, parts, results)
        save(path, results)
        report.publish(results, args.figures or path.parent)
    except (BadResults, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        print(f"a measurement failed, nothing written: {reason[0]}", file=sys.stderr)
        return 1
    return 0


def measure(quick, parts, known):
    """What is known, with these parts measured anew."""
    import busy_machine
    import compare
    import processes
    import sweep

    measures = {"limits": machine_limits, "rows": suite, "interleaved": compare.measure, "sweep": sweep.measure}
    measures |= {"processes": processes.processes, "memory": processes.memory, "load": busy_machine.measure}
    results = {"machine": described(parts, known)}
    for part in records.PARTS:
        if part in parts:
            print(f"measuring: {part}", file=sys.stderr)
        results[part] = measures[part](quick) if part in parts else known[part]
    return results


def described(parts, known):
    """Where, how and when; BadResults where parts that stay were measured on another machine or with other versions."""
    machine = hardware.machine(PEERS)
    if set(parts) == set(records.PARTS):
        return machine
    then = known["machine"]
    other = [name for name in ("cpu", "cores", "versions") if then[name] != machine[name]]
    if other:
        raise BadResults(f"the parts that stay were measured with other {' and '.join(other)}: measure all of them")
    return {**machine, "command": then["command"]}  # of the parts that stay


def machine_limits(quick):
    """Rows: flops a second of multiply-adds and bytes a second read, of one thread and of all."""
    rows = []
    for dtype in ("float64", "float32"):
        for threads in sorted({1, resources.available_threads()}):
            measured = hardware.measure(dtype, threads)
            rows.append({"dtype": dtype, "threads": threads, **measured._asdict()})
    return rows


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


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
