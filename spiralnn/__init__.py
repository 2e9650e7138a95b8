"""Softmax and two-layer classifiers trained on fused Numba kernels.

The package runs one case study end to end: spiral data, a linear softmax classifier that cannot separate
it, and a two-layer network that can; and it trains such models on tables of one's own, by the solver that
gets there first.
"""

from importlib.machinery import PathFinder as _PathFinder
from pathlib import Path as _Path

__version__ = "0.1.0"

# The kernels lie at the root of the source tree; an install puts them beside this file. In a tree that is
# run without being installed, spiralnn.kernels must be found there.
if _PathFinder.find_spec("spiralnn.kernels", __path__) is None:
    __path__.append(str(_Path(__file__).resolve().parent.parent))

from .data import make_spiral  # noqa: E402
from .distributed.job import watch_exits_of_job as _watch_exits_of_job  # noqa: E402
from .engine.checkpoint import CheckpointWarning  # noqa: E402
from .engine.monitor import FitInterruptedWarning, NoDescentWarning  # noqa: E402
from .engine.rounding import OtherBitsWarning  # noqa: E402
from .estimators import SoftmaxClassifier, TwoLayerNet, load  # noqa: E402
from .estimators.usefulness import UselessModelWarning  # noqa: E402
from .files.array_file import ModelFileError  # noqa: E402
from .objective import Objective, loss_and_gradients  # noqa: E402
from .rows.opening import open_rows  # noqa: E402
from .rows.source import RowsError  # noqa: E402

__all__ = [
    "CheckpointWarning",
    "FitInterruptedWarning",
    "ModelFileError",
    "NoDescentWarning",
    "Objective",
    "OtherBitsWarning",
    "RowsError",
    "SoftmaxClassifier",
    "TwoLayerNet",
    "UselessModelWarning",
    "load",
    "loss_and_gradients",
    "make_spiral",
    "open_rows",
]

# under a bare `mpiexec python script.py` an exception on one rank would leave the others waiting
_watch_exits_of_job()
