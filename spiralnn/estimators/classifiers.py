"""The two classifiers: the case study's linear model and its network."""

import dataclasses
from typing import Any

import numpy as np

from ..checks.scalars import whole_number
from ..files import model_file
from ..kernels.models import Model
from .settings import documented
from .training import Trainer
from .transformation import Transformer


@documented
@dataclasses.dataclass(kw_only=True, repr=False, eq=False)
class SoftmaxClassifier(Trainer):
    """Linear classifier with softmax cross-entropy loss, trained by a solver of your choice.

    Minimises 1/N sum_i -log softmax(x_i W + b)[y_i] + reg/2 |W|^2, as the case study does.
    """

    @property
    def coef_(self) -> np.ndarray:
        """W transposed, (K, D), as scikit-learn's feature selection looks for it; a view of coefs_[0]."""
        return self.coefs_[0].T

    @property
    def intercept_(self) -> np.ndarray:
        """b (K,), which is intercepts_[0]."""
        return self.intercepts_[0]

    def _model(self, D: int, K: int) -> Model:
        return Model(D, 0, K)


@documented
@dataclasses.dataclass(kw_only=True, repr=False, eq=False)
class TwoLayerNet(Transformer):
    """Network with one hidden ReLU layer and softmax cross-entropy loss, trained by a solver of your choice.

    Minimises 1/N sum_i -log softmax(max(0, x_i W + b) W2 + b2)[y_i] + reg/2 (|W|^2 + |W2|^2), as the case study does.

    Parameters
    ----------
    hidden_size : int, default 100
        Hidden units H, at least 1.
    """

    hidden_size: int = 100

    def _checked_settings(self) -> dict[str, Any]:
        return {**super()._checked_settings(), "hidden_size": whole_number("hidden_size", self.hidden_size, 1)}

    def _model(self, D: int, K: int) -> Model:
        return Model(D, int(self.hidden_size), K)


def load(path: Any) -> Any:
    """The estimator in a model file, as it was saved.

    Raises ModelFileError when the file is damaged, not a model file, or of a newer format; OSError when it cannot be
    read at all.
    """
    return model_file.load(path, {"SoftmaxClassifier": SoftmaxClassifier, "TwoLayerNet": TwoLayerNet})
