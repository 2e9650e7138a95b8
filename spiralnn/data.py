"""The data of the case study."""

import math
import numbers

import numpy as np


def make_spiral(
    n_per_class: int = 100,
    n_classes: int = 3,
    *,
    noise: float = 0.2,
    random_state: "int | np.random.RandomState | None" = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the spiral data set: one noisy arm a class, not separable by straight lines.

    Parameters
    ----------
    n_per_class : int, default=100
        Rows of each class.
    n_classes : int, default=3
        Number of arms.
    noise : float, default=0.2
        Standard deviation of the angle, in radians.
    random_state : int, numpy.random.RandomState or None, default=None
        A seed, a generator that is drawn from and so moves on, or None for NumPy's global generator.

    Returns
    -------
    X : ndarray of shape (n_per_class * n_classes, 2), float64
        The points, inside a disc of radius 1.
    y : ndarray of shape (n_per_class * n_classes,), int64
        Class numbers 0, 1, ... in consecutive runs.

    Examples
    --------
    >>> from spiralnn import make_spiral
    >>> X, y = make_spiral(100, 3, random_state=0)
    >>> X.shape, y.shape
    ((300, 2), (300,))
    """
    N = _count("n_per_class", n_per_class)
    K = _count("n_classes", n_classes)
    if isinstance(noise, bool) or not isinstance(noise, numbers.Real):
        raise TypeError(f"noise is {noise!r}, expected a number")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise is {noise!r}, expected a finite number, 0 or more")
    draw = _generator(random_state).randn

    X = np.empty((N * K, 2))
    r = np.linspace(0.0, 1, N)  # radius
    for j in range(K):
        t = np.linspace(j * 4, (j + 1) * 4, N) + draw(N) * noise  # theta
        X[N * j : N * (j + 1), 0] = r * np.sin(t)
        X[N * j : N * (j + 1), 1] = r * np.cos(t)
    y = np.repeat(np.arange(K, dtype=np.int64), N)
    return X, y


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r}, expected an integer")
    if value < 1:
        raise ValueError(f"{name} is {value!r}, expected 1 or more")
    return int(value)


def _generator(random_state: object) -> np.random.RandomState:
    if random_state is None:
        return np.random.mtrand._rand  # the generator behind np.random.randn, as scikit-learn does
    if isinstance(random_state, np.random.RandomState):
        return random_state
    if isinstance(random_state, bool) or not isinstance(random_state, numbers.Integral):
        raise TypeError(f"random_state is {random_state!r}, expected an integer, a numpy RandomState or None")
    seed = int(random_state)
    if not 0 <= seed < 2**32:
        raise ValueError(f"random_state is {seed}, expected an integer from 0 to 2**32 - 1")
    return np.random.RandomState(seed)
