"""A forecast as a person reads it."""

from .cases import shape_name
from .forecast import Forecast
from .units import aligned_table, count, decimal_size, duration, markdown_table


def text(told: Forecast) -> str:
    """For a terminal."""
    facts, cluster = told.facts, told.cluster
    where = "in memory" if facts["in_memory"] else f"on the disk, of {decimal_size(cluster.memory)} of memory"
    lines = [
        f"{told.N:,} rows of {shape_name(told.model)} {told.dtype}, {told.solver}, "
        f"{count(cluster.ranks, 'rank')} of {count(cluster.threads, 'thread')}",
        f"data: {decimal_size(facts['all_bytes'])} in all, {decimal_size(facts['rank_bytes'])} a rank ({where}), "
        "the same in .npy files",
        f"tree: {facts['leaves']:,} leaves of {facts['leaf_rows']:,} rows, {facts['depth']} levels, "
        f"{count(facts['roots_a_rank'], 'root')} of {facts['root_bytes']:,} bytes a rank",
        f"rates: {told.rates.source}",
        *assumptions(told),
        "",
        aligned_table(HEADS, cells(told), {"what", "arithmetic"}),
        "",
        summary(told),
    ]
    return "\n".join(lines)


def assumptions(told: Forecast) -> list[str]:
    """What was not measured here."""
    cluster, lines = told.cluster, []
    if not told.facts["in_memory"]:
        lines.append(f"disk: {cluster.disk / 1e9:g} GB/s a rank, {cluster.disk_is}")
    if cluster.ranks > 1:
        lines.append(f"network: {cluster.bandwidth / 1e9:g} GB/s and {1e6 * cluster.latency:g} us a message, assumed")
    if cluster.threads > told.rates.threads:
        lines.append(f"threads: {cluster.threads} gain as much each as {told.rates.threads} did here, assumed")
    return lines


HEADS = ("what", "arithmetic", "seconds", "times", "in a fit")


def cells(told: Forecast) -> list[tuple[str, ...]]:
    return [
        (term.name, term.arithmetic, duration(term.seconds) if term.seconds else "-", f"{term.times:,}",
         duration(term.seconds * term.times) if term.seconds else "-")
        for term in told.terms
    ]  # fmt: skip


def summary(told: Forecast) -> str:
    share = told.dominates.seconds * told.dominates.times / told.fit
    return (
        f"a pass takes {duration(told.a_pass)}, a fit of {told.passes:,} pass{'es' * (told.passes != 1)} "
        f"{duration(told.fit)}: {told.dominates.name} is {share:.0%} of it"
    )


def markdown(told: Forecast) -> str:
    """For the page."""
    facts = told.facts
    where = "memory" if facts["in_memory"] else "the disk"
    about = (
        f"{decimal_size(facts['all_bytes'])} of data, {decimal_size(facts['rank_bytes'])} a rank, read from {where}; "
        f"{facts['leaves']:,} leaves of {facts['leaf_rows']:,} rows, {facts['depth']} levels, "
        f"{count(facts['roots_a_rank'], 'root')} of {facts['root_bytes']:,} bytes a rank."
    )
    return f"{about}\n\n{markdown_table(HEADS, cells(told))}\n\nIn all {summary(told)}."


def overview(told: Forecast) -> tuple[str, ...]:
    """Data, a pass, a fit and what dominates: cells of a table."""
    all_bytes = decimal_size(told.facts["all_bytes"])
    return all_bytes, duration(told.a_pass), duration(told.fit), told.dominates.name
