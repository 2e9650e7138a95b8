"""What each rank of a case runs: `python -m spiralnn.scaling.rank_process JOB`, JOB as `ranks.py` writes it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..distributed.ranks import Ranks
from ..rows.rows import Rows
from .cases import MEMORY, Case
from .rows import Files, first_rows, start
from .timing import LAUNCH_ROWS, Passes, overhead, time_passes


def main(job: dict[str, Any]) -> None:
    """Take part; the first rank prints what `ranks.measure` returns."""
    from mpi4py import MPI

    case, files = Case(*job["case"]), Files(Path(job["X"]), Path(job["y"]), 0)
    X, y = (np.asarray(np.load(path, mmap_mode="c"))[: case.N] for path in (files.X, files.y))
    params, communicator = start(case.model, case.dtype), MPI.COMM_WORLD
    few = min(LAUNCH_ROWS, case.N)
    collectors = [
        Ranks(rows, communicator, case.threads)
        for rows in (Rows.of(X[:few], y[:few]), Rows.of(X, y) if case.place == MEMORY else first_rows(files, case.N))
    ]

    def agreed(value: float) -> float:
        return float(communicator.bcast(value))

    aside = overhead(Passes(case, None, None, params, collectors[0]), agreed)
    passes = Passes(case, None, None, params, collectors[1])
    times = time_passes(passes, job["seconds"], most=job["most"], agreed=agreed)
    ran = communicator.reduce(passes.threads_that_ran)
    if communicator.rank == 0:
        print(json.dumps({"times": times, "overhead": aside, "losses": passes.losses, "ran": ran}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
