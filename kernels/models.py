"""The two models: their sizes, where their parameters lie, what a pass costs, and which kernels serve which shape.

The one place that asks whether there is a hidden layer; everything above holds a `Model`, and calls its `Kernels`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import few_inputs, linear, newton, reference, two_layer, two_layer_units

# With few inputs a hidden value costs few multiply-adds: computing it again beats keeping it, and the gradients
# follow from (D + 1) (K - 1) sums a unit, as long as these fit the registers. Share of the multiply-add rate at
# (3 000, D, 100, K) float64, few against general: (D, K) = (2, 3) 1.06 and 0.75, (3, 3) 0.88 and 0.73, (2, 4) 0.92
# and 0.78; but (4, 3) 0.62 and 0.75, (2, 5) 0.49 and 0.77. The linear model gains 1.4 to 2.3 times.
FEW_INPUTS, FEW_SUMS = 4, 9


class Part(NamedTuple):
    """Where a parameter lies in the padded vector of the kernels: rows of `pitch`, of which `columns` are used.

    Padding is zero, and stays zero. transposed: whether the columns there are the rows of the parameter. start: the
    first of the columns, where it lies in several parts.
    """

    name: str
    first: int
    rows: int
    pitch: int
    columns: int
    transposed: bool = False
    start: int = 0

    @property
    def end(self) -> int:
        return self.first + self.rows * self.pitch


class Kernels(NamedTuple):
    """The kernels that serve a shape.

    shapes(D, H, K, T, unit): of the workspace that one thread needs for tiles of T rows, `unit` elements a cache line;
    pack(theta, now, D, H, K, workspace) and add_tile(X, y, row, rows, H, K, workspace, sums, leaf) are traced, over the
    arrays of these shapes: see loop.py.
    scores_rows, predict_rows and backward_rows are jitted functions over a range of rows, with memory of
    forward_shapes, predict_shapes and backward_shapes.
    """

    name: str
    shapes: Callable[[int, int, int, int, int], Sequence[tuple[int, int]]]
    pack: Any
    add_tile: Any
    scores_rows: Any
    forward_shapes: Callable[[int, int], Sequence[tuple[int, int]]]
    predict_rows: Any
    predict_shapes: Callable[[int, int], Sequence[tuple[int, int]]]
    backward_rows: Any
    backward_shapes: Callable[[int, int], Sequence[tuple[int, int]]]
    reads_theta: bool = False  # whether the arrays of add_tile end with theta, as one row


class Layout(NamedTuple):
    """The parts of a padded vector of parameters, in the order in which they lie there: weights, then biases."""

    parts: tuple[Part, ...]
    shapes: dict[str, tuple[int, ...]]  # of the parameters

    @property
    def size(self) -> int:
        return self.parts[-1].end

    @property
    def n_weights(self) -> int:
        """Elements that are weights, and penalised."""
        return min(part.first for part in self.parts if part.name.startswith("b"))

    def flatten(self, params: Sequence[np.ndarray]) -> np.ndarray:
        """Parameters as the padded vector, float64."""
        theta = np.zeros(self.size)
        given = dict(zip(self.shapes, params, strict=True))
        for part in self.parts:
            value = np.atleast_2d(given[part.name])
            block = theta[part.first : part.end].reshape(part.rows, part.pitch)
            value = value.T if part.transposed else value
            block[:, : part.columns] = value[:, part.start : part.start + part.columns]
        return theta

    def unflatten(self, theta: np.ndarray, dtype: Any) -> tuple[np.ndarray, ...]:
        """Parameters, copied from the padded vector."""
        found = {name: np.empty(shape, dtype) for name, shape in self.shapes.items()}
        for part in self.parts:
            value = np.atleast_2d(found[part.name])
            block = theta[part.first : part.end].reshape(part.rows, part.pitch)[:, : part.columns]
            (value.T if part.transposed else value)[:, part.start : part.start + part.columns] = block
        return tuple(found.values())


class Model(NamedTuple):
    """D inputs, H hidden units (0: the linear model), K classes."""

    D: int
    H: int
    K: int

    @classmethod
    def of(cls, params: Sequence[np.ndarray]) -> "Model":
        """The model that has these parameters: (W, b), or (W, b, W2, b2)."""
        return cls(params[0].shape[0], params[0].shape[1] if len(params) == 4 else 0, params[-1].size)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameters, in the order W, b, W2, b2."""
        D, H, K = self
        return ((D, H), (H,), (H, K), (K,)) if H else ((D, K), (K,))

    @property
    def names(self) -> tuple[str, ...]:
        return ("W", "b", "W2", "b2")[: len(self.shapes)]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def layout(self) -> Layout:
        """Where parameters lie in the padded vector of the kernels."""
        return _layout(self)

    def batch_layout(self, itemsize: int) -> Layout:
        """The same for the kernels of batches."""
        return _batch_layout(self, itemsize)

    @property
    def n_weights(self) -> int:
        return self.layout.n_weights

    @property
    def padded_size(self) -> int:
        """Elements of the padded vector, in either layout."""
        return self.layout.size

    def flatten(self, params: Sequence[np.ndarray]) -> np.ndarray:
        return self.layout.flatten(params)

    def unflatten(self, theta: np.ndarray, dtype: Any) -> tuple[np.ndarray, ...]:
        return self.layout.unflatten(theta, dtype)

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of a vector of parameters without padding, one after the other, in their shapes."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), self.shapes, strict=True)]

    def initial(self, randn: Callable[..., np.ndarray], scale: float) -> tuple[np.ndarray, ...]:
        """Weights from normal numbers times scale, and zero biases, as the case study begins."""
        return tuple(scale * randn(*shape) if len(shape) == 2 else np.zeros(shape) for shape in self.shapes)

    def glorot(self, uniform: Callable[..., np.ndarray]) -> tuple[np.ndarray, ...]:
        """The network's weights from uniform numbers in (-a, a), a^2 = 6 / (fan in + fan out), and zero biases (Glorot
        and Bengio, 2010); the linear model, which is convex, begins with zeros."""
        if not self.H:
            return tuple(np.zeros(shape) for shape in self.shapes)
        return tuple(
            uniform(-1.0, 1.0, shape) * math.sqrt(6.0 / sum(shape)) if len(shape) == 2 else np.zeros(shape)
            for shape in self.shapes
        )

    def places(self) -> np.ndarray:
        """(size,) int64: where each parameter, in the order W, b, W2, b2 without padding, lies in the padded vector."""
        numbers = self.unflatten(np.arange(self.padded_size, dtype=np.float64), np.int64)
        return np.concatenate([part.reshape(-1) for part in numbers])

    def flops(self, N: int) -> float:
        """Multiplications and additions of a pass that cannot be done without: H (4 D + 6 K) a row; 4 D K for the
        linear model, where softmax counts too (60 a class)."""
        D, H, K = self
        return float(N) * (H * (4 * D + 6 * K) if H else 4 * D * K + 60 * K)

    def forward_flops(self, N: int) -> float:
        """The same of scores alone."""
        D, H, K = self
        return float(N) * (2.0 * (H or K) * D + 2.0 * H * K)

    def backward_flops(self, N: int) -> float:
        """The same of gradients from those of the scores; hidden values are computed again."""
        D, H, K = self
        return float(N) * (H * (6.0 * D + 4.0 * K) if H else 4.0 * D * K)

    def widest(self) -> int:
        """Numbers that are held for a row while a tile of it is computed, beside its inputs."""
        return max(self.H, self.K)

    def has_few_inputs(self) -> bool:
        return (self.D + 1) * (self.K - 1) <= FEW_SUMS and self.D <= FEW_INPUTS

    def kernels(self) -> Kernels:
        """The kernels for this shape. The one place where this is decided."""
        return _kernels(self)

    def has_units(self) -> bool:
        """Whether batches are computed with lanes along hidden units."""
        return self.H > 0 and not self.has_few_inputs()

    def batch_kernels(self) -> Kernels:
        """Those for batches of rows that were copied one after the other."""
        kernels = _kernels(self)
        if not self.has_units():
            return kernels
        units = two_layer_units
        return kernels._replace(
            name="two_layer_units", shapes=units.shapes, pack=units.pack, add_tile=units.tile, reads_theta=True
        )

    @property
    def reference(self) -> Any:
        """The same model in NumPy: loss_gradients, scores."""
        return reference.TWO_LAYER if self.H else reference.LINEAR


class SecondOrder(Model):
    """The linear model, H = 0, with the Hessian in its sums: what a pass of Newton's method needs of it."""

    @property
    def padded_size(self) -> int:
        """Numbers in a row of sums, of which the gradient, laid out as ever, is the beginning."""
        return newton.size(self.D, self.K)

    def kernels(self) -> Kernels:
        return _kernels(Model(*self))._replace(
            name="linear_hessian", shapes=newton.shapes, pack=newton.pack, add_tile=newton.tile
        )

    def flops(self, N: int) -> float:
        """The same, and two of each number of the Hessian."""
        return super().flops(N) + 2.0 * N * (newton.size(self.D, self.K) - newton.gradient_size(self.D, self.K))


# Asked for at every call on a few rows, of a few models.


@functools.lru_cache(maxsize=64)
def _layout(model: Model) -> Layout:
    parts = (two_layer if model.H else linear).layout(*model)
    return Layout(tuple(Part(*part) for part in parts), dict(zip(model.names, model.shapes, strict=True)))


@functools.lru_cache(maxsize=64)
def _batch_layout(model: Model, itemsize: int) -> Layout:
    if not model.has_units():
        return _layout(model)
    parts = two_layer_units.layout(*model, 64 // itemsize)
    return _layout(model)._replace(parts=tuple(Part(*part) for part in parts))


@functools.lru_cache(maxsize=64)
def _kernels(model: Model) -> Kernels:
    D, H, K = model
    module: Any = two_layer if H else linear
    of_shape = functools.partial(module.shapes, D, H, K)
    forward = functools.partial(module.shapes, D, H, K, keep=False) if H else of_shape
    general = Kernels(
        "two_layer" if H else "linear", module.shapes, module.pack, module.tile,
        module.scores_rows, forward, module.predict_rows, forward, module.backward_rows, of_shape,
    )  # fmt: skip
    if not model.has_few_inputs():
        return general
    made: Any = (few_inputs.two_layer if H else few_inputs.linear)(D, K - 1)
    name = f"{general.name}_{D}_inputs_{K}_classes"
    few = general._replace(name=name, shapes=made.shapes, pack=made.pack, add_tile=made.tile)
    if not H:
        return few
    of_shape = functools.partial(made.shapes, D, H, K)
    return few._replace(predict_rows=made.predict_rows, predict_shapes=of_shape)
