"""What is done with the sum: rules over the flat parameters, element by element.

    gradient = sums / sum of weights + reg theta  (biases without the last term);  theta, state <- rule(gradient)

A rule reads row `now` of theta and of its state and writes row `then`, so that a step that diverges is taken back by
forgetting it. A new rule is a function here and nothing else; `reference` has the twins.
"""

from collections.abc import Callable
from typing import NamedTuple

from .vectors import broadcast, fma, lanes, load, loop, reduce_add, round_to, store, traced, var, zeros

REG, STEP_SIZE = 0, 1  # places in the settings of a rule


class Update(NamedTuple):
    """A rule: (value, gradient, state, settings, like) -> (value, state), vectors; state: a list of state_rows of them.

    settings(i) is a number that goes for all; like: an array of the model's dtype, to round to.
    """

    name: str
    state_rows: int
    rule: Callable


def _descend(value, gradient, state, settings, like):
    """Gradient descent: theta - step_size gradient, rounded to what is computed with."""
    return round_to(fma(settings(STEP_SIZE), -0.0 - gradient, value), like), state


GRADIENT_DESCENT = Update("gradient_descent", 0, _descend)
# no step: the gradient itself takes the place of the next parameters, for whoever asked for it
GRADIENT = Update("gradient", 0, lambda value, gradient, state, settings, like: (gradient, state))


def apply(update):
    """The rule as a function over columns [first, last), of which those below n_weights are weights.

    theta (3, P), state (3, state_rows P), total (n, P + 16) with the sums in row 0, settings (1, n): all float64.
    share: one over the sum of weights, for dividing takes as long as all the rest.
    """

    def over(theta, state, now, then, total, first, last, share, reg, settings, like):
        P = theta.shape[1]
        for t in loop(first, last, lanes(theta)):
            value = load(theta, now, t)
            gradient = fma(value, reg, load(total, 0, t) * share)
            before = [load(state, now, r * P + t) for r in range(update.state_rows)]
            value, after = update.rule(value, gradient, before, settings, like)
            store(theta, then, t, value)
            for r, vector in enumerate(after):
                store(state, then, r * P + t, vector)

    @traced
    def apply_update(theta, state, now, then, total, first, middle, last, share, settings, like):
        def setting(i):
            return broadcast(settings, 0, i)

        over(theta, state, now, then, total, first, middle, share, setting(REG), setting, like)
        over(theta, state, now, then, total, middle, last, share, 0.0, setting, like)

    return apply_update


@traced
def sum_of_squares(a, i, last) -> float:
    """Sum of a[i, :last]^2."""
    total = var(zeros(a))
    for t in loop(0, last, lanes(a)):
        value = load(a, i, t)
        total.set(fma(value, value, total.value))
    return reduce_add(total)
