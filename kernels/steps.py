"""What closes a step, once, by whoever did the last part of it: losses are kept, and what ends the steps is found.

Everything that is not done element by element is here: whether a descent still gains, the step size of the next batch,
and what L-BFGS makes of a gradient.
"""

import numpy as np
from numba import njit

from . import lbfgs
from .updates import ADAM, BETA_1, BETA_2, LBFGS, MOMENTUM_DESCENT, NESTEROV, REG, STEP_SIZE, sum_of_squares
from .vectors import ENTRY

# status[1]: what ended the steps. REACHED: the goal of a call; what follows may go on
RUNNING, DIVERGED, STOPPED_GAINING, REACHED, CONVERGED, AT_ROUNDING, NO_DESCENT = range(7)

# places in the numbers (1, n) of a descent: the lowest loss, how many steps ago one last gained TOL, after how many it
# ends. A negative TOL: never
LOWEST, SINCE, TOL, PATIENCE = range(4)
# of batches: the step size before any decay, the steps to decay over (0: none), and powers of Adam's betas
RATE, DECAY_STEPS, POWER_1, POWER_2 = range(4)


@njit(**ENTRY)
def _whole_loss(sum_of_losses, total, theta, now, n_weights, reg):
    loss = sum_of_losses / total
    if reg > 0.0:  # squares may overflow, and 0 times infinity is no loss
        loss += 0.5 * reg * sum_of_squares(theta, now, n_weights)
    return loss


@njit(**ENTRY)
def _close_descent(
    step, first, now, then, sum_of_losses, total, n_weights, like, theta, state, settings, numbers, status, losses,
    solver,
):  # fmt: skip
    loss = _whole_loss(sum_of_losses, total, theta, now, n_weights, settings[0, REG])
    losses[step - first] = loss
    if not np.isfinite(loss):
        status[1] = DIVERGED
        return
    status[0] = step + 1
    tol = numbers[0, TOL]
    if tol < 0.0:
        return
    lowest, since = numbers[0, LOWEST], numbers[0, SINCE] + 1.0
    if loss < lowest - tol:
        since = 0.0
    elif since >= numbers[0, PATIENCE]:
        status[1] = STOPPED_GAINING
    numbers[0, SINCE] = since
    numbers[0, LOWEST] = loss if loss < lowest else lowest


@njit(**ENTRY)
def set_rate(numbers, step, settings):
    """settings[STEP_SIZE] of a step: decayed linearly, to zero behind the last one, and with Adam's bias corrections.

    Their powers are those of this step: they are carried on from step to step, by multiplication alone.
    """
    n, s = numbers[0], settings[0]
    rate = n[RATE]
    if n[DECAY_STEPS] > 0.0:
        rate *= (n[DECAY_STEPS] - step) / n[DECAY_STEPS]
    if len(s) > BETA_2:  # Adam
        rate *= np.sqrt(1.0 - n[POWER_2]) / (1.0 - n[POWER_1])
    s[STEP_SIZE] = rate


@njit(**ENTRY)
def _close_batch(
    step, first, now, then, sum_of_losses, total, n_weights, like, theta, state, settings, numbers, status, losses,
    solver,
):  # fmt: skip
    """losses: sums over the batch, without the L2 term, which is added once an epoch."""
    losses[step - first] = sum_of_losses
    if not np.isfinite(sum_of_losses):
        status[1] = DIVERGED
        return
    status[0] = step + 1
    close_update(step, numbers, settings)


@njit(**ENTRY)
def close_update(step, numbers, settings):
    """The step size of what comes after a step."""
    if len(settings[0]) > BETA_2:
        numbers[0, POWER_1] *= settings[0, BETA_1]
        numbers[0, POWER_2] *= settings[0, BETA_2]
    set_rate(numbers, step + 1, settings)


# what ends L-BFGS, by what `lbfgs.advance` returns
OUTCOMES = (RUNNING, REACHED, CONVERGED, AT_ROUNDING, NO_DESCENT)


@njit(**ENTRY)
def _close_evaluation(
    step, first, now, then, sum_of_losses, total, n_weights, like, theta, state, settings, numbers, status, losses,
    solver,
):  # fmt: skip
    loss = _whole_loss(sum_of_losses, total, theta, now, n_weights, settings[0, REG])
    affine, layer = solver
    outcome = lbfgs.advance(theta, then, state, numbers, loss, affine, layer, like, losses)
    status[0] = step + 1
    status[1] = OUTCOMES[outcome]


def close_of(update):
    """The jitted function that closes a step of this update: (step, first step of the call, now, then, sum of losses,
    total weight, n_weights, an array of the dtype that is computed with, and of `loop.Memory` theta, state, settings,
    numbers, status, losses and solver, one by one, for a tuple takes its time to hand over)."""
    if update is LBFGS:
        return _close_evaluation
    return _close_batch if update in (MOMENTUM_DESCENT, NESTEROV, ADAM) else _close_descent
