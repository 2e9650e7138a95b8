"""From the results of a run to what people read: a text table, the README's tables, one figure.

Print and draw, and renew the README's part:

    python bench/report.py bench/results/latest.json --readme README.md
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

REFERENCE, ONE, ALL = "reference", "fused, 1 thread", "fused, all threads"
OPERATIONS = {"forward": "forward", "softmax": "softmax cross-entropy", "backward": "backward", "step": "full step",
              "training": "whole training"}  # fmt: skip
MODELS = {"linear": "linear", "two_layer": "network", "either": "either"}
START, END = "<!-- benchmark:start -->", "<!-- benchmark:end -->"
FIGURE = "speed.png"


class BadResults(ValueError):
    """The file is no result of a run; the message is one line."""


def load(path):
    """The results in a file, with every key the report uses known to be there."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        _require(results, ("machine", "rows", "interleaved", "processes", "memory"))
        _require(results["machine"], ("cpu", "cores", "versions", "command", "date"))
        for row in (*results["rows"], *results["interleaved"]):
            _require(row, ("operation", "model", "implementation", "N", "dtype", "steps", "median"))
            _positive(row["steps"], row["median"], row["N"])
            if row["operation"] == "first call":
                _require(row, ("compile",))
        for row in results["processes"]:
            _require(row, ("job", "implementation", "median"))
            _positive(row["median"])
        for row in results["memory"]:
            _require(row, ("model", "implementation", "N", "bytes"))
            _positive(row["N"], row["bytes"] + 1)
    except OSError as error:
        raise BadResults(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise BadResults(f"{path}: no benchmark results: {error}") from None
    return results


def save(results, path):
    """One row a line: compact, and a diff shows what changed."""
    parts = []
    for key, value in results.items():
        lines = ",\n  ".join(json.dumps(row) for row in value) if isinstance(value, list) else None
        parts.append(f'"{key}": ' + (json.dumps(value) if lines is None else f"[\n  {lines}\n ]"))
    Path(path).write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")


def _require(value, keys):
    if not isinstance(value, dict):
        raise TypeError(f"found {type(value).__name__} where an object with {', '.join(keys)} is expected")
    missing = [key for key in keys if key not in value]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")


def _positive(*numbers):
    if not all(isinstance(number, (int, float)) and number > 0 for number in numbers):
        raise ValueError(f"found {numbers} where positive numbers are expected")


def problems(rows):
    """Rows brought together a problem: {(operation, model, N, dtype): {implementation: seconds a step}}."""
    table = {}
    for row in rows:
        key = row["operation"], row["model"], row["N"], row["dtype"]
        table.setdefault(key, {})[row["implementation"]] = row["median"] / row["steps"]
    return table


def speedup(seconds, implementation):
    """Times faster than the reference; None where either was not measured."""
    if REFERENCE not in seconds or implementation not in seconds:
        return None
    return seconds[REFERENCE] / seconds[implementation]


def text(results):
    """The tables for a terminal."""
    machine = results["machine"]
    lines = [_machine_line(machine), ""]
    for title, rows in (("All operations, a step", results["rows"]), ("In turns, a step", results["interleaved"])):
        lines += [title, _line("operation", "model", "N", "dtype", "reference", "1 thread", "all", "1 thread", "all")]
        lines += [_line(*row) for row in _speedup_rows(rows)] + [""]
    lines += [f"{what}: {who}: {measured}" for what, who, measured in _process_rows(results)]
    return "\n".join(lines)


def markdown(results, figure=f"bench/results/{FIGURE}"):
    """The README's part: the figure, the headline ratios, every operation, whole processes, the machine."""
    heads = ["model", "N", "dtype", "NumPy", "fused, 1 thread", "all threads", "speedup, 1 thread", "all threads"]
    steps = [row[1:] for row in _speedup_rows(results["interleaved"])]
    sizes = {row["N"] for row in results["rows"] if row["operation"] == "step"}
    ends = {min(sizes), max(sizes)} if sizes else set()
    shown = [row for row in results["rows"] if row["N"] in ends and row["dtype"] == "float64"]
    parts = [
        f"![Time a step, speedup and nanoseconds a row against N]({figure})",
        "One step of gradient descent (loss, gradients, update), measured in turns:",
        _markdown_table(heads, steps),
        "Every operation on its own, a call, float64:",
        _markdown_table(["operation", *heads], _speedup_rows(shown)),
        "Whole processes:",
        _markdown_table(["what", "with", "measured"], _process_rows(results)),
        _machine_line(results["machine"]),
    ]
    return "\n\n".join(parts)


def rewrite_readme(path, block):
    """Put the block between the two markers of the file."""
    old = Path(path).read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(old):
        raise BadResults(f"{path}: no {START} ... {END} to write between")
    new = pattern.sub(lambda _: f"{START}\n{block}\n{END}", old, count=1)
    Path(path).write_text(new, encoding="utf-8")


def draw(results, path):
    """The network's full step: time against N, speedup, nanoseconds a row; one PNG of three panels."""
    from matplotlib.figure import Figure

    colors = {REFERENCE: "#555555", ONE: "#0072B2", ALL: "#D55E00"}  # told apart by colour-blind readers, too
    styles = {"float64": ("-", "o"), "float32": ("--", "s")}
    table = problems(results["rows"])
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    time, gain, row_cost = figure.subplots(1, 3)
    for implementation, color in colors.items():
        for dtype, (line, marker) in styles.items():
            keys = sorted(key for key in table if key[:2] == ("step", "two_layer") and key[3] == dtype)
            measured = {key[2]: table[key] for key in keys if implementation in table[key]}
            seconds = {N: step[implementation] for N, step in measured.items()}
            look = {"color": color, "linestyle": line, "marker": marker, "markersize": 4.5}
            time.plot(list(seconds), list(seconds.values()), label=f"{implementation}, {dtype}", **look)
            if implementation == REFERENCE:
                continue
            gains = {N: speedup(step, implementation) for N, step in measured.items() if REFERENCE in step}
            gain.plot(list(gains), list(gains.values()), **look)
            row_cost.plot(list(seconds), [1e9 * s / N for N, s in seconds.items()], **look)
    time.set(title="Time of a step, seconds", yscale="log")
    gain.set(title="Times faster than NumPy", ylim=(0, None))
    row_cost.set(title="Nanoseconds a row, fused", ylim=(0, None))
    for axes in (time, gain, row_cost):
        axes.set(xscale="log", xlabel="rows N")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"Two-layer network (D 2, H 100, K 3), full-batch step, {results['machine']['cpu']}")
    figure.savefig(path, dpi=120)


def duration(seconds):
    """Three digits and a unit: 0.0000161 is 16.1 µs."""
    units = ("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)
    unit, size = next((pair for pair in units if seconds >= 0.9995 * pair[1]), units[-1])
    return f"{_three_digits(seconds / size)} {unit}"


def _three_digits(value):
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


def _grouped(N):
    return f"{N:,}".replace(",", " ")


def _speedup_rows(rows):
    cells = []
    for (operation, model, N, dtype), seconds in problems(rows).items():
        if operation not in OPERATIONS:
            continue
        times = [duration(seconds[name]) if name in seconds else "-" for name in (REFERENCE, ONE, ALL)]
        gains = [speedup(seconds, name) for name in (ONE, ALL)]
        gains = ["-" if gain is None else f"{_three_digits(gain)} x" for gain in gains]
        cells.append([OPERATIONS[operation], MODELS[model], _grouped(N), dtype, *times, *gains])
    return cells


def _line(operation, model, N, dtype, *numbers):
    return f"{operation:22}{model:8}{N:>10}  {dtype:8}" + "".join(f"{number:>11}" for number in numbers)


def _markdown_table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _machine_line(machine):
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, {versions}; `{machine['command']}`, {machine['date']}"


def _process_rows(results):
    """What was measured of whole processes: what, with what, how much."""
    first = [row for row in results["rows"] if row["operation"] == "first call"]
    cells = [["first fit of a process", _named(row), duration(row["compile"])] for row in first]
    cells += [[row["job"], row["implementation"], duration(row["median"])] for row in results["processes"]]
    for row in results["memory"]:
        size = f"{row['bytes'] / 2**20:.1f} MiB"
        cells.append(["peak memory beside X and y", f"{_named(row)}, {_grouped(row['N'])} rows", size])
    return cells


def _named(row):
    return f"{MODELS[row['model']]}, {row['implementation']}"


def publish(results, figures, readme=None):
    """Print the tables, draw into the folder where matplotlib is installed, and renew the README if asked."""
    print(text(results))
    try:
        Path(figures).mkdir(parents=True, exist_ok=True)
        draw(results, Path(figures, FIGURE))
    except ImportError:
        print("no figure: matplotlib is not installed", file=sys.stderr)
    if readme is not None:
        link = os.path.relpath(Path(figures, FIGURE), Path(readme).resolve().parent).replace(os.sep, "/")
        rewrite_readme(readme, markdown(results, link))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("json", type=Path, help="results of a run")
    parser.add_argument("--figures", type=Path, help="folder for the figure (default: where the JSON lies)")
    parser.add_argument("--readme", type=Path, help="file to renew between the benchmark markers")
    args = parser.parse_args(argv)
    try:
        publish(load(args.json), args.figures or args.json.parent, args.readme)
    except (BadResults, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
