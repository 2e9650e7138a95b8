"""Small classifiers of both kinds, by gradient descent, and by every kind of solver where a test is about them all."""

import dataclasses
from typing import Any

import pytest

from spiralnn import SoftmaxClassifier, TwoLayerNet


@dataclasses.dataclass(frozen=True)
class Maker:
    """Makes classifiers with settings of its own, unless a call has others."""

    kind: Any
    settings: dict

    def __call__(self, **changes):
        return self.kind(**{**self.settings, **changes})

    def by(self, solver, **changes):
        """The same by another solver."""
        return Maker(self.kind, {**self.settings, "solver": solver, **changes})

    @property
    def is_network(self):
        return self.kind is TwoLayerNet

    @property
    def solver(self):
        return self.settings["solver"]

    def __str__(self):
        return f"{'network' if self.is_network else 'linear'} {self.solver}"


def descents(hidden_size=5, **settings):
    """(linear model, network) by gradient descent."""
    settings = {"solver": "gd", "random_state": 0, **settings}
    return Maker(SoftmaxClassifier, settings), Maker(TwoLayerNet, {"hidden_size": hidden_size, **settings})


def over(*makers):
    """A test that is done for each of them, as `make`."""
    return pytest.mark.parametrize("make", makers, ids=str)


def over_solvers(linear, network, **settings):
    """For both by gradient descent; by what "auto" comes to, which is L-BFGS; by Newton's method; and in batches.

    settings: of all but the first two.
    """
    return over(linear, network, *other_solvers(linear, network, **settings))


def other_solvers(linear, network, **settings):
    """The last four."""
    others = linear.by("auto"), network.by("auto"), linear.by("newton-cholesky"), network.by("adam")
    return [make.by(make.solver, **settings) for make in others]
