"""What scikit-learn asks of a classifier beside fit and predict: parameters, tags, column names, the not-fitted error.

Duck-typed: scikit-learn is never imported from here, but where it is loaded its own classes are used.
"""

import inspect
import sys
from typing import Any

import numpy as np


class NotFittedError(ValueError, AttributeError):
    """The estimator has no fitted parameters yet."""


def not_fitted(estimator: Any) -> Exception:
    """scikit-learn's own exception where scikit-learn is loaded, so that its users' handlers catch it."""
    module = sys.modules.get("sklearn.exceptions")
    kind = module.NotFittedError if module else NotFittedError
    return kind(f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' first.")


class ClassifierProtocol:
    """The base of both classifiers. A subclass spells out its constructor arguments and keeps each as it came."""

    _estimator_type = "classifier"

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments by name; deep is accepted for scikit-learn and changes nothing."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Any:
        """Set constructor arguments by name; ValueError for an unknown one."""
        for name, value in params.items():
            if name not in self._parameter_names():
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}. "
                    f"Valid parameters are: {self._parameter_names()!r}."
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {n: p.default for n, p in inspect.signature(type(self).__init__).parameters.items()}
        changed = (f"{n}={v!r}" for n, v in self.get_params().items() if not _same(v, defaults[n]))
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def _check_column_names(self, X: Any) -> None:
        names = column_names(X)
        known = getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and not np.array_equal(names, known):
            unseen = sorted(set(names) - set(known))
            missing = sorted(set(known) - set(names))
            message = "The feature names should match those that were passed during fit.\n"
            if unseen:
                message += "Feature names unseen at fit time:\n" + "".join(f"- {n}\n" for n in unseen)
            if missing:
                message += "Feature names seen at fit time, yet now missing:\n" + "".join(f"- {n}\n" for n in missing)
            if not unseen and not missing:
                message += "Feature names must be in the same order as they were in fit.\n"
            raise ValueError(message)


def column_names(X: Any) -> np.ndarray | None:
    """Column names of a DataFrame when all are strings."""
    columns = getattr(X, "columns", None)
    if columns is None or not len(columns) or not all(isinstance(c, str) for c in columns):
        return None
    return np.asarray(columns, dtype=object)


def _same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, int | float | str) and a == b)
