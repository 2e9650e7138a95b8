"""Fits whose bits are the same on every processor with a fused multiply-add: their digests stand in digests.json.

    python tests/processors/many_fits.py                     compare all with digests.json
    python tests/processors/many_fits.py --only lbfgs        those whose name holds the word
    python tests/processors/many_fits.py --part 0/2          the first, third, ... of them
    python tests/processors/many_fits.py --write             make digests.json anew
    python tests/processors/many_fits.py --stop FOLDER       stop some half way, each with a checkpoint in the folder
    python tests/processors/many_fits.py --go-on FOLDER      go on from such checkpoints, perhaps another processor's

The processor is the one that Numba compiles for: NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= for another than this one.

A digest is that of parameters, losses, and some class probabilities, as float64. Rows are made of random integers and
an operation or two on them, parameters to start from likewise: what libm, BLAS or NumPy's own exp and log give depends
on the machine.
"""

import argparse
import contextlib
import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba.core.registry import cpu_target

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from spiralnn import SoftmaxClassifier, TwoLayerNet, open_rows  # noqa: E402

DIGESTS = Path(__file__).with_name("digests.json")


class Fit(NamedTuple):
    """N rows of D inputs and K classes, H hidden units (0: the linear model). weights: of rows. judged: whether further
    rows are given as validation. in_files: whether rows are read from files. predicts: whether it is asked for class
    probabilities, too."""

    solver: str
    dtype: str
    N: int
    D: int
    H: int
    K: int
    weights: bool = False
    judged: bool = False
    in_files: bool = False
    predicts: bool = False
    settings: Any = ()

    @property
    def name(self) -> str:
        model = f"network {self.H}" if self.H else "linear"
        more = ["weights"] * self.weights + ["judged"] * self.judged + ["files"] * self.in_files
        more += ["probabilities"] * self.predicts
        more += [f"{name}={value}" for name, value in self.settings]
        return ", ".join([self.solver, model, self.dtype, f"{self.N} x {self.D}, {self.K}", *more])


def _fit(solver: str, dtype: str, N: int, D: int, H: int, K: int, **more: Any) -> Fit:
    flags = {name: more.pop(name) for name in ("weights", "judged", "in_files", "predicts") if name in more}
    return Fit(solver, dtype, N, D, H, K, **flags, settings=tuple(more.items()))


F4, F8 = "float32", "float64"

# Kernels are made for few inputs and classes (up to some (4, 2) or (1, 5)), or general: these take inputs one by one,
# from 32 on in vectors (linear), and from 128 on in pieces (network). Thousands of rows are more than two leaves.
FITS = [
    _fit("gd", F8, 300, 2, 20, 3, max_iter=40),
    _fit("gd", F4, 3000, 2, 20, 3, max_iter=20, weights=True),
    _fit("gd", F8, 3000, 2, 0, 3, max_iter=40, weights=True),
    _fit("gd", F4, 777, 200, 17, 5, max_iter=10, predicts=True),
    _fit("gd", F4, 3000, 40, 0, 10, max_iter=10, in_files=True, weights=True),
    _fit("lbfgs", F8, 300, 2, 20, 3, max_iter=40),
    _fit("lbfgs", F8, 777, 200, 17, 5, max_iter=15, class_weight="balanced"),
    _fit("lbfgs", F4, 3000, 5, 9, 4, max_iter=25, in_files=True),
    _fit("lbfgs", F8, 3000, 40, 0, 10, max_iter=25),
    _fit("lbfgs", F4, 777, 200, 0, 2, max_iter=15, weights=True, judged=True, predicts=True),
    _fit("lbfgs", F4, 300, 1, 0, 5, max_iter=25),
    _fit("adam", F8, 1200, 40, 17, 10, max_iter=4),
    _fit("adam", F4, 1200, 40, 17, 10, max_iter=4, weights=True),
    _fit("adam", F8, 1200, 2, 20, 3, max_iter=6, early_stopping=True, n_iter_no_change=2, predicts=True),
    _fit("adam", F4, 777, 200, 0, 10, max_iter=4, class_weight="balanced"),
    _fit("sgd", F8, 1200, 5, 9, 4, max_iter=6, weights=True),
    _fit("sgd", F4, 1200, 200, 17, 2, max_iter=4, learning_rate="invscaling"),
    _fit("sgd", F8, 777, 40, 0, 2, max_iter=6, nesterovs_momentum=False),
    _fit("newton-cholesky", F8, 777, 5, 0, 2, max_iter=10, weights=True, predicts=True),
    _fit("newton-cholesky", F4, 3000, 35, 0, 3, max_iter=6),
]
NAMES = {fit.name: fit for fit in FITS}
CHECKPOINTED = [FITS[i] for i in (0, 4, 6, 11)]


def rows(fit: Fit, stream: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, y and weights, of which some are 0. Classes overlap, and columns have means and spreads of their own."""
    random = np.random.Generator(np.random.PCG64([stream, fit.N, fit.D, fit.K]))
    y = random.integers(0, fit.K, fit.N)
    X = random.integers(-1024, 1024, (fit.N, fit.D)) / 256.0
    for k in range(fit.K):
        X[y == k] += random.integers(-512, 512, fit.D) / 256.0
    X = X * (1 + np.arange(fit.D) % 3) + np.arange(fit.D) % 5
    return X.astype(fit.dtype), y, (random.integers(0, 7, fit.N) / 3.0).astype(fit.dtype)


def start(fit: Fit) -> tuple[np.ndarray, ...]:
    """Parameters to start from, for gradient descent; other solvers draw theirs without libm."""
    random = np.random.Generator(np.random.PCG64([fit.D, fit.H, fit.K]))
    sizes = (fit.D, fit.H, fit.K) if fit.H else (fit.D, fit.K)
    params = [(random.integers(-256, 256, n) / 4096.0, np.zeros(n[1])) for n in zip(sizes, sizes[1:], strict=False)]
    return tuple(array for pair in params for array in pair)


def estimator(fit: Fit, **changes: Any) -> Any:
    settings: dict[str, Any] = {"solver": fit.solver, "random_state": 0, "n_threads": 1, **dict(fit.settings)}
    if fit.solver == "gd":
        settings |= {"init": start(fit), "step_size": 0.05}
    settings |= changes
    return TwoLayerNet(hidden_size=fit.H, **settings) if fit.H else SoftmaxClassifier(**settings)


def fitted(fit: Fit, n_threads: int = 1, backend: str = "fused", **more: Any) -> Any:
    """The model; more: further arguments of `fit`, and a callback."""
    X, y, weights = rows(fit)
    callback = more.pop("callback", None)
    model = estimator(fit, n_threads=n_threads, backend=backend, callback=callback)
    if fit.judged:
        more["validation"] = rows(fit, stream=1)[:2]
    with contextlib.ExitStack() as stack:
        if fit.in_files:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            files = {"X": X, "y": y, "sample_weight": weights}
            for name, array in files.items():
                np.save(folder / f"{name}.npy", array)
            kept = [str(folder / f"{name}.npy") for name in list(files)[: 2 + fit.weights]]
            return model.fit(open_rows(*kept), **more)
        return model.fit(X, y, sample_weight=weights if fit.weights else None, **more)


def digest(fit: Fit, model: Any) -> str:
    found, numbers = hashlib.sha256(), [*model.coefs_, *model.intercepts_, model.loss_curve_]
    if fit.judged:
        numbers.append(model.validation_loss_curve_)
    if fit.predicts:
        numbers += [ask(rows(fit, stream=2)[0]) for ask in (model.predict_proba, model.predict_log_proba)]
    for array in numbers:
        found.update(np.ascontiguousarray(array, "<f8").tobytes())
    return found.hexdigest()


def known() -> dict[str, str]:
    return json.loads(DIGESTS.read_text(encoding="utf-8"))


def stop_half_way(fit: Fit, checkpoint: Path) -> None:
    """Leave a checkpoint of about half of the steps."""
    half = dict(fit.settings)["max_iter"] // 2
    fitted(fit, checkpoint=checkpoint, checkpoint_every=0, callback=lambda step, loss, model: step + 1 >= half)


def gone_on(fit: Fit, checkpoint: Path) -> Any:
    """The model that a fit comes to from a checkpoint on; an error where there is none."""
    first: list[int] = []
    model = fitted(fit, checkpoint=checkpoint, resume=True, callback=lambda step, loss, model: first.append(step))
    if not (first and first[0] > 0):
        raise SystemExit(f"{fit.name}: there was nothing to go on from in {checkpoint}")
    return model


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--machine", action="store_true", help="say what Numba compiles for, and no more")
    parser.add_argument("--part", default="0/1", metavar="I/N")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--stop", type=Path, metavar="FOLDER")
    parser.add_argument("--go-on", type=Path, metavar="FOLDER")
    args = parser.parse_args(arguments)
    if args.machine:
        print(platform.machine(), cpu_target.target_context.codegen().magic_tuple()[1])
        return 0
    first, parts = map(int, args.part.split("/"))
    some = [fit for fit in (CHECKPOINTED if args.stop or args.go_on else FITS) if args.only in fit.name][first::parts]
    if args.stop:
        for fit in some:
            stop_half_way(fit, args.stop / str(FITS.index(fit)))
        return 0
    if args.write:
        DIGESTS.write_text(json.dumps({fit.name: digest(fit, fitted(fit)) for fit in FITS}, indent=1) + "\n")
        return 0
    equal, digests = 0, known()
    for fit in some:
        model = gone_on(fit, args.go_on / str(FITS.index(fit))) if args.go_on else fitted(fit)
        is_equal = digest(fit, model) == digests.get(fit.name)
        equal += is_equal
        print(f"{'equal' if is_equal else 'DIFFERS'}: {fit.name}", flush=True)
    print(f"{equal} of {len(some)} equal")
    return 0 if equal == len(some) else 1


if __name__ == "__main__":
    sys.exit(main())
