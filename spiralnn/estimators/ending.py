"""What is said of a fit that is over: an error where it diverged, warnings where it came to little."""

import warnings
from collections.abc import Sequence

import numpy as np

from ..engine.monitor import NoDescentWarning
from ..engine.run import DIVERGED, NO_DESCENT, RUNNING, Run
from ..solvers.choice import GD, LBFGS, NEWTON, Choice
from .material import Material
from .usefulness import UselessModelWarning, constant_loss, only_answer


def check_end(run: Run, choice: Choice, before: int = 0) -> None:
    """FloatingPointError when a run that began after some steps diverged, a warning when it found no way down."""
    if run.status == DIVERGED:
        where = run.diverged_at if not before else f"{run.diverged_at} of this call"
        has_size = choice.solver not in (LBFGS, NEWTON)
        size = f", with step_size={choice.step_size!r}" if has_size else ""
        raise FloatingPointError(
            f"the loss or a parameter was no longer finite at {where}{size}: the model keeps its parameters after "
            f"{before + run.n_steps} {run.unit}s. Try {'a smaller step_size' if has_size else 'another start'}, or "
            "scale X"
        )
    if run.status == NO_DESCENT:
        warnings.warn(
            f"no step from iteration {run.n_steps} lowers the loss, which has a kink there: the model keeps the "
            "best parameters that were found",
            NoDescentWarning,
            stacklevel=3,
        )


def check_usefulness(
    run: Run, choice: Choice, material: Material, params: Sequence[np.ndarray], backend: str
) -> None:
    """UselessModelWarning for a run that has ended by itself with nothing learned.

    One that somebody stopped is not judged, nor a single step that was asked for, whose loss is that before it.
    """
    if run.status == RUNNING and (run.n_steps < choice.max_iter or run.n_steps < 2):
        return
    constant, found = constant_loss(material), None
    if run.loss >= constant:
        found = f"the loss is {run.loss:.4g} after {run.n_steps} {run.unit}s, and {constant:.4g} without any input"
    else:
        answer = only_answer(material, params, backend)
        if answer is not None:
            found = f"class {material.classes.tolist()[answer]!r} is predicted for every row trained on"
    if found is not None and material.collector.is_first:
        warnings.warn(f"the model is of little use: {found}. {_advice(choice)}", UselessModelWarning, stacklevel=3)


def _advice(choice: Choice) -> str:
    if choice.solver == GD:
        return "Try solver='auto', which sees columns centred and scaled, another step_size, or more steps"
    return "Try a smaller reg, a larger max_iter, class_weight='balanced' where classes are rare, or other columns"
