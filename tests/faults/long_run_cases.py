"""Fits to be interrupted and killed: the cases, and the program that runs one of them in a process of its own.

    python long_run_cases.py CASE MAX_ITER [CHECKPOINT]

prints "ready" once all kernels are loaded and the fit is about to start, and one line of JSON when it is over.
"""

import hashlib
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from spiralnn import SoftmaxClassifier, TwoLayerNet, make_spiral  # noqa: E402


def call_back(step, loss, model):
    """Never stops, and makes slices of one step."""
    return False


def stop_late(step, loss, model):
    return step >= 149


CASES = {
    "linear float64": (SoftmaxClassifier, np.float64, {}),
    "linear float32": (SoftmaxClassifier, np.float32, {}),
    "network float64": (TwoLayerNet, np.float64, {}),
    "network float32": (TwoLayerNet, np.float32, {}),
    "a callback": (TwoLayerNet, np.float64, {"callback": call_back}),
    "a callback that stops": (TwoLayerNet, np.float32, {"callback": stop_late}),
    "tol": (TwoLayerNet, np.float64, {"tol": 3e-7, "callback": call_back}),  # 141 steps
    "batches": (TwoLayerNet, np.float32, {"solver": "adam"}),
    "iterations": (TwoLayerNet, np.float64, {"solver": "lbfgs", "tol": 1e-12, "callback": call_back}),
    "long steps": (TwoLayerNet, np.float32, {"hidden_size": 1000}),  # of several tenths of a second
}


def build(case, **changes):
    """(model, X, y)"""
    kind, dtype, arguments = CASES[case]
    X, y = make_spiral(1_000_000 if case == "long steps" else 100, 3, random_state=0)
    return kind(**{"solver": "gd", "random_state": 0, **arguments, **changes}), X.astype(dtype), y


def digest(model):
    """Of weights and loss curve: equal for the same bits."""
    sha = hashlib.sha256(np.array(model.loss_curve_).tobytes())
    for array in (*model.coefs_, *model.intercepts_):
        sha.update(array.dtype.str.encode() + array.tobytes())
    return sha.hexdigest()


def main(case, max_iter, checkpoint=None):
    model, X, y = build(case, max_iter=int(max_iter))
    few = np.linspace(0, len(y) - 1, 300).astype(int)
    build(case, max_iter=2)[0].fit(X[few], y[few])
    keeping = {"checkpoint": checkpoint, "checkpoint_every": 0, "resume": True} if checkpoint else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            print("ready", flush=True)
            raised = model.fit(X, y, **keeping) is not model
        except KeyboardInterrupt:
            raised = True
        returned = time.process_time()
    report = {
        "returned": returned,
        "raised": raised,
        "warnings": [[w.category.__name__, str(w.message)] for w in caught],
        "n_iter": getattr(model, "n_iter_", 0),
    }
    if report["n_iter"]:
        numbers = (*model.coefs_, *model.intercepts_, model.loss_curve_)
        report["n_losses"] = len(model.loss_curve_)
        report["converged"] = model.converged_
        report["finite"] = all(bool(np.isfinite(a).all()) for a in numbers)
        report["classes"] = sorted(set(model.predict(X[few]).tolist()))
        report["digest"] = digest(model)
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
