"""The hidden layer as features, and what scikit-learn asks of a transformer, without importing it."""

import importlib
import sys
from typing import Any

import numpy as np

from .training import Trainer

CONTAINERS = ("default", "pandas", "polars")


class Transformer(Trainer):
    """A classifier with a hidden layer, whose activations are inputs for whatever comes next."""

    def transform(self, X: Any) -> Any:
        """Activations of the hidden units, max(0, X W + b): (N, H), float32 or float64 as `decision_function`.

        An array, or a DataFrame where `set_output` or scikit-learn's configuration asks for one. FloatingPointError
        when X W + b overflows.
        """
        container = self._container()
        matrix, params = self._checked_features(X)
        hidden = self._scores(matrix, params[:2], noun="hidden values")  # of the linear model that the first layer is
        np.maximum(hidden, 0, out=hidden)
        if container == "default":
            return hidden
        frames, names = importlib.import_module(container), self.get_feature_names_out()
        if container == "polars":
            return frames.DataFrame(hidden, schema=names.tolist(), orient="row")
        index = X.index if isinstance(X, frames.DataFrame) else None
        return frames.DataFrame(hidden, index=index, columns=names, copy=False)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """`fit`, to which fit_params go, then `transform` of the same X."""
        return self.fit(X, y, **fit_params).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of `transform`, (H,) of str: the lower-case class name and a number.

        input_features (D,), optional: what X's columns are called. ValueError when they are not those of fit.
        """
        H, known = self._params()[1].size, getattr(self, "feature_names_in_", None)
        if input_features is not None:
            if known is not None and not np.array_equal(known, np.asarray(input_features, object)):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(input_features) != self.n_features_in_:
                raise ValueError(
                    f"input_features should have length equal to number of features ({self.n_features_in_}), "
                    f"got {len(input_features)}"
                )
        return np.array([f"{type(self).__name__.lower()}{i}" for i in range(H)], object)

    def set_output(self, *, transform: str | None = None) -> Any:
        """What `transform` returns: an array ("default"), or a DataFrame of "pandas" or "polars"; None: as before."""
        if transform is not None:
            _check_container(transform)
            self._sklearn_output_config = {"transform": transform}  # scikit-learn's name for it, which its clone copies
        return self

    def _container(self) -> str:
        """What set_output said, or scikit-learn's configuration where that is loaded."""
        get_config: Any = getattr(sys.modules.get("sklearn"), "get_config", dict)
        chosen: Any = getattr(self, "_sklearn_output_config", {})
        container = chosen.get("transform") or get_config().get("transform_output", "default")
        _check_container(container)
        return container

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags(preserves_dtype=["float64", "float32"])
        return tags


def _check_container(container: Any) -> None:
    if container not in CONTAINERS:
        raise ValueError(f"transform is {container!r}, expected one of {', '.join(map(repr, CONTAINERS))}")
