"""Single values: whole and finite numbers, random states, numbers of threads."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def whole_number(name: str, value: Any, minimum: int) -> int:
    """value as an int of at least minimum."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r}, expected an integer of at least {minimum}")
    if value < minimum:
        raise ValueError(f"{name} is {value!r}, expected an integer of at least {minimum}")
    return int(value)


def finite_number(name: str, value: Any, *, minimum: float | None = None) -> float:
    """value as a finite float, of at least minimum."""
    expected = "a finite number" + (f" of at least {minimum:g}" if minimum is not None else "")
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}, expected {expected}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floats
        number = math.inf
    if not math.isfinite(number) or (minimum is not None and number < minimum):
        raise ValueError(f"{name} is {value!r}, expected {expected}")
    return number


def number_between(name: str, value: Any, low: float, high: float, *, open_below: bool = False) -> float:
    """value as a finite float from low, or above it, to less than high."""
    number = finite_number(name, value)
    if number < low or number >= high or (open_below and number == low):
        first = f"above {low:g}" if open_below else f"from {low:g}"
        last = f" to less than {high:g}" if high < math.inf else ""
        raise ValueError(f"{name} is {value!r}, expected a number {first}{last}")
    return number


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """value, which is one of some strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")
    return value


def truth(name: str, value: Any) -> bool:
    """value as a bool, which it must be."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def random_numbers(random_state: Any) -> np.random.RandomState:
    """A RandomState from None, an int or a RandomState, with scikit-learn's meaning."""
    if random_state is None or random_state is np.random:
        return np.random.mtrand._rand  # the generator behind np.random.randn
    if isinstance(random_state, np.random.RandomState):
        return random_state
    if isinstance(random_state, bool | np.bool_) or not isinstance(random_state, numbers.Integral):
        raise TypeError(f"random_state is {random_state!r}, expected None, an int or a numpy RandomState")
    if not 0 <= int(random_state) < 2**32:
        raise ValueError(f"random_state is {random_state!r}, expected an integer from 0 to 2**32 - 1")
    return np.random.RandomState(int(random_state))


def thread_count(n_threads: Any) -> int | None:
    """n_threads as None or an int of at least 1."""
    return None if n_threads is None else whole_number("n_threads", n_threads, 1)
