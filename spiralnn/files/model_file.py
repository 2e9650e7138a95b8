"""Model files: a fitted estimator as arrays under a JSON header, see `array_file`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import array_file, objects
from .array_file import ModelFileError

FORMAT = array_file.Format("spiralnn-model", 2, "model file")
VALIDATION = ("validation_scores", "validation_loss_curve")  # fitted attributes that may be None


def save(model: Any, path: Any) -> None:
    """Write a fitted estimator: every fitted attribute, and the constructor arguments that are plain values.

    Functions, generators and starting parameters (callback, a RandomState, init) belong to the run and come back as
    their defaults. TypeError when classes are objects of types that `objects` does not know. OSError when the file
    cannot be written; one that was there stays whole.
    """
    arrays = {
        "classes": _packed("classes", model.classes_),
        "loss_curve": np.asarray(model.loss_curve_, np.float64),
        **{f"coef_{i}": a for i, a in enumerate(model.coefs_)},
        **{f"intercept_{i}": a for i, a in enumerate(model.intercepts_)},
    }
    for name in VALIDATION:
        if getattr(model, f"{name}_", None) is not None:
            arrays[name] = np.asarray(getattr(model, f"{name}_"), np.float64)
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        arrays["feature_names"] = _packed("feature_names", names)
    header = {
        "kind": type(model).__name__,
        "params": {n: _plain(v) for n, v in model.get_params().items() if _is_plain(v)},
        "n_iter": int(model.n_iter_),
        "n_passes": float(model.n_passes_),
        "loss": float(model.loss_),
        "solver": model.solver_,
        "converged": bool(getattr(model, "converged_", False)),
        "object_classes": model.classes_.dtype.kind == "O",
    }
    array_file.write(path, FORMAT, header, arrays)


def load(path: Any, kinds: Mapping[str, Any]) -> Any:
    """The estimator in a model file, as it was saved; kinds: the classes that it may be of, by name.

    Raises ModelFileError when the file is damaged, not a model file, or of a newer format; OSError when it cannot be
    read at all.
    """
    header, arrays = array_file.read(path, FORMAT)
    try:
        return _build(header, arrays, kinds)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except (LookupError, ArithmeticError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: its parts do not make a model ({error})") from None


def _build(header: dict[str, Any], arrays: dict[str, np.ndarray], kinds: Mapping[str, Any]) -> Any:
    model = kinds[header["kind"]](**{name: _unplain(value) for name, value in header["params"].items()})
    layers = 2 if hasattr(model, "hidden_size") else 1
    classes = arrays.pop("classes")
    model.classes_ = objects.unpacked(classes) if header["object_classes"] else classes
    model.loss_curve_ = [float(loss) for loss in arrays.pop("loss_curve")]
    for name in VALIDATION:
        setattr(model, f"{name}_", [float(value) for value in arrays.pop(name)] if name in arrays else None)
    model.best_validation_score_ = max(model.validation_scores_) if model.validation_scores_ else None
    if "feature_names" in arrays:
        model.feature_names_in_ = objects.unpacked(arrays.pop("feature_names"))
    coefs = [arrays.pop(f"coef_{i}") for i in range(layers)]
    intercepts = [arrays.pop(f"intercept_{i}") for i in range(layers)]
    if arrays:
        raise ModelFileError(f"unexpected arrays {sorted(arrays)}")
    widths = [coefs[0].shape[0], *(b.size for b in intercepts)]
    for coef, intercept, n, m in zip(coefs, intercepts, widths, widths[1:], strict=False):
        if coef.shape != (n, m) or intercept.shape != (m,) or not coef.dtype == intercept.dtype == coefs[0].dtype:
            raise ModelFileError("shapes or dtypes of its arrays do not fit together")
        if coef.dtype not in (np.float32, np.float64) or not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ModelFileError("its parameters are not finite floats")
    if min(widths) < 1 or widths[-1] < 2:
        raise ModelFileError("its arrays are empty, or hold fewer than 2 classes")
    names = getattr(model, "feature_names_in_", None)
    if model.classes_.shape != (widths[-1],) or (names is not None and names.shape != (widths[0],)):
        raise ModelFileError("its classes or feature names do not fit its parameters")
    model.coefs_, model.intercepts_, model.n_features_in_ = coefs, intercepts, widths[0]
    model.n_iter_, model.converged_ = int(header["n_iter"]), bool(header["converged"])
    model.n_passes_, model.loss_ = float(header["n_passes"]), float(header["loss"])
    model.solver_ = str(header["solver"])
    return model


def _packed(name: str, array: np.ndarray) -> np.ndarray:
    """An array of objects as bytes; any other as it is."""
    return objects.packed(name, array) if array.dtype.kind == "O" else array


def _is_plain(value: Any) -> bool:
    """Whether JSON can keep a constructor argument, in one of the shapes that `_plain` gives it."""
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    return value is None or isinstance(_plain(value), objects.PLAIN)


def _plain(value: Any) -> Any:
    """Numbers as Python's own, and a dict as its pairs: JSON would make strings of its keys."""
    if isinstance(value, dict):
        return {"pairs": [[_plain(key), _plain(part)] for key, part in value.items()]}
    return value.item() if isinstance(value, np.generic) else value


def _unplain(value: Any) -> Any:
    return {key: _unplain(part) for key, part in value["pairs"]} if isinstance(value, dict) else value
