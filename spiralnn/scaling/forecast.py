"""What a fit of many rows by many ranks will cost: the arithmetic, from rates that were measured on one machine.

Everything is a sum of terms of one pass, and of what is done once; each says what it is made of.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..distributed.cuts import even_ranges
from ..engine.passes import cached_plan
from ..kernels.loop import EXTRA
from ..kernels.models import Model
from ..kernels.tree import maximal_subtrees
from ..solvers.choice import LBFGS
from .cases import data_bytes
from .costs import CHECKS, DIGEST, STATISTICS
from .units import count, decimal_size, duration, three_digits

PASSES = 300  # of a fit by L-BFGS, about
MEMORY_SHARE = 0.75  # of a rank's, for rows; the rest is the system's and the libraries'
ROWS_LOOKED_AT = 1 << 12  # ranks whose ranges are worked out; of more the first ones

COMPUTING, READING, WAITING, FOLDING, VECTORS, LAUNCH = (
    "computing", "reading the rows", "exchange of roots", "adding up roots", "L-BFGS' vectors", "launching a pass",
)  # fmt: skip


class Rates(NamedTuple):
    """Of this machine. row: seconds that a row takes on one thread; gain: times as fast with `threads` of them.

    vectors: seconds of L-BFGS between two passes; launch: of a pass without rows; add: seconds to add two numbers of
    roots. once: seconds a byte of X on one thread, by what is done once before a fit; SURVEY are the checks of rows
    that are no array in memory. disk: bytes a second, None where nobody measured it. source: where they come from.
    """

    row: float
    threads: int
    gain: float
    vectors: float
    launch: float
    add: float
    once: dict[str, float]
    disk: float | None
    source: str

    def on(self, threads: int) -> float:
        """Seconds a row on so many threads; on more than were measured each brings as much as those did."""
        if threads == 1:
            return self.row
        if threads <= self.threads:
            share = self.gain / self.threads
            return self.row / max(1.0, threads * share)
        return self.row / (threads * self.gain / self.threads)


class Cluster(NamedTuple):
    """What is there. memory: bytes of a rank; bandwidth: bytes a second of its network, latency: seconds of a message;
    disk: bytes a second that it reads; disk_is: how that is known."""

    ranks: int
    threads: int
    memory: float
    bandwidth: float = 3e9  # 25 Gbit/s
    latency: float = 5e-6
    disk: float = 2e9  # one NVMe drive, with room to spare
    disk_is: str = "assumed"


SURVEY = "survey"


class Term(NamedTuple):
    """name: of what. arithmetic: how its seconds come about, for people. is_of_pass: whether they come with every
    pass. times: how often in a fit."""

    name: str
    arithmetic: str
    seconds: float
    times: int
    is_of_pass: bool = True


class Forecast(NamedTuple):
    """a pass, and a fit: terms of a pass (`times` is that of passes), then what is done once."""

    N: int
    model: Model
    dtype: str
    solver: str
    passes: int
    cluster: Cluster
    rates: Rates
    facts: dict[str, Any]
    terms: list[Term]

    @property
    def a_pass(self) -> float:
        return sum(term.seconds for term in self.terms if term.is_of_pass)

    @property
    def fit(self) -> float:
        return sum(term.seconds * term.times for term in self.terms)

    @property
    def dominates(self) -> Term:
        """The term that most of a fit is spent with."""
        return max(self.terms, key=lambda term: term.seconds * term.times)


def forecast(
    N: int, model: Model, dtype: str, solver: str, passes: int, cluster: Cluster, rates: Rates
) -> Forecast:
    """Terms of a fit of N rows, so many passes of it."""
    itemsize = np.dtype(dtype).itemsize
    plan = cached_plan(N, model, itemsize)
    ranges = even_ranges(plan.n_leaves, cluster.ranks)
    most_leaves = max(last - first for first, last in ranges)
    rows = min(N, most_leaves * plan.leaf_rows)
    n_roots = max(len(maximal_subtrees(*leaves)) for leaves in ranges[:ROWS_LOOKED_AT])
    root_bytes = 8 * (model.padded_size + EXTRA)
    held = data_bytes(rows, model.D, dtype)
    is_in_memory = held <= MEMORY_SHARE * cluster.memory
    facts = {
        "leaves": plan.n_leaves, "leaf_rows": plan.leaf_rows, "depth": math.ceil(math.log2(max(plan.n_leaves, 1))),
        "roots_a_rank": n_roots, "root_bytes": root_bytes, "rows_a_rank": rows, "rank_bytes": held,
        "all_bytes": data_bytes(N, model.D, dtype), "in_memory": is_in_memory, "parameters": model.size,
    }  # fmt: skip

    threads = min(cluster.threads, most_leaves)
    row = rates.on(threads)
    terms = [Term(
        COMPUTING, f"{rows:,} rows x {three_digits(1e9 * row)} ns on {count(threads, 'thread')}", rows * row, passes
    )]  # fmt: skip
    if is_in_memory:
        beside = f"none: {decimal_size(held)} lie in memory, of {decimal_size(cluster.memory)}"
        terms.append(Term(READING, beside, 0.0, passes))
    else:
        seconds = held / cluster.disk
        beside = f"{decimal_size(held)} / {cluster.disk / 1e9:g} GB/s = {duration(seconds)}"
        if threads > 1:  # others compute while one reads
            seconds = max(0.0, seconds - rows * row)
            beside += ", less what is computed meanwhile"
        terms.append(Term(READING, beside, seconds, passes))
    terms += _exchange(cluster, rates, n_roots, root_bytes, passes)
    terms.append(Term(LAUNCH, "measured", rates.launch, passes))
    if solver == LBFGS:
        vectors = f"measured, {count(model.size, 'parameter')}"
        terms.append(Term(VECTORS, vectors, rates.vectors, passes))
    terms += _once(rates, cluster, solver, threads, rows * model.D * itemsize, 0 if is_in_memory else held)
    return Forecast(N, model, dtype, solver, passes, cluster, rates, facts, terms)


def _exchange(cluster: Cluster, rates: Rates, n_roots: int, root_bytes: int, passes: int) -> list[Term]:
    """One Allgather a pass: messages in rounds of twice as many ranks, and all that others have to say comes in."""
    if cluster.ranks == 1:
        return [Term(WAITING, "none: one rank", 0.0, passes)]
    rounds = math.ceil(math.log2(cluster.ranks))
    n_bytes = (cluster.ranks - 1) * n_roots * root_bytes
    seconds = rounds * cluster.latency + n_bytes / cluster.bandwidth
    roots = f"{cluster.ranks - 1:,} x {n_roots} roots x {root_bytes:,} B / {cluster.bandwidth / 1e9:g} GB/s"
    sent = f"{rounds} x {1e6 * cluster.latency:g} us + {roots}"
    numbers = cluster.ranks * n_roots * root_bytes // 8
    added = f"{numbers:,} numbers x {three_digits(1e9 * rates.add)} ns"
    return [Term(WAITING, sent, seconds, passes), Term(FOLDING, added, numbers * rates.add, passes)]


def _once(
    rates: Rates, cluster: Cluster, solver: str, threads: int, n_bytes: int, read_bytes: int
) -> list[Term]:
    """Checks, statistics of columns (L-BFGS) and the digest (with a checkpoint), each of which is a pass over the rows;
    in memory the checks take one thread."""
    terms = []
    is_array = cluster.ranks == 1 and not read_bytes
    for what in (CHECKS, STATISTICS, DIGEST):
        if what == STATISTICS and solver != LBFGS:
            continue
        n_threads = 1 if what == CHECKS and is_array else threads
        rate = rates.once[SURVEY if what == CHECKS and not is_array else what]
        seconds = n_bytes * rate / n_threads
        how = f"{decimal_size(n_bytes)} / {three_digits(1e-9 / rate)} GB/s / {count(n_threads, 'thread')}"
        if read_bytes and (reading := read_bytes / cluster.disk) > seconds:
            seconds, how = reading, f"{decimal_size(read_bytes)} / {cluster.disk / 1e9:g} GB/s"
        terms.append(Term(what, how, seconds, 1, False))
    return terms


def as_json(told: Forecast) -> dict[str, Any]:
    """All of it, as one object."""
    return {
        "N": told.N, "D": told.model.D, "H": told.model.H, "K": told.model.K, "dtype": told.dtype,
        "solver": told.solver, "passes": told.passes, "cluster": told.cluster._asdict(),
        "rates": told.rates._asdict(), "tree": told.facts,
        "terms": [term._asdict() for term in told.terms],
        "pass_seconds": told.a_pass, "fit_seconds": told.fit, "dominates": told.dominates.name,
    }  # fmt: skip
