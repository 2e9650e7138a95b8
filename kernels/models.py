"""The two models: their sizes, where their parameters lie, what a pass costs, and which kernels serve which shape.

The one place that asks whether there is a hidden layer; everything above holds a `Model`, and calls its `Kernels`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import few_inputs, linear, reference, two_layer

# With few inputs a hidden value costs few multiply-adds: computing it again beats keeping it, and the gradients
# follow from (D + 1) (K - 1) sums a unit, as long as these fit the registers. Share of the multiply-add rate at
# (3 000, D, 100, K) float64, few against general: (D, K) = (2, 3) 1.06 and 0.75, (3, 3) 0.88 and 0.73, (2, 4) 0.92
# and 0.78; but (4, 3) 0.62 and 0.75, (2, 5) 0.49 and 0.77. The linear model gains 1.4 to 2.3 times.
FEW_INPUTS, FEW_SUMS = 4, 9


class Part(NamedTuple):
    """Where one parameter lies in the padded vector of the kernels: rows of `pitch`, of which `columns` are used.

    Padding is zero, and stays zero. transposed: whether the columns there are the rows of the parameter.
    """

    name: str
    first: int
    rows: int
    pitch: int
    columns: int
    transposed: bool = False

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

    def layout(self) -> tuple[Part, ...]:
        """The parts of the padded vector, in the order in which they lie there: weights, then biases."""
        return _layout(self)

    @property
    def n_weights(self) -> int:
        """Elements of the padded vector that are weights, and penalised."""
        return min(part.first for part in self.layout() if part.name.startswith("b"))

    @property
    def padded_size(self) -> int:
        return self.layout()[-1].end

    def flatten(self, params: Sequence[np.ndarray]) -> np.ndarray:
        """Parameters as the padded vector, float64."""
        theta = np.zeros(self.padded_size)
        given = dict(zip(self.names, params, strict=True))
        for part in self.layout():
            value = np.atleast_2d(given[part.name])
            block = theta[part.first : part.end].reshape(part.rows, part.pitch)
            block[:, : part.columns] = value.T if part.transposed else value
        return theta

    def unflatten(self, theta: np.ndarray, dtype: Any) -> tuple[np.ndarray, ...]:
        """Parameters, copied from the padded vector."""
        found = {}
        for part in self.layout():
            block = theta[part.first : part.end].reshape(part.rows, part.pitch)[:, : part.columns].astype(dtype)
            found[part.name] = np.ascontiguousarray(block.T) if part.transposed else block
        return tuple(found[name].reshape(shape) for name, shape in zip(self.names, self.shapes, strict=True))

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of a vector of parameters without padding, one after the other, in their shapes."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), self.shapes, strict=True)]

    def initial(self, randn: Callable[..., np.ndarray], scale: float) -> tuple[np.ndarray, ...]:
        """Weights from normal numbers times scale, and zero biases, as the case study begins."""
        return tuple(scale * randn(*shape) if len(shape) == 2 else np.zeros(shape) for shape in self.shapes)

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

    @property
    def reference(self) -> Any:
        """The same model in NumPy: loss_gradients, scores."""
        return reference.TWO_LAYER if self.H else reference.LINEAR


# Asked for at every call on a few rows, of a few models.


@functools.lru_cache(maxsize=64)
def _layout(model: Model) -> tuple[Part, ...]:
    return tuple(Part(*part) for part in (two_layer if model.H else linear).layout(*model))


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
