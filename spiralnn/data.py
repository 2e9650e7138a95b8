"""The data of the case study."""

import numpy as np

from .checks.scalars import finite_number, random_numbers, whole_number


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
    N = whole_number("n_per_class", n_per_class, 1)
    K = whole_number("n_classes", n_classes, 1)
    noise = finite_number("noise", noise, minimum=0.0)
    draw = random_numbers(random_state).randn

    X = np.empty((N * K, 2))
    r = np.linspace(0.0, 1, N)  # radius
    for j in range(K):
        t = np.linspace(j * 4, (j + 1) * 4, N) + draw(N) * noise  # theta
        X[N * j : N * (j + 1), 0] = r * np.sin(t)
        X[N * j : N * (j + 1), 1] = r * np.cos(t)
    y = np.repeat(np.arange(K, dtype=np.int64), N)
    return X, y
