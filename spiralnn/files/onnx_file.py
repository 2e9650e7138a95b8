"""ONNX files: a fitted estimator as a graph that other runtimes compute, X (N, D) -> label (N,), probabilities (N, K).

They can be written, not read back: a graph holds what prediction needs and nothing of the fit.
"""

from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .whole_file import write_atomically

OPSET, IR = 13, 7  # of ONNX 1.8: the first whose Softmax is that of one axis, and read by every runtime since
MAX_BYTES = (1 << 31) - (1 << 20)  # of parameters: protobuf ends at 2 GiB, and the rest needs some, too


def save(model: Any, path: Any) -> None:
    """Write a fitted estimator as Gemm, for the network ReLU and Gemm, then ArgMax and Softmax.

    X and probabilities are of the parameters' dtype; for label see `label_values`. ImportError without onnx; TypeError
    for classes that cannot be kept; ValueError for parameters beyond MAX_BYTES; OSError when the file cannot be
    written. One that was there stays then.
    """
    onnx = _onnx()
    content = _graph(onnx, model).SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    write_atomically(Path(path), content)


def _onnx() -> Any:
    try:
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError("to_onnx needs onnx: pip install 'spiralnn[onnx]'") from error
    return onnx


def _graph(onnx: Any, model: Any) -> Any:
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    arrays = {"classes": label_values(model.classes_), "W": model.coefs_[0], "b": model.intercepts_[0]}
    (D, _), dtype, K = arrays["W"].shape, arrays["W"].dtype, len(arrays["classes"])
    if len(model.coefs_) == 1:
        nodes = [node("Gemm", ["X", "W", "b"], ["scores"])]
    else:
        arrays.update(W2=model.coefs_[1], b2=model.intercepts_[1])
        relu = node("Relu", ["sums"], ["hidden"])
        if dtype == np.float64:  # whose Gemm with Relu ONNX Runtime before 1.18 takes for one of float32, and fails
            arrays["zero"] = np.zeros((), dtype)
            relu = node("Max", ["sums", "zero"], ["hidden"])
        nodes = [node("Gemm", ["X", "W", "b"], ["sums"]), relu, node("Gemm", ["hidden", "W2", "b2"], ["scores"])]
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES:
        raise ValueError(f"the parameters take {size} bytes, an ONNX file keeps at most {MAX_BYTES}")
    nodes += [
        node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),  # of equal ones the first, as in predict
        node("Gather", ["classes", "best"], ["label"]),
        node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    number, label = (onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for a in (arrays["W"], arrays["classes"]))
    graph = onnx.helper.make_graph(
        nodes,
        type(model).__name__,
        [tensor("X", number, ["N", D])],
        [tensor("label", label, ["N"]), tensor("probabilities", number, ["N", K])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="spiralnn",
        producer_version=__version__,
    )


def label_values(classes: np.ndarray) -> np.ndarray:
    """Classes (K,) as the labels of a graph: str stay str, as objects; integers, bools and whole floats become int64.

    TypeError for all others, for they would come back as something else.
    """
    values = list(classes) if classes.dtype.kind in "mM" else classes.tolist()  # dates, which tolist may make integers
    if all(isinstance(value, str) for value in values):
        return np.array(values, object)
    return np.array([_integer(value) for value in values], np.int64)


def _integer(value: Any) -> int:
    numbers = int | float | np.integer | np.floating | np.bool_
    if not isinstance(value, numbers) or isinstance(value, np.timedelta64):  # which is an integer to NumPy
        kinds = "str, integers, bools and whole floats"
        raise TypeError(f"classes holds a {type(value).__name__} object: an ONNX file keeps {kinds}")
    value = value.item() if isinstance(value, np.generic) else value  # compared with integers exactly
    # floats as bounds, for NumPy 1 compares no long double with so large an integer
    if not -(2.0**63) <= value < 2.0**63 or value != int(value):
        raise TypeError(f"classes holds {value!r}: an ONNX file keeps numbers that are int64, and str")
    return int(value)
