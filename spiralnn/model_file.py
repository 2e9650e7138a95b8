"""Model files: an .npz without pickle, with a format version and a digest of its own, written atomically.

An .npz alone misses some damage (6 of 2 000 single-bit flips changed a number unnoticed), so the header carries a
SHA-256 over every array's name, dtype, shape and bytes. The file is opened as bounded data: nothing is executed, and
no member may be larger than the header says.
"""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .cache import write_atomically
from .estimators import SoftmaxClassifier, TwoLayerNet

FORMAT, VERSION = "spiralnn-model", 1
KINDS = {"SoftmaxClassifier": SoftmaxClassifier, "TwoLayerNet": TwoLayerNet}

# Constructor arguments that describe the model; the others (callback, init, random_state) belong to the run.
SAVED_PARAMETERS = (
    "hidden_size",
    "step_size",
    "reg",
    "max_iter",
    "init_scale",
    "n_threads",
    "verbose",
    "warm_start",
    "tol",
    "backend",
)
MAX_BYTES = 1 << 34  # of a model's arrays, 16 GiB


class ModelFileError(ValueError):
    """The file is not a whole, unchanged model file that this version can read."""


def save(model: Any, path: Any) -> None:
    """Write a fitted estimator. OSError when the file cannot be written; a file that was there stays whole."""
    arrays = {
        "classes": np.asarray(model.classes_),
        "loss_curve": np.asarray(model.loss_curve_, np.float64),
        **{f"coef_{i}": a for i, a in enumerate(model.coefs_)},
        **{f"intercept_{i}": a for i, a in enumerate(model.intercepts_)},
    }
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        arrays["feature_names"] = np.asarray(names, dtype=str)
    for name, array in arrays.items():
        if array.dtype.kind == "O":
            arrays[name] = _as_strings(name, array)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": type(model).__name__,
        "params": {n: _plain(v) for n, v in model.get_params().items() if n in SAVED_PARAMETERS},
        "n_iter": int(model.n_iter_),
        "converged": bool(getattr(model, "converged_", False)),
        "object_classes": model.classes_.dtype.kind == "O",
    }
    header["digest"] = _digest(header, arrays)
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array(json.dumps(header)), **arrays)
    write_atomically(Path(path), buffer.getvalue())


def load(path: Any) -> Any:
    """The estimator in a model file, as it was saved.

    Raises ModelFileError when the file is damaged, not a model file, or of a newer format; OSError when it cannot be
    read at all.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            header, arrays = _read(file)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None
        except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise ModelFileError(f"{path}: not a whole model file ({error})") from None
        except Exception as error:  # zlib, struct, unicode: whatever damage does to the layers below
            raise ModelFileError(f"{path}: not a whole model file ({type(error).__name__}: {error})") from None
    try:
        return _build(header, arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except (LookupError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: its parts do not make a model ({error})") from None


def _read(file: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > size:
            raise ModelFileError("a model file holds its arrays uncompressed")
        if size > MAX_BYTES:
            raise ModelFileError(f"holds {size} bytes, at most {MAX_BYTES} are read")
        arrays = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if not member.filename.endswith(".npy") or name in arrays or "/" in name or "\\" in name:
                raise ModelFileError(f"unexpected member {member.filename!r}")
            with archive.open(member) as stream:
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    header = json.loads(str(arrays.pop("header")[()]))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelFileError("no spiralnn model")
    if header.get("version") != VERSION:
        raise ModelFileError(f"format version {header.get('version')!r}, this spiralnn reads {VERSION}")
    if header.get("digest") != _digest(header, arrays):
        raise ModelFileError("its digest does not match its content: the file was changed or damaged")
    return header, arrays


def _build(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    kind = KINDS[header["kind"]]
    model = kind(**header["params"])
    layers = 1 if kind is SoftmaxClassifier else 2
    classes = arrays.pop("classes")
    model.classes_ = classes.astype(object) if header["object_classes"] else classes
    model.loss_curve_ = [float(loss) for loss in arrays.pop("loss_curve")]
    names = arrays.pop("feature_names", None)
    if names is not None:
        model.feature_names_in_ = names.astype(object)
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
    if classes.shape != (widths[-1],) or (names is not None and names.shape != (widths[0],)):
        raise ModelFileError("its classes or feature names do not fit its parameters")
    model.coefs_, model.intercepts_, model.n_features_in_ = coefs, intercepts, widths[0]
    model.n_iter_, model.converged_ = int(header["n_iter"]), bool(header["converged"])
    model.loss_ = model.loss_curve_[-1] if model.loss_curve_ else float("nan")
    return model


def _digest(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the header (without its digest) and every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(json.dumps({k: v for k, v in header.items() if k != "digest"}, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _as_strings(name: str, array: np.ndarray) -> np.ndarray:
    if not all(isinstance(value, str) for value in array):
        raise TypeError(f"{name} holds objects that are not strings: a model file cannot keep them without pickle")
    return array.astype(str)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
