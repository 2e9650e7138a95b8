"""What scikit-learn asks of a classifier beside fit and predict: parameters, tags, column names, the not-fitted error.

Duck-typed: scikit-learn is never imported from here, but where it is loaded its own classes are used.
"""

import functools
import inspect
import sys
import types
import warnings
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from ..checks.frames import names_of
from ..rows.rows import Rows

SHOWN = 120  # characters of a parameter's value in a notebook


class NotFittedError(ValueError, AttributeError):
    """The estimator has no fitted parameters yet."""


def not_fitted(estimator: Any) -> Exception:
    """scikit-learn's own exception where scikit-learn is loaded, so that its users' handlers catch it."""
    kind = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", NotFittedError)
    return kind(f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' first.")


class available_if:
    """A method that an instance has only where a function of it says so: elsewhere hasattr is false."""

    def __init__(self, condition: Callable[[Any], bool]) -> None:
        self._condition = condition

    def __call__(self, method: Any) -> Any:
        self._method = method
        functools.update_wrapper(self, method)
        return self

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self._method
        if not self._condition(instance):
            raise AttributeError(f"{owner.__name__!r} with these parameters has no {self._method.__name__!r}")
        return types.MethodType(self._method, instance)


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

    def _changed_params(self) -> dict[str, Any]:
        """Constructor arguments that are not their defaults."""
        defaults = {n: p.default for n, p in inspect.signature(type(self).__init__).parameters.items()}
        return {n: v for n, v in self.get_params().items() if not _same(v, defaults[n])}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self._changed_params().items())})"

    def _repr_html_(self) -> str:
        """What a notebook shows: name, whether fitted, and all parameters, those that were changed in bold."""
        state = "fitted" if self.__sklearn_is_fitted__() else "not fitted"
        changed = self._changed_params()
        rows = "".join(
            f'<tr style="font-weight: {"bold" if name in changed else "normal"}">'
            f'<td style="text-align: left">{escape(name)}</td>'
            f'<td style="text-align: left; font-family: monospace">{escape(_shortened(repr(value)))}</td></tr>'
            for name, value in self.get_params().items()
        )
        return (
            f"<details open><summary><b>{escape(type(self).__name__)}</b> ({state})</summary>"
            f"<table><tbody>{rows}</tbody></table></details>"
        )

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

    def get_metadata_routing(self) -> Any:
        """For scikit-learn's metadata routing: whether sample_weight goes to fit, partial_fit and score."""
        if hasattr(self, "_metadata_request"):
            return self._metadata_request
        from sklearn.utils.metadata_routing import MetadataRequest

        routing = MetadataRequest(owner=type(self).__name__)
        for method in (routing.fit, routing.partial_fit, routing.score):
            method.add_request(param="sample_weight", alias=None)
        return routing

    def set_fit_request(self, *, sample_weight: bool | str | None) -> Any:
        """Whether fit takes sample_weight in scikit-learn's metadata routing; a string: under that name."""
        return self._set_request("fit", sample_weight)

    def set_partial_fit_request(self, *, sample_weight: bool | str | None) -> Any:
        """Whether partial_fit takes sample_weight in scikit-learn's metadata routing; a string: under that name."""
        return self._set_request("partial_fit", sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None) -> Any:
        """Whether score takes sample_weight in scikit-learn's metadata routing; a string: under that name."""
        return self._set_request("score", sample_weight)

    def _set_request(self, method: str, request: bool | str | None) -> Any:
        routing = self.get_metadata_routing()
        getattr(routing, method).add_request(param="sample_weight", alias=request)
        self._metadata_request = routing  # under scikit-learn's name for it, which its clone copies
        return self

    def _check_column_names(self, X: Any, *, stacklevel: int = 4) -> None:
        """The same column names as in fit, in the same order; scikit-learn's messages, and its warning for none."""
        names, known, owner = column_names(X), getattr(self, "feature_names_in_", None), type(self).__name__
        if names is None:
            if known is not None:
                text = f"X does not have valid feature names, but {owner} was fitted with feature names"
                warnings.warn(text, stacklevel=stacklevel)
        elif known is None:
            text = f"X has feature names, but {owner} was fitted without feature names"
            warnings.warn(text, stacklevel=stacklevel)
        elif not np.array_equal(names, known):
            message = "The feature names should match those that were passed during fit.\n"
            unseen, missing = set(names) - set(known), set(known) - set(names)
            if unseen:
                message += f"Feature names unseen at fit time:\n{_listed(unseen)}"
            if missing:
                message += f"Feature names seen at fit time, yet now missing:\n{_listed(missing)}"
            if not unseen and not missing:
                message += "Feature names must be in the same order as they were in fit.\n"
            raise ValueError(message)


def column_names(X: Any) -> np.ndarray | None:
    """Column names of a DataFrame, or rows, when all are strings, None when none is; TypeError for a mixture."""
    columns = X.names if isinstance(X, Rows) else names_of(X)
    if columns is None or not len(columns):
        return None
    strings = [isinstance(c, str) for c in columns]
    if any(strings) and not all(strings):
        raise TypeError(
            f"X has column names of types {', '.join(sorted({type(c).__name__ for c in columns}))}. Feature names are "
            "only supported if all input features have string names: X.columns = X.columns.astype(str) converts them"
        )
    return np.asarray(columns, dtype=object) if all(strings) else None


def _listed(names: set[str]) -> str:
    """One a line, sorted, the first five of them."""
    lines = [f"- {name}\n" for name in sorted(names)]
    return "".join(lines[:5]) + "- ...\n" * (len(lines) > 5)


def _shortened(text: str) -> str:
    """On one line, its middle left out when it is long."""
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} ... {text[-SHOWN // 2 :]}"


def _same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, int | float | str) and a == b)
