"""What is done with the sum: rules over the flat parameters, element by element.

    gradient = sums / sum of weights + reg theta  (biases without the last term);  theta, state <- rule(gradient)

A rule reads row `now` of theta and of its state and writes row `then`, so that a step that diverges is taken back by
forgetting it; rules of batches write where they read, for their steps are short and many. A new rule is a function here
and nothing else; `reference` has the twins. What it takes to close a step is in steps.py.
"""

from collections.abc import Callable
from typing import NamedTuple

from .vectors import (
    everywhere,
    fma,
    lanes,
    load,
    load_as,
    load_scalar,
    loop,
    reduce_add,
    round_to,
    sqrt,
    store,
    traced,
    var,
    zeros,
)

REG, STEP_SIZE = 0, 1  # places in the settings of a rule
MOMENTUM = 2  # of stochastic gradient descent
BETA_1, BETA_2, REST_1, REST_2, EPSILON = range(2, 7)  # of Adam; the rests are one less the betas


class Update(NamedTuple):
    """A rule: (value, gradient, state, settings, like) -> (value, state), vectors; state: a list of state_rows of them.

    settings(i) is a number that goes for all; like: an array of the model's dtype, to round to. versions: rows of theta
    that take turns. by_row: the L2 strength is the last row of the state, a number a parameter, which stays as it is.
    """

    name: str
    state_rows: int
    rule: Callable
    versions: int = 3
    by_row: bool = False


def _descend(value, gradient, state, settings, like):
    """Gradient descent: theta - step_size gradient, rounded to what is computed with."""
    return round_to(fma(settings(STEP_SIZE), -0.0 - gradient, value), like), state


def _momentum(value, gradient, state, settings, like):
    """Gradient descent with momentum (Polyak): v = momentum v - step_size gradient, theta + v."""
    velocity = fma(settings(MOMENTUM), state[0], 0.0 - settings(STEP_SIZE) * gradient)
    return value + velocity, [velocity]


def _nesterov(value, gradient, state, settings, like):
    """The same with the gradient as of where v leads: theta + momentum v - step_size gradient (Sutskever, 2013)."""
    step = settings(STEP_SIZE) * gradient
    velocity = fma(settings(MOMENTUM), state[0], 0.0 - step)
    return value + fma(settings(MOMENTUM), velocity, 0.0 - step), [velocity]


def _adam(value, gradient, state, settings, like):
    """Adam (Kingma and Ba, 2015, algorithm 1 in the order of its section 2): step_size holds the bias corrections."""
    mean = fma(settings(BETA_1), state[0], settings(REST_1) * gradient)
    square = fma(settings(BETA_2), state[1], settings(REST_2) * (gradient * gradient))
    return value - settings(STEP_SIZE) * mean / (sqrt(square) + settings(EPSILON)), [mean, square]


GRADIENT_DESCENT = Update("gradient_descent", 0, _descend)
# no step: the gradient itself takes the place of the next parameters, for whoever asked for it
GRADIENT = Update("gradient", 0, lambda value, gradient, state, settings, like: (gradient, state))
# what L-BFGS makes of the gradient is not done element by element: see steps.py
LBFGS = GRADIENT._replace(name="lbfgs")
MOMENTUM_DESCENT = Update("momentum", 1, _momentum, versions=1, by_row=True)
NESTEROV = Update("nesterov", 1, _nesterov, versions=1, by_row=True)
ADAM = Update("adam", 2, _adam, versions=1, by_row=True)


def apply(update):
    """The rule as a function over columns [first, last), of which those below n_weights are weights.

    theta (versions, P), state (versions, state_rows P; one more with by_row), of one dtype; total (n, P + 16) with the
    sums in row 0, settings (1, n): float64. share: one over the sum of weights, for dividing takes as long as all the
    rest.
    """

    @traced
    def apply_update(theta, state, now, then, total, first, middle, last, share, settings, like):
        P, share = theta.shape[1], everywhere(theta, share)

        def setting(i):
            return everywhere(theta, load_scalar(settings, 0, i))

        def over(first, last, strength):
            for t in loop(first, last, lanes(theta)):
                value = load(theta, now, t)
                own = load(state, now, update.state_rows * P + t) if strength is None else strength
                gradient = fma(value, own, load_as(total, 0, t, theta) * share)
                before = [load(state, now, r * P + t) for r in range(update.state_rows)]
                value, after = update.rule(value, gradient, before, setting, like)
                store(theta, then, t, value)
                for r, vector in enumerate(after):
                    store(state, then, r * P + t, vector)

        if update.by_row:
            over(first, last, None)
        else:
            over(first, middle, setting(REG))
            over(middle, last, 0.0)

    return apply_update


@traced
def sum_of_squares(a, i, last) -> float:
    """Sum of a[i, :last]^2."""
    total = var(zeros(a))
    for t in loop(0, last, lanes(a)):
        value = load(a, i, t)
        total.set(fma(value, value, total.value))
    return reduce_add(total)
