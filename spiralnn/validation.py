"""All that is checked before a kernel runs: every error names the argument, what came and what is expected."""

import math
import numbers
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .resources import available_memory

PARAMETER_BYTES = 80  # of a parameter in training, about: three states, a gradient, two sums and copies, 8 bytes each
LARGE = 1 << 28  # bytes from which on it is worth asking how many there are
CHECKED_ROWS = 1 << 16  # rows looked at together, so that checking needs a megabyte or so at any N


def feature_matrix(
    X: Any, *, n_features: int | None = None, owner: str = "the model", dtype: Any = None, finite: bool = True
) -> np.ndarray:
    """X as a C-contiguous, finite float array (N, D): float32 stays, every other real dtype becomes float64.

    The caller's array itself when it is that already, read-only or not: nothing here or below writes to it.
    n_features: what D must be, of whom (owner). dtype: float32 or float64 whatever X has. finite=False leaves the
    values to the caller to check.
    """
    if type(X) is np.ndarray and (X.dtype is _FLOAT64 or X.dtype is _FLOAT32) and X.ndim == 2 and X.flags.carray:
        array = X  # nothing to convert: a call on few rows is made of such questions
    else:
        array = _as_float_matrix(X)
    if dtype is not None and array.dtype != dtype:
        with np.errstate(over="ignore"):  # what overflows is infinite and refused
            array = array.astype(dtype)
    N, D = array.shape
    if N == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={array.shape}): X needs a minimum of 1 is required")
    if D == 0:
        raise ValueError(f"0 feature(s) (shape=({N}, 0)) while a minimum of 1 is required: X holds no columns")
    if n_features is not None and n_features != D:
        raise ValueError(f"X has {D} features, but {owner} is expecting {n_features} features as input")
    if finite:
        check_finite("X", array)
    return array


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def _as_float_matrix(X: Any) -> np.ndarray:
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError("X is a sparse matrix; expected a dense array: X.toarray() makes one, if memory allows")
    array = as_array("X", X)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {array.dtype}, expected real numbers")
    array = _real_numbers("X", array)
    if array.ndim != 2:
        raise ValueError(
            f"X has {array.ndim} dimension{'s' * (array.ndim != 1)}, expected 2: (samples, features). "
            "Reshape your data: X.reshape(-1, 1) for one feature, X.reshape(1, -1) for one sample"
        )
    target = np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64
    try:
        with np.errstate(over="ignore"):  # what overflows is infinite and refused
            return kernel_array(array, target)
    except (MemoryError, ValueError) as error:  # ValueError: more numbers than an index can count
        kind = np.dtype(target).name
        raise MemoryError(f"X of shape {array.shape} needs a contiguous copy in {kind}: {error}") from None


def _real_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """The array, objects converted to float64; TypeError or ValueError unless it holds real numbers."""
    if array.dtype.kind == "O":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} has dtype {array.dtype}, expected real numbers ({error})") from None
        except OverflowError as error:  # an integer beyond the range of floats
            raise ValueError(f"{name} holds a number beyond float64, expected finite numbers ({error})") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array


def as_array(name: str, value: Any) -> np.ndarray:
    """value as an array; ValueError with its name when values are masked or its rows differ in length."""
    masked = sys.modules.get("numpy.ma")  # not imported for the question: who has masked arrays has the module
    # another thread may be importing it
    if masked is not None and isinstance(value, getattr(masked, "MaskedArray", ())) and masked.is_masked(value):
        raise ValueError(f"{name} holds masked values; expected an array without missing values")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is ragged, expected an array ({error})") from None


def kernel_array(array: Any, dtype: Any) -> np.ndarray:
    """The one form in which kernels take floats: C-contiguous, aligned, native, not marked read-only; itself if so.

    To Numba every other form is another type, and another compilation.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array
    return writable_view(np.require(np.asarray(array), dtype, ["C", "A"]))


def writable_view(array: np.ndarray) -> np.ndarray:
    """The same memory as an array that is not marked read-only: to Numba a read-only array is another type."""
    if array.flags.writeable:
        return array

    class Memory:
        __array_interface__ = {**array.__array_interface__, "data": (array.__array_interface__["data"][0], False)}
        owner = array

    return np.asarray(Memory())


def check_finite(name: str, array: np.ndarray, first_row: int = 0) -> None:
    """ValueError that says where the first NaN or infinity stands, in what array is the rows of from first_row on."""
    for start in range(0, len(array), CHECKED_ROWS):
        part = array[start : start + CHECKED_ROWS]
        # the sum is finite when all values are, and costs no temporary; only when it is not, look at each
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(float(part.sum(dtype=np.float64))):
                continue
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):
            place = tuple(int(i) for i in bad[0])
            value = "NaN" if np.isnan(part[place]) else "infinity"
            where = ", ".join(str(i) for i in (first_row + start + place[0], *place[1:]))
            raise ValueError(f"{name} holds {value} at [{where}], expected finite numbers")


def label_view(y: Any, N: int, K: int | None) -> np.ndarray:
    """The caller's own integers, checked to be N labels in [0, K); K = None: at least 0."""
    labels = as_array("y", y)
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}, expected ({N},)")
    if labels.shape[0] != N:
        raise ValueError(f"y has {labels.shape[0]} labels, but X has {N} rows")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"y has dtype {labels.dtype}, expected integer labels in [0, {'K' if K is None else K})")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 and K is None:
        raise ValueError(f"y holds label {low}, expected labels of at least 0")
    if K is not None and (low < 0 or high >= K):
        raise ValueError(f"y holds label {low if low < 0 else high}, but there are {K} classes: expected [0, {K})")
    return labels


def label_bytes(labels: np.ndarray, K: int) -> np.ndarray:
    """The one form in which kernels take labels in [0, K): their bytes, uint8 (N, 2), or (N, 4) where K > 256.

    Up to 256 classes are told apart by the lowest byte, which both columns hold; four go from the highest to the
    lowest. In either order NumPy does not take them for contiguous, whatever the integers they are a view of, so that
    to Numba all labels are of one type.
    """
    little = labels.dtype == labels.dtype.newbyteorder("<")
    if K > 256 and not (little and labels.itemsize >= 4):
        labels, little = labels.astype("<u4"), True
    first = 3 if K > 256 else 0 if little else labels.itemsize - 1

    class Bytes:
        __array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "data": (labels.__array_interface__["data"][0] + first, False),
            "shape": (len(labels), 4 if K > 256 else 2),
            "strides": (labels.strides[0], -1 if K > 256 else 0),
        }
        owner = labels

    return np.asarray(Bytes())


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
    weights = _real_numbers("sample_weight", weights)
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


def whole_number(name: str, value: Any, minimum: int) -> int:
    """value as an int of at least minimum."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r}, expected an integer of at least {minimum}")
    if value < minimum:
        raise ValueError(f"{name} is {value!r}, expected an integer of at least {minimum}")
    return int(value)


def finite_number(name: str, value: Any, *, minimum: float | None = None) -> float:
    """value as a finite float, of at least minimum."""
    expected = "a finite number" + (f" of at least {minimum:g}" if minimum is not None else "")
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}, expected {expected}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floats
        number = math.inf
    if not math.isfinite(number) or (minimum is not None and number < minimum):
        raise ValueError(f"{name} is {value!r}, expected {expected}")
    return number


def random_numbers(random_state: Any) -> np.random.RandomState:
    """A RandomState from None, an int or a RandomState, with scikit-learn's meaning."""
    if random_state is None or random_state is np.random:
        return np.random.mtrand._rand  # the generator behind np.random.randn
    if isinstance(random_state, np.random.RandomState):
        return random_state
    if isinstance(random_state, bool | np.bool_) or not isinstance(random_state, numbers.Integral):
        raise TypeError(f"random_state is {random_state!r}, expected None, an int or a numpy RandomState")
    if not 0 <= int(random_state) < 2**32:
        raise ValueError(f"random_state is {random_state!r}, expected an integer from 0 to 2**32 - 1")
    return np.random.RandomState(int(random_state))


def thread_count(n_threads: Any) -> int | None:
    """n_threads as None or an int of at least 1."""
    return None if n_threads is None else whole_number("n_threads", n_threads, 1)


def check_training_memory(model: Any) -> None:
    """MemoryError when the parameters of a model, their sums and gradients are more than this process may take."""
    needed = PARAMETER_BYTES * model.size
    if needed > LARGE and needed > available_memory():
        D, H, K = model
        network = f"hidden_size={H} with " if H else ""
        raise MemoryError(
            f"{network}{D} features and {K} classes need about {needed / 2**30:.3g} GiB to train, "
            f"of which {available_memory() / 2**30:.3g} GiB are available"
        )


def parameter_arrays(
    name: str, params: Sequence[Any], D: int, dtype: Any, *, n_hidden: int | None = None, K: int | None = None
) -> tuple[np.ndarray, ...]:
    """(W, b) or (W, b, W2, b2) as contiguous finite arrays of a dtype, with shapes that fit each other and D.

    b and b2 may also come as rows (1, H), as the case study has them. n_hidden and K are checked when given.
    """
    if not isinstance(params, Sequence) or len(params) not in (2, 4):
        found = f"{len(params)} arrays" if isinstance(params, Sequence) else type(params).__name__
        raise ValueError(f"{name} holds {found}, expected (W, b) or (W, b, W2, b2)")
    names = ("W", "b", "W2", "b2")
    arrays = []
    for part, value in zip(names, params, strict=False):
        array = as_array(f"{name}: {part}", value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: {part} has dtype {array.dtype}, expected real numbers")
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
        if part.startswith("b") and array.ndim == 2 and array.shape[0] == 1:
            array = array[0]
        arrays.append(array)
    widths = [D, *(a.size for a in arrays[1::2])]
    if len(arrays) == 4 and n_hidden is not None:
        widths[1] = n_hidden
    if K is not None:
        widths[-1] = K
    expected = [s for n, m in zip(widths, widths[1:], strict=False) for s in ((n, m), (m,))]
    for part, array, shape in zip(names, arrays, expected, strict=False):
        if array.shape != shape:
            raise ValueError(f"{name}: {part} has shape {array.shape}, expected {shape}")
        check_finite(f"{name}: {part}", array)
    if widths[1] < 1:
        raise ValueError(f"{name}: b holds {widths[1]} units, expected at least 1")
    if widths[-1] < 2:
        raise ValueError(f"{name}: {names[len(arrays) - 1]} holds {widths[-1]} class, expected at least 2")
    return tuple(np.ascontiguousarray(a) for a in arrays)


def checked_parameters(name: str, params: Sequence[Any], model: Any, dtype: Any) -> tuple[np.ndarray, ...]:
    """parameter_arrays for those of a model of these sizes."""
    shapes = model.shapes
    if isinstance(params, Sequence) and len(params) != len(shapes):
        raise ValueError(f"{name} holds {len(params)} arrays, expected {len(shapes)}")
    n_hidden = model.H if len(shapes) == 4 else None
    return parameter_arrays(name, params, model.D, dtype, n_hidden=n_hidden, K=model.K)


def label_column(y: Any, N: int, *, stacklevel: int = 3) -> np.ndarray:
    """y as an array (N,) of whatever kind; a column (N, 1) is flattened, with a warning."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    labels = as_array("y", y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected: y is read as y.ravel()",
            _data_conversion_warning(),
            stacklevel=stacklevel,
        )
        labels = labels.ravel()
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}, expected ({N},): one class label a row")
    if labels.shape[0] != N:
        raise ValueError(f"y has {labels.shape[0]} labels, but X has {N} rows")
    return labels


def class_labels(y: Any, N: int, known: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(classes, labels): the sorted distinct labels, and each row's place among them.

    known: the sorted classes that labels must be of; y need not hold each of them. Integers that are 0, ..., K - 1
    already are read where they lie; any others cost one byte a row (K <= 256).
    """
    classes, places = _distinct_labels("y", label_column(y, N, stacklevel=5))
    if known is None:
        _check_two("y", classes)
        return classes, places
    place = {label: k for k, label in enumerate(known.tolist())}
    for label in classes.tolist():
        if label not in place:
            raise ValueError(f"y holds label {label!r}, which is not among the classes {known.tolist()}")
    table = np.array([place[label] for label in classes.tolist()], _place_kind(len(known)))
    return known, table[places]


def sorted_classes(classes: Any) -> np.ndarray:
    """The distinct labels in classes, sorted, at least two."""
    labels = as_array("classes", classes)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"classes has shape {labels.shape}, expected (K,): every label that will come")
    distinct, _ = _distinct_labels("classes", labels)
    _check_two("classes", distinct)
    return distinct


def _check_two(name: str, classes: np.ndarray) -> None:
    if len(classes) < 2:
        raise ValueError(f"{name} holds {len(classes)} class ({classes.tolist()[0]!r}), expected at least 2 classes")


def _place_kind(K: int) -> Any:
    return np.uint8 if K <= 256 else np.uint32


def _distinct_labels(name: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As of class_labels, of labels (N,) of whatever kind."""
    if labels.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {labels.dtype}")
    _check_present(name, labels)
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise ValueError(f"Unknown label type: continuous. {name} holds fractions, expected class labels")
    if labels.dtype.kind == "f" and np.abs(labels).max() >= 2**53:  # as NumPy reads a list of such integers
        raise ValueError(
            f"{name} holds whole numbers from 2**53 on as floats, which merges neighbours: expected integers"
        )
    if labels.dtype.kind in "iu":
        low, high = int(labels.min()), int(labels.max())
        if low == 0 and high < CHECKED_ROWS:
            seen = np.zeros(high + 1, bool)
            for start in range(0, len(labels), CHECKED_ROWS):
                seen[labels[start : start + CHECKED_ROWS]] = True
            if seen.all():
                return np.arange(high + 1, dtype=labels.dtype), labels
    try:
        classes, places = np.unique(labels, return_inverse=True)
    except (TypeError, ValueError) as error:  # ValueError: labels that are arrays
        raise TypeError(f"{name} holds labels that cannot be sorted, expected labels of one kind ({error})") from None
    if labels.dtype.kind == "O" and not all(isinstance(c, type(classes[0])) for c in classes):
        raise TypeError(f"{name} holds labels of different kinds, expected labels of one kind")
    return classes, places.reshape(-1).astype(_place_kind(len(classes)))


def _check_present(name: str, labels: np.ndarray) -> None:
    """ValueError that says where the first missing label stands: NaN, infinity, NaT, None or pandas.NA."""
    if labels.dtype.kind == "f":
        check_finite(name, labels)
    elif labels.dtype.kind in "mM" and np.isnat(labels).any():
        raise ValueError(f"{name} holds NaT at [{np.isnat(labels).argmax()}], expected class labels")
    elif labels.dtype.kind == "O":
        for i, label in enumerate(labels):
            if _is_missing(label):
                raise ValueError(f"{name} holds {label!r} at [{i}], expected class labels")


def _is_missing(label: Any) -> bool:
    if label is None:
        return True
    try:
        return bool(label != label)  # NaN and NaT
    except TypeError:  # pandas.NA
        return True
    except ValueError:  # an array, which sorting will refuse
        return False


def _data_conversion_warning() -> type[Warning]:
    """scikit-learn's own warning class where scikit-learn is loaded, so that its filters apply."""
    return getattr(sys.modules.get("sklearn.exceptions"), "DataConversionWarning", UserWarning)
