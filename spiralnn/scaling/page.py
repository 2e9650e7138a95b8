"""scale.md: all that a scaling run has measured and what follows from it for 10^9 and 10^12 rows, as a page."""

from collections.abc import Sequence
from pathlib import Path

from ..files.whole_file import unwritable, write_atomically
from ..kernels.models import Model
from ..solvers.choice import GD, LBFGS
from . import forecast_report, rates, report
from .cases import DISK, FILES, ScalingError, Settings, shape_name
from .forecast import PASSES, Cluster, forecast
from .results import Results
from .units import markdown_table

FIGURES = (
    ("time", "Time of a pass"), ("row", "Nanoseconds a row"), ("strong", "Strong scaling"), ("weak", "Weak scaling"),
    ("memory", "Peak memory beside the rows"),
)  # fmt: skip
WHERE = {FILES: "where their pages are in memory", DISK: "from the disk"}
SIZES, DTYPE = (10**9, 10**12), "float32"
# ranks, threads of each, bytes of memory of each, bytes a second of its disk: a small server, one large, a rack, racks
CLUSTERS = (
    Cluster(1, 2, 16e9, disk=2e9), Cluster(1, 64, 256e9, disk=7e9), Cluster(16, 64, 256e9, disk=7e9),
    Cluster(1024, 64, 256e9, disk=7e9),
)  # fmt: skip


def write(settings: Settings, results: Results) -> None:
    """ScalingError when it cannot be written."""
    path = settings.out / "scale.md"
    try:
        write_atomically(path, text(settings.out, results, settings.sizes).encode())
    except OSError as error:
        raise ScalingError(unwritable(path, "the page", error)) from error


def text(folder: Path, results: Results, sizes: Sequence[int]) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [
        "# Scaling",
        f"Measured on {machine['cpu']}, {machine['cores']} cores, {versions}, {machine['date']}, by "
        f"`{machine['command']}`, which also writes this page. Losses of every case were those of the NumPy reference, "
        "and the same bits for all threads, ranks and places of the rows. [scale.json](scale.json) holds all of it, "
        "this page the sizes 10^k and the largest.",
        "\n".join(f"- {line}" for line in report.limit_lines(results.limits)),
    ]
    if results.rates:
        told = " and ".join(f"{rate / 1e9:.3g} GB/s {WHERE[place]}" for place, rate in results.rates.items())
        parts.append(f"Files were read with {told}.")
    for name, title in FIGURES:
        if (folder / f"scale-{name}.png").is_file():
            parts.append(f"![{title}](scale-{name}.png)")
    for title, table in report.sections(results, sizes, markdown_table, is_short=True):
        parts += [f"## {title[0].upper()}{title[1:]}", table]
    parts += _plans(results)
    return "\n\n".join(parts) + "\n"


def _plans(results: Results) -> list[str]:
    """What larger sizes cost, by the rates of this run: an overview, and the arithmetic of each."""
    found = []
    measured = {(row.case.model, row.solver) for row in results.rows if row.H and row.threads and row.dtype == DTYPE}
    solver = LBFGS if LBFGS in {solver for _, solver in measured} else GD
    for N in SIZES:
        for model in sorted(model for model, by in measured if by == solver):
            found += _of_shape(results, N, model, solver)
    if not found:
        return []
    heads = ("rows", "shape", "ranks x threads", "data", "a pass", "a fit", "most of it is")
    return [
        "## Plans",
        f"What `spiralnn scale --plan` says of float32 by the rates above, for {PASSES} passes. More threads than were "
        "measured are assumed to gain as much each; a network of 3 GB/s and 5 us a message, disks of 2 GB/s on the "
        "small server and 7 GB/s on each of the others, 16 and 256 GB of memory.",
        markdown_table(heads, [cells for cells, _ in found]),
        "The arithmetic of each:",
        *(text for _, text in found),
    ]


def _of_shape(results: Results, N: int, model: Model, solver: str) -> list[tuple[tuple[str, ...], str]]:
    try:
        known = rates.of_results(results, model, DTYPE, solver)
    except ScalingError:  # one thread, say, was left out for lack of time
        known = rates.measure(model, DTYPE, solver, max(row.ran for row in results.rows))
    found = []
    for cluster in CLUSTERS:
        told = forecast(N, model, DTYPE, solver, PASSES, cluster, known)
        name = f"{shape_name(model)} by {solver}"
        of = f"{cluster.ranks:,} x {cluster.threads}"
        cells = (f"{N:,}", name, of, *forecast_report.overview(told))
        found.append((cells, f"### {N:,} rows of {name}, {of} threads\n\n{forecast_report.markdown(told)}"))
    return found
