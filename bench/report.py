"""From the results of a run to what people read: tables for a terminal, pages, figures.

Print and draw, and renew what the README says and the page of tables beside the figures:

    python bench/report.py bench/results/latest.json --readme README.md

Results of time_to_result.py that lie beside the file, as fits.json, come first in all of it.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import fit_tables
import fits
from records import (
    ALL,
    DEFAULT,
    LEAD,
    MODELS,
    ONE,
    OPERATIONS,
    REFERENCE,
    SINGLE,
    by_problem,
    duration,
    efficiency,
    faster_ones,
    fastest_peer,
    grouped,
    lead,
    load,
    seconds,
    speedup,
    three_digits,
)

from spiralnn.files.results import BadResults

OPERATION_SIZES = (300, 30_000, 1_000_000)  # of the operations one by one: few, some and many rows
LEAD_FIGURE, FITS_FIGURE = "lead.png", "accuracy.png"
SHORT = {REFERENCE: "NumPy", ONE: "fused, 1 thread", ALL: "all threads"}


def sections(results):
    """The tables of a run: (title, heads, rows of text)."""
    steps = by_problem(results["interleaved"], "step")
    predictions = by_problem(results["interleaved"], "predict")
    network, linear = ({k: v for k, v in steps.items() if k.model == model} for model in ("two_layer", "linear"))
    tables = [
        ("One step of the network (loss, gradients, update), everybody in turns. E: share of the multiply-add rate. "
         "× NumPy, × peer: times faster, on all threads, than NumPy and than the fastest peer. Plain Numba: "
         "kernels/plain.py, the same fused step as ordinary loops.",
         *_everybody(network, with_efficiency=True)),
        ("One step of the linear model.", *_everybody(linear, with_efficiency=False)),
        ("Prediction, the class of every row.", *_prediction(predictions)),
        ("The same number of steps of the network by everybody, float64.", *_lead(results)),
        ("Every operation on its own, float64: NumPy / fused on all threads.", *_operations(results["rows"])),
        ("Whole processes.", ["what", "with", "measured"], _processes(results)),
        ("A busy machine: a fit of the network with default threads: its median; median and mean as parts of those "
         "with n_threads=1, in turns, beside so many processes that only compute.", *_load(results)),
        ("Where somebody else was faster in this run.", *_slower(_everything(results))),
    ]  # fmt: skip
    return [table for table in tables if table[2]]


def _everything(results):
    """All that was timed, {Problem: {implementation: row}}; of two measurements the one in turns."""
    return {**by_problem(results["rows"]), **by_problem(results["interleaved"])}


def text(results, found=None):
    """The tables for a terminal. found: results of time_to_result.py."""
    lines = []
    for machine, tables in _everything_found(results, found):
        lines += ["", *machine] if lines else machine
        for title, heads, rows in tables:
            heads = [head.replace("<br>", " ") for head in heads]
            widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
            lines += ["", title]
            for row in (heads, *rows):
                lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def page(results, drawn, found=None):
    """All tables and figures as a page of their own. drawn: {file beside it: what it shows}."""
    parts = ["# The benchmark in full"]
    for machine, tables in _everything_found(results, found):
        parts += machine
        for title, heads, rows in tables:
            parts += [title, _markdown(heads, rows)]
    parts += [f"![{shown}]({name})" for name, shown in drawn.items()]
    return "\n\n".join(parts) + "\n"


def _everything_found(results, found):
    """(lines about the machine, tables) of both kinds of results."""
    parts = [] if found is None else [([_machine_line(found["machine"])], fit_tables.sections(found))]
    return [*parts, ([_machine_line(results["machine"]), *_limit_lines(results["limits"])], sections(results))]


def readme_blocks(results, drawn, folder, found=None):
    """What the README says of a run, {marker: text}; the figure and the page of tables lie in the folder.

    It leads with the seconds to a result where these are found, else with those of the same number of steps.
    """
    heads, rows = _lead(results)
    blocks = {"benchmark": [], "losses": []}
    if found is not None:
        shown = drawn.get(FITS_FIGURE)
        blocks["benchmark"] += [f"![{shown}]({folder}/{FITS_FIGURE})"] * bool(shown)
        for title, *table in fit_tables.lead(found):
            blocks["benchmark"] += [title, _markdown(*table)]
        blocks["benchmark"].append(_machine_line(found["machine"]))
    elif rows:
        shown = drawn.get(LEAD_FIGURE)
        blocks["benchmark"] += [f"![{shown}]({folder}/{LEAD_FIGURE})"] * bool(shown)
        blocks["benchmark"] += [_markdown(heads, rows), _machine_line(results["machine"])]
    lost = {}
    for what, model, shape, dtype, ours, faster in _slower(_everything(results))[1]:
        lost.setdefault(f"{what}, {model}".removesuffix(", "), []).append(f"{shape} {dtype}: {ours}, {faster}")
    for what, which, ours, sooner in fit_tables.slower(found)[1] if found is not None else []:
        lost.setdefault(f"seconds to a result: {what}", []).append(f"{which}: {ours}, {sooner}")
    rows = [[what, "; ".join(where)] for what, where in lost.items()]
    heads = ["operation", "where: spiralnn on all threads, who was faster"]
    blocks["losses"].append(_markdown(heads, rows) if rows else "In this run nobody was.")
    return {marker: "\n\n".join(parts) for marker, parts in blocks.items()}


def rewrite_readme(path, blocks):
    """Put each block between its two markers in the file."""
    text = Path(path).read_text(encoding="utf-8")
    for marker, block in blocks.items():
        start, end = f"<!-- {marker}:start -->", f"<!-- {marker}:end -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise BadResults(f"{path}: no {start} ... {end} to write between")
        text = f"{before}{start}\n{block}\n{end}{after}"
    Path(path).write_text(text, encoding="utf-8")


def _markdown(heads, rows):
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *rows])


def draw(results, folder, found=None):
    """Draw what the results are enough for into the folder; {file: what it shows}, empty without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no figures: matplotlib is not installed", file=sys.stderr)
        return {}
    import fit_figures
    from figures import FIGURES

    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    if found is not None:
        pictures |= {name: (shown, figure(found)) for name, (shown, figure) in fit_figures.FIGURES.items()}
    for name, (shown, parts, figure) in FIGURES.items():
        pictures[name] = shown, figure(results) if all(results[part] for part in parts) else None
    drawn = {}
    for name, (shown, picture) in pictures.items():
        if picture is not None:
            picture.savefig(folder / name, dpi=120)
            drawn[name] = shown
    return drawn


def publish(results, figures, readme=None, found=None):
    """Print the tables, draw the figures into a folder, and renew the page there and the README if asked."""
    print(text(results, found))
    figures = Path(figures)
    drawn = draw(results, figures, found)
    if readme is not None:
        folder = os.path.relpath(figures, Path(readme).resolve().parent).replace(os.sep, "/")
        rewrite_readme(readme, readme_blocks(results, drawn, folder, found))
        (figures / "README.md").write_text(page(results, drawn, found), encoding="utf-8")


def _times(ratio):
    return "-" if ratio is None else f"{three_digits(ratio)} x"


def _time(measured, name):
    return duration(seconds(measured[name])) if name in measured else "-"


def _shape(key):
    return ", ".join(grouped(size) for size in key[2:6] if size is not None)


def _lead(results):
    """Heads and rows: everybody's time for the same number of steps, the slowest at the case study first."""
    table = lead(results["interleaved"])
    keys = list(dict.fromkeys(key for taken in table.values() for key in taken))
    heads = ["", *(f"{grouped(LEAD[tuple(key[2:6])])} steps, {grouped(key.N)} x {key.D}" for key in keys)]
    order = sorted(table, key=lambda who: -table[who].get(keys[0], 0.0)) if keys else []
    return heads, [[who, *(duration(table[who][key]) if key in table[who] else "-" for key in keys)] for who in order]


def _everybody(table, *, with_efficiency):
    """Heads and rows: times of all, what the fused kernels reach, and how far ahead of the fastest peer they are."""
    names = list(dict.fromkeys(name for measured in table.values() for name in measured))
    names = [name for name in names if name not in (ONE, ALL)] + [ONE, ALL]
    heads = ["N, D, H, K" if with_efficiency else "N, D, K", "dtype", *(SHORT.get(name, name) for name in names)]
    heads += (["E, 1 thread", "E, all"] if with_efficiency else []) + ["× NumPy", "× peer"]
    rows = []
    for key, measured in table.items():
        cells = [_shape(key), key.dtype, *(_time(measured, name) for name in names)]
        if with_efficiency:
            cells += [f"{efficiency(measured[name]):.2f}" if name in measured else "-" for name in (ONE, ALL)]
        peer = fastest_peer(measured)
        rows.append([*cells, _times(speedup(measured, ALL)), _times(speedup(measured, ALL, peer))])
    return heads, rows


def _prediction(table):
    heads = ["N, D, H, K or N, D, K", "dtype", "NumPy", "fastest peer", SHORT[ONE], SHORT[ALL], "× peer"]
    rows = []
    for key, measured in table.items():
        peer = fastest_peer(measured)
        fastest = "-" if peer is None else f"{SHORT.get(peer, peer)} {_time(measured, peer)}"
        times = _time(measured, REFERENCE), fastest, _time(measured, ONE), _time(measured, ALL)
        rows.append([_shape(key), key.dtype, *times, _times(speedup(measured, ALL, peer))])
    return heads, rows


def _operations(rows):
    """An operation a row, a number of rows a column."""
    table = {}
    for key, measured in by_problem(rows).items():
        if key.dtype == "float64" and key.operation in OPERATIONS and key.operation != "step":
            table.setdefault((key.operation, key.model), {})[key.N] = measured
    sizes = [N for N in OPERATION_SIZES if any(N in cells for cells in table.values())]
    heads = ["operation", "model", *(f"{grouped(N)} rows" for N in sizes)]
    cells = []
    for (operation, model), by_size in table.items():
        measured = [by_size.get(N, {}) for N in sizes]
        times = [f"{_time(m, REFERENCE)} / {_time(m, ALL)} ({_times(speedup(m, ALL))})" for m in measured]
        cells.append([OPERATIONS[operation], MODELS[model], *times])
    return heads, cells


def _processes(results):
    """What was measured of whole processes: what, with what, how much."""
    first = [row for row in results["rows"] if row["operation"] == "first call"]
    cells = [["first fit of a process", _named(row), duration(row["compile"])] for row in first]
    cells += [[row["job"], row["implementation"], duration(row["median"])] for row in results["processes"]]
    for row in results["memory"]:
        who = f"{_named(row)}, {grouped(row['N'])} rows of {row['D']}"
        cells.append(["peak memory beside X and y", who, f"{row['bytes'] / 2**20:.1f} MiB"])
    return cells


def _load(results):
    """A job a row, a number of busy processes a column."""
    table = {}
    for row in results["load"]:
        shape = ", ".join(grouped(row[name]) for name in ("N", "D", "H", "K"))
        table.setdefault((row["job"], shape, row["solver"]), {}).setdefault(row["busy"], {})[row["threads"]] = row
    counts = sorted({n for by_busy in table.values() for n in by_busy})
    heads = ["job", "N, D, H, K", "solver", *(f"{n} busy" for n in counts)]

    def cell(pair):
        default, one = pair.get(DEFAULT), pair.get(SINGLE)
        if default is None or one is None:
            return "-"
        ratios = (default[name] / one[name] for name in ("median", "mean"))
        return f"{duration(default['median'])}: {', '.join(f'{ratio:.2f}' for ratio in ratios)}"

    return heads, [[*key, *(cell(by_busy.get(n, {})) for n in counts)] for key, by_busy in table.items()]


def _named(row):
    return f"{MODELS[row['model']]}, {row['implementation']}"


def _slower(table):
    heads = ["operation", "model", "shape", "dtype", SHORT[ALL], "faster"]
    rows = []
    for key, measured in table.items():
        names = faster_ones(measured) if key.operation in OPERATIONS else []
        if names:
            faster = f"{SHORT.get(names[0], names[0])} {_time(measured, names[0])}"
            if len(names) > 1:
                faster += f", and {len(names) - 1} more"
            what = OPERATIONS[key.operation], MODELS[key.model]
            rows.append([*what, _shape(key), key.dtype, _time(measured, ALL), faster])
    return heads, rows


def _limit_lines(limits):
    """What the machine could do, a line; nothing when it was not measured."""
    shown = [
        f"{row['dtype']} on {row['threads']} thread{'s' * (row['threads'] > 1)} {row['flops'] / 1e9:.0f} Gflop/s and "
        f"{row['bandwidth'] / 1e9:.1f} GB/s"
        for row in limits
    ]
    return [f"Limits of the machine, measured in the same run: {'; '.join(shown)}."] if shown else []


def _machine_line(machine):
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, {versions}; `{machine['command']}`, {machine['date']}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("json", type=Path, help="results of a run")
    parser.add_argument("--figures", type=Path, help="folder for the figures (default: where the JSON lies)")
    parser.add_argument("--readme", type=Path, help="file to renew between its markers, with the page of tables")
    args = parser.parse_args(argv)
    try:
        publish(load(args.json), args.figures or args.json.parent, args.readme, fits.load_beside(args.json))
    except (BadResults, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
