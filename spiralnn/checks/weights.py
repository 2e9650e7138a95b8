"""Weights of rows, from samples and classes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import as_array, check_finite, real_numbers, writable_view
from .scalars import finite_number


def sample_weights(sample_weight: Any, N: int, dtype: Any) -> np.ndarray | None:
    """Weights as a contiguous array (N,) of a dtype: finite, at least 0, not all 0. None stays None.

    Weights whose largest is far from 1 are scaled by a power of two, which changes neither loss nor gradients, so that
    products with them stay in the range of the dtype.
    """
    if sample_weight is None:
        return None
    weights = as_array("sample_weight", sample_weight)
    if weights.shape != (N,):
        raise ValueError(f"sample_weight has shape {weights.shape}, expected ({N},): one weight a row")
    weights = real_numbers("sample_weight", weights)
    check_finite("sample_weight", weights)
    low, high = float(weights.min()), float(weights.max())
    if low < 0.0:
        row = int(weights.argmin())
        raise ValueError(f"Negative values in data passed to `sample_weight`: {low:g} at [{row}], expected at least 0")
    if high == 0.0:
        raise ValueError("sample_weight is zero in every row, expected a positive weight")
    if not 2.0**-40 < high < 2.0**40:
        weights = np.ldexp(weights.astype(np.float64), -math.frexp(high)[1])
    return writable_view(np.require(weights, dtype, ["C", "A"]))


def class_weights(class_weight: Any, classes: np.ndarray) -> dict[Any, float] | str | None:
    """class_weight checked: None, "balanced", or a dict from classes to finite numbers of at least 0."""
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"class_weight is {class_weight!r}, expected a dict, 'balanced' or None")
    known = classes.tolist()
    factors = {c: finite_number(f"class_weight[{c!r}]", w, minimum=0.0) for c, w in class_weight.items()}
    unweighted = [c for c in known if c not in factors]
    if unweighted and any(c not in known for c in factors):  # one more of the one and one less of the other: a typo
        raise ValueError(f"The classes, {unweighted}, are not in class_weight, which has {list(factors)}")
    return factors


def training_weights(
    sample_weight: Any, class_weight: Any, classes: np.ndarray, labels: np.ndarray, dtype: Any
) -> np.ndarray | None:
    """Weight of each row in the loss, as of `sample_weights`: the sample's times the class's; None where all are 1.

    "balanced" gives class k the factor total / (K total_k), with totals of the samples' weights: all classes count the
    same (King and Zeng, Logistic Regression in Rare Events Data, 2001, as scikit-learn has it).
    """
    weights = sample_weights(sample_weight, len(labels), dtype)
    class_weight = class_weights(class_weight, classes)
    if class_weight is None:
        return weights
    if class_weight == "balanced":
        totals = np.bincount(labels, weights, len(classes))
        factors = np.divide(totals.sum(), len(classes) * totals, out=np.zeros(len(classes)), where=totals > 0.0)
    else:
        factors = np.array([class_weight.get(c, 1.0) for c in classes.tolist()])
    by_row = factors[labels]
    if weights is not None:
        by_row *= weights
    if not by_row.any():
        raise ValueError("sample_weight and class_weight leave every row a weight of 0, expected a positive one")
    return sample_weights(by_row, len(labels), dtype)
