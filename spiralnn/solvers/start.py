"""From a choice to the run that is about to start."""

from typing import Any

from ..engine.rounding import tell_other_bits
from ..engine.run import Judge, Run
from .choice import ADAM, GAIN, GD, LBFGS, Choice
from .descent import Descent
from .newton import Newton
from .problem import Problem
from .quasi_newton import Lbfgs
from .stochastic import Schedule, Stochastic, adam, momentum_descent


def start(
    problem: Problem, choice: Choice, settings: dict[str, Any], *, steps: int, seed: int = 0, judge: Judge | None = None
) -> Run:
    """settings: constructor arguments that one solver alone has. steps: about to be done, in slices that long."""
    if not problem.is_reference:
        tell_other_bits(stacklevel=4)  # of whoever calls fit or partial_fit
    X, y, params, sample_weight = problem[:4]
    if choice.solver == GD:
        return Descent(
            X, y, params, sample_weight=sample_weight, step_size=choice.step_size, reg=choice.reg, tol=choice.tol,
            patience=settings["n_iter_no_change"], n_threads=problem.n_threads, backend=problem.backend, steps=steps,
            judge=judge,
        )  # fmt: skip
    tol = GAIN if choice.tol is None else choice.tol
    if choice.solver == LBFGS:
        return Lbfgs(problem, tol=tol, steps=steps, judge=judge)
    if choice.batch_size is None:
        return Newton(problem, tol=tol, steps=steps, judge=judge)
    if choice.solver == ADAM:
        rule = adam(settings["beta_1"], settings["beta_2"], settings["epsilon"])
    else:
        rule = momentum_descent(settings["momentum"], settings["nesterovs_momentum"])
    return Stochastic(
        problem,
        rule,
        Schedule(choice.learning_rate or "constant", choice.step_size, choice.max_iter),
        batch_size=choice.batch_size,
        seed=seed,
        shuffled=settings["shuffle"],
        tol=choice.tol,
        patience=settings["n_iter_no_change"],
        judge=judge,
    )
