"""Which solver serves which problem, and each solver's own settings: one rule, and the measurements behind it.

Seconds to scikit-learn's final test accuracy less 0.002 (MLPClassifier, H = 100, float64, one thread), by L-BFGS and by
Adam in batches: digits 0.02 and 0.010, penbased 0.07 and 0.017, letter 0.73 and 0.19, magic 0.15 and 0.030, diamonds
0.64 and 0.14: Adam, from some thousand rows on. On tables of less than a thousand rows L-BFGS is as accurate and needs
no step size. The linear model is convex: L-BFGS takes 20 to 100 passes to the optimum, Newton's method 4 to 6 where
there are two classes and few inputs.
"""

import math
from typing import Any, NamedTuple

from ..kernels.models import Model
from .newton import MAX_UNKNOWNS, unknowns, wins

GD, SGD, ADAM, LBFGS, NEWTON, AUTO = "gd", "sgd", "adam", "lbfgs", "newton-cholesky", "auto"
SOLVERS = (AUTO, GD, SGD, ADAM, LBFGS, NEWTON)
BATCHED = (SGD, ADAM)
SCHEDULES = ("constant", "invscaling", "adaptive", "linear")

FEW_ROWS = 1000  # of a network, up to which L-BFGS serves
BATCH_SIZES = ((2048, 32), (4096, 64), (math.inf, 128))  # for fewer rows than that, a batch
# Epochs of batches: so many, or as many as make so many updates. With a hundred thousand rows and more they are fewer,
# for 40 falling step sizes over 10^6 x 28 rows take 20 epochs to where 5 of a small constant one lead.
EPOCHS, LEAST_UPDATES = 40, 1500
MOST_ROWS, LEAST_EPOCHS = 4_000_000, 10  # all epochs together, but for so many of them

# step_size, reg, tol, largest number of iterations of the linear model and of the network, schedule
_OWN: dict[str, tuple[float, float, float | None, int, int, str | None]] = {
    GD: (1.0, 1e-3, None, 200, 10_000, None),
    SGD: (0.1, 1e-4, None, 0, 0, "linear"),
    ADAM: (0.01, 1e-4, None, 0, 0, "linear"),
    LBFGS: (1.0, 1e-4, 1e-4, 1000, 200, None),
    NEWTON: (1.0, 1e-4, 1e-4, 100, 100, None),
}
PARTIAL_RATE = 1e-3  # of batches that come one by one, without an end that a step size could fall to
GAIN = 1e-4  # tol of what stops for want of a gain, where nothing is said: scikit-learn's


class Choice(NamedTuple):
    """A solver with all its settings. batch_size, learning_rate: None where there are no batches; init_scale: None for
    Glorot's uniform weights, or none at all in the linear model. tol: None never stops."""

    solver: str
    step_size: float
    reg: float
    max_iter: int
    tol: float | None
    batch_size: int | None
    learning_rate: str | None
    init_scale: float | None

    @property
    def is_batched(self) -> bool:
        return self.solver in BATCHED


def solver_of(solver: str, model: Model, N: int, *, batched: bool, streamed: bool = False) -> str:
    """What "auto" comes to. batched: whether the caller has asked for batches. streamed: as of choose."""
    if solver != AUTO:
        return solver
    if batched:
        return ADAM
    if streamed:
        return LBFGS
    if not model.H:
        return NEWTON if wins(model, N) else LBFGS
    return LBFGS if N < FEW_ROWS else ADAM


def batch_size_for(N: int) -> int:
    return min(N, next(size for rows, size in BATCH_SIZES if rows > N))


def epochs_for(N: int, batch_size: int) -> int:
    return max(LEAST_EPOCHS, min(EPOCHS, MOST_ROWS // N), -(-LEAST_UPDATES // -(-N // batch_size)))


def choose(
    settings: dict[str, Any], model: Model, N: int, *, partial: bool = False, streamed: bool = False
) -> Choice:
    """The choice for N rows to train on, from constructor arguments that are None where they say nothing.

    partial: for rows that come one part after the other. streamed: for rows that are not an array in the memory of this
    process. ValueError for what does not go together.
    """
    batch_size = settings["batch_size"]
    solver = solver_of(settings["solver"], model, N, batched=partial or batch_size is not None, streamed=streamed)
    if streamed and (partial or solver in BATCHED):
        name = "partial_fit takes batches" if partial else f"solver is {solver!r}, which takes batches"
        raise ValueError(
            f"{name} of an array in the memory of one process: expected X as an array, and no communicator, or another "
            "solver"
        )
    if solver == NEWTON:
        if model.H:
            raise ValueError(f"solver is {NEWTON!r}, which the network does not have, expected one of {_of(model)}")
        if unknowns(model) > MAX_UNKNOWNS:
            raise ValueError(
                f"solver is {NEWTON!r}, but (inputs + 1) (classes - 1) is {unknowns(model)}, expected at most "
                f"{MAX_UNKNOWNS}"
            )
    if settings["step_size"] is not None and (settings["solver"] == AUTO or solver in (LBFGS, NEWTON)):
        why = "which chooses one" if settings["solver"] == AUTO else "which has none"
        raise ValueError(
            f"step_size is {settings['step_size']!r}, but solver is {settings['solver']!r}, {why}: expected None"
        )
    if solver not in BATCHED:
        for name in ("batch_size", "learning_rate"):
            if settings[name] is not None:
                raise ValueError(f"{name} is {settings[name]!r}, but solver {solver!r} has no batches, expected None")
    if partial and settings["learning_rate"] not in (None, "constant"):
        raise ValueError(
            f"learning_rate is {settings['learning_rate']!r}, expected None or 'constant' for partial_fit"
        )
    step_size, reg, tol, linear, network, schedule = _OWN[solver]
    max_iter = network if model.H else linear
    if solver in BATCHED:
        if batch_size is None:
            batch_size = batch_size_for(N)
        elif batch_size > N and not partial:
            raise ValueError(f"batch_size is {batch_size}, but there are {N} rows to train on")
        batch_size = min(batch_size, N)
        max_iter = epochs_for(N, batch_size)
        schedule = settings["learning_rate"] or ("constant" if partial else schedule)
        if partial:
            step_size = PARTIAL_RATE
        elif schedule != "linear":
            tol = GAIN
        if settings["step_size"] is not None and settings["step_size"] <= 0.0:
            raise ValueError(f"step_size is {settings['step_size']!r}, expected a positive number")

    def own(name: str, value: Any) -> Any:
        return value if settings[name] is None else settings[name]

    return Choice(
        solver,
        own("step_size", step_size),
        own("reg", reg),
        own("max_iter", max_iter),
        own("tol", tol),
        batch_size,
        schedule,
        own("init_scale", 0.01 if solver == GD else None),
    )


def _of(model: Model) -> str:
    return ", ".join(repr(name) for name in SOLVERS if not (model.H and name == NEWTON))
