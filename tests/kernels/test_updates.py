"""The rules of batches against their twins, and the step size of each step by hand."""

import math

import numpy as np
import pytest
from numba import njit

from spiralnn.engine.memory import aligned
from spiralnn.kernels import reference, updates
from spiralnn.kernels.steps import DECAY_STEPS, POWER_1, POWER_2, RATE, close_update, set_rate
from spiralnn.kernels.updates import ADAM, BETA_1, BETA_2, EPSILON, MOMENTUM_DESCENT, NESTEROV, REST_1, STEP_SIZE
from spiralnn.kernels.vectors import ENTRY

pytestmark = pytest.mark.kernels

P = 96
# rule, its twin, and what comes after the L2 strength and the step size
RULES = {
    "momentum": (MOMENTUM_DESCENT, reference.momentum, (0.9,)),
    "nesterov": (NESTEROV, reference.nesterov, (0.9,)),
    "adam": (ADAM, reference.adam, (0.9, 0.999, 1.0 - 0.9, 1.0 - 0.999, 1e-8)),
}
rules = pytest.mark.parametrize("rule", RULES)

# One rounding or two a step, of numbers of order 1; over five steps
dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-5)])


def compiled(update):
    apply = updates.apply(update)

    @njit(**ENTRY)
    def step(theta, state, total, first, last, share, settings, like):
        apply(theta, state, 0, 0, total, first, first, last, share, settings, like)

    return step


STEPS = {name: compiled(update) for name, (update, _, _) in RULES.items()}


def start(rule, dtype, rate=0.3):
    """theta, state with a strength a parameter, sums, settings."""
    update, _, settings = RULES[rule]
    random = np.random.default_rng(len(rule))
    theta, state = aligned(dtype, [(1, P), (1, (update.state_rows + 1) * P)])
    total, places = aligned(np.float64, [(1, P + 16), (1, 2 + len(settings))])
    theta[0] = random.standard_normal(P)
    state[0, -P:] = random.uniform(0, 1, P) * (np.arange(P) % 3 > 0)
    places[0] = 0.0, rate, *settings
    return theta, state, total, places


@rules
@dtypes
def test_rules_are_those_of_the_reference(rule, dtype, tolerance):
    theta, state, total, settings = start(rule, dtype)
    random = np.random.default_rng(1)
    expected, memory, strength = (a.astype(np.float64).copy() for a in (theta[0], state[0, :-P], state[0, -P:]))
    for _ in range(5):
        total[0, :P] = random.standard_normal(P) * 7.0
        gradient = total[0, :P] / 7.0 + strength * expected
        RULES[rule][1](expected, gradient, memory, settings[0, STEP_SIZE:])
        STEPS[rule](theta, state, total, 0, P, 1.0 / 7.0, settings, theta)
        np.testing.assert_allclose(theta[0], expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(state[0, :-P], memory, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(state[0, -P:], strength.astype(dtype))


@rules
@dtypes
def test_columns_are_those_that_were_asked_for_and_cuts_change_no_bit(rule, dtype, tolerance):
    theta, state, total, settings = start(rule, dtype)
    total[0, :P] = np.random.default_rng(2).standard_normal(P)
    before, rows = theta.copy(), RULES[rule][0].state_rows
    part, part_state = aligned(dtype, [theta.shape, state.shape])
    part[:], part_state[:] = theta, state
    STEPS[rule](part, part_state, total, 32, 64, 1.0, settings, theta)
    STEPS[rule](theta, state, total, 0, P, 1.0, settings, theta)
    outside = np.r_[0:32, 64:P]
    np.testing.assert_array_equal(part[0, outside], before[0, outside])
    np.testing.assert_array_equal(part[0, 32:64], theta[0, 32:64])
    for r in range(rows):
        assert not part_state[0, r * P + outside].any()
        np.testing.assert_array_equal(part_state[0, r * P + 32 : r * P + 64], state[0, r * P + 32 : r * P + 64])


def test_adam_by_hand():
    # first step: m = 0.1 g, v = 0.001 g g, so that with both corrections theta moves by rate g / (|g| + epsilon'),
    # epsilon' being epsilon over the root of the second correction
    theta, state, total, settings = start("adam", np.float64)
    state[0, -P:] = 0.0
    numbers = np.array([[0.01, 0.0, 0.9, 0.999]])
    set_rate(numbers, 0, settings)
    assert settings[0, STEP_SIZE] == pytest.approx(0.01 * math.sqrt(0.001) / 0.1, rel=1e-12)
    before, gradient = theta[0].copy(), np.random.default_rng(3).standard_normal(P)
    total[0, :P] = gradient
    STEPS["adam"](theta, state, total, 0, P, 1.0, settings, theta)
    moved = gradient / (np.abs(gradient) + 1e-8 / math.sqrt(0.001))
    np.testing.assert_allclose(before - theta[0], 0.01 * moved, rtol=1e-11)


def test_momentum_by_hand():
    for rule, second in (("momentum", 0.9 * -0.3 - 0.3), ("nesterov", 0.9 * (0.9 * -0.3 - 0.3) - 0.3)):
        theta, state, total, settings = start(rule, np.float64)
        theta[:], state[:], total[0, :P] = 0.0, 0.0, 1.0
        STEPS[rule](theta, state, total, 0, P, 1.0, settings, theta)
        first = -0.3 if rule == "momentum" else 0.9 * -0.3 - 0.3
        np.testing.assert_allclose(theta[0], first, rtol=1e-15)
        STEPS[rule](theta, state, total, 0, P, 1.0, settings, theta)
        np.testing.assert_allclose(theta[0], first + second, rtol=1e-15)


def test_the_step_size_falls_to_zero_behind_the_last_step():
    settings, numbers = np.zeros((1, 3)), np.array([[0.5, 8.0, 0.9, 0.0]])
    for step in range(8):
        set_rate(numbers, step, settings)
        assert settings[0, STEP_SIZE] == pytest.approx(0.5 * (8 - step) / 8, rel=1e-15)
    set_rate(numbers, 8, settings)
    assert settings[0, STEP_SIZE] == 0.0
    numbers[0, DECAY_STEPS] = 0.0
    set_rate(numbers, 1000, settings)
    assert settings[0, STEP_SIZE] == numbers[0, RATE] == 0.5


def test_powers_of_the_betas_are_those_of_the_step():
    settings = np.zeros((1, 7))
    settings[0, [BETA_1, BETA_2, REST_1, EPSILON]] = 0.8, 0.99, 0.2, 1e-8
    numbers = np.array([[0.02, 0.0, 0.8, 0.99]])
    set_rate(numbers, 0, settings)
    for t in range(1, 50):  # t: how many steps the next one makes
        assert numbers[0, POWER_1] == pytest.approx(0.8**t, rel=1e-13)
        assert numbers[0, POWER_2] == pytest.approx(0.99**t, rel=1e-13)
        expected = 0.02 * math.sqrt(1 - 0.99**t) / (1 - 0.8**t)
        assert settings[0, STEP_SIZE] == pytest.approx(expected, rel=1e-12)
        close_update(t - 1, numbers, settings)


def test_of_rules_without_betas_nothing_but_the_step_size_changes():
    settings, numbers = np.array([[0.0, 0.0, 0.9]]), np.array([[0.5, 0.0, 0.9, 0.0]])
    close_update(3, numbers, settings)
    assert settings.tolist() == [[0.0, 0.5, 0.9]] and numbers.tolist() == [[0.5, 0.0, 0.9, 0.0]]
