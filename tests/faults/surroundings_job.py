"""What a program does with spiralnn, in surroundings of its own making: python surroundings_job.py FOLDER [all].

FOLDER holds nothing yet. Prints JSON: what came out of fits, predictions, files and the command; with "all" also for
each of SETTINGS, set in a forked child in which everything runs again.
"""

import contextlib
import copy
import functools
import hashlib
import io
import json
import sys
import traceback
import warnings
from pathlib import Path

from children import answer_of, fork, limit_time

# What a program may set for the whole process, as code; children that fork have no other trace of each other.
SETTINGS = {
    "NumPy raises": "np.seterr(all='raise')",
    "NumPy prints": "np.seterr(all='print')",
    "NumPy calls": "np.seterrcall(fail); np.seterr(all='call')",
    "warnings are errors": "warnings.simplefilter('error')",
    "print options": "np.set_printoptions(precision=1, threshold=3, suppress=True, floatmode='fixed', legacy='1.13')",
    "buffer of ufuncs": "np.setbufsize(16)",
    "decimal comma": "locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8')",
    "Turkish i": "locale.setlocale(locale.LC_ALL, 'tr_TR.UTF-8')",
    "seeds": "random.seed(7); np.random.seed(7)",
    "recursion": "sys.setrecursionlimit(depth() + 100)",
    "digits of integers": "sys.set_int_max_str_digits(640)",
    "decimal context": "decimal.getcontext().prec = 2; decimal.getcontext().traps[decimal.Inexact] = True",
    "small stacks of threads": "threading.stack_size(32768)",
    "large stacks of threads": "threading.stack_size(1 << 28)",
    "switch interval, short": "sys.setswitchinterval(1e-9)",
    "switch interval, long": "sys.setswitchinterval(100.0)",
    "no collector": "gc.disable()",
    "eager collector": "gc.set_threshold(1, 1, 1)",
    "frozen collector": "gc.freeze()",
    "tracing": "sys.settrace(lambda *event: None); threading.settrace(lambda *event: None)",
    "profiling": "sys.setprofile(lambda *event: None); threading.setprofile(lambda *event: None)",
    "copy on write": "pd.set_option('mode.copy_on_write', True)",
    "inferred strings": "pd.set_option('future.infer_string', True)",
    "infinity is missing": "pd.set_option('mode.use_inf_as_na', True)",
    "pandas without NumExpr": "pd.set_option('compute.use_numexpr', False); pd.set_option('display.precision', 1)",
    "categories in polars": "import polars; polars.Config.set_fmt_str_lengths(1); polars.enable_string_cache()",
}

def depth():
    """Frames that are on the stack now, but the one of this function."""
    frame, frames = sys._getframe(1), 0
    while frame is not None:
        frame, frames = frame.f_back, frames + 1
    return frames


def fail(*args):
    raise AssertionError(args)


def write_inputs(folder):
    """Rows in every form that is read below."""
    X, y = spiralnn.make_spiral(40, 3, random_state=0)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    rows = [f"{a!r},{b!r},class{label}\n" for (a, b), label in zip(X.tolist(), y.tolist(), strict=True)]
    (folder / "table.csv").write_text("a,b,label\n" + "".join(rows))


def models():
    """By every solver, with the same numbers whatever the seeds of others."""
    for solver in ("gd", "lbfgs", "adam", "newton-cholesky"):
        options = {"solver": solver, "random_state": 3, "n_threads": 2, "max_iter": 3}
        yield f"linear {solver}", spiralnn.SoftmaxClassifier(**options)
        if solver != "newton-cholesky":
            yield f"network {solver}", spiralnn.TwoLayerNet(hidden_size=8, **options)


def extremes(X, y):
    """Name and function of what rounds numbers to zero, or to infinity, on its way."""
    with np.errstate(all="ignore"):
        far, wide, small = X * 1e5, X * [1e-60, 1e40] + [0.0, 1e41], (X * 1e-30).astype(np.float32)
        weights, halves = np.where(y == 0, 1e-300, 1.0), (X * 1e-4).astype(np.float16)
    for name, model in models():
        fitted = copy.deepcopy(model).fit(X, y)
        yield f"{name} far away", lambda f=fitted: [f.predict_proba(far), f.predict_log_proba(far), f.score(far, y)]
        yield f"{name} weighted", lambda m=model: m.fit(X, y, sample_weight=weights).coefs_
        if not name.endswith(" gd"):
            yield f"{name} of wide columns", lambda m=model: [m.fit(wide, y).loss_curve_, m.predict_proba(wide)]
        yield f"{name} in float32", lambda m=model: [m.fit(small, y).predict_proba(halves)]
        by_numpy = copy.deepcopy(model).set_params(backend="reference")
        yield f"{name} by NumPy", lambda m=by_numpy: [m.fit(X * 1e3, y).loss_curve_, m.predict_proba(far)]
    judged = spiralnn.TwoLayerNet(hidden_size=8, max_iter=3, random_state=3, early_stopping=True)
    yield "judged", lambda: judged.fit(X * 1e4, y).validation_scores_
    objective = spiralnn.Objective(X, y, hidden_size=8, reg=1e-3)
    yield "objective", lambda: objective(objective.initial(random_state=0) * 1e5)
    balanced = spiralnn.SoftmaxClassifier(class_weight="balanced", max_iter=3)
    yield "balanced", lambda: balanced.fit(X, y).coefs_


def bits(*values):
    """A digest of arrays and numbers."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()[:16]


def weights(model):
    return bits(*model.coefs_, *model.intercepts_, np.array(model.loss_curve_))


def command(*arguments):
    """Run it in this process: what it wrote to stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = cli.main([str(argument) for argument in arguments])
    if code != 0:  # no assert, which python -O leaves out
        raise RuntimeError(f"the command ended with {code}")
    return out.getvalue()


def everything(folder, out):
    """Name and digest of all that comes of the files of a folder; what is written goes to another one."""
    warnings.simplefilter("ignore", spiralnn.UselessModelWarning)  # which models of a few steps are
    warnings.simplefilter("ignore", spiralnn.OtherBitsWarning)  # of processors without multiply-add
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    found = {"data": bits(*spiralnn.make_spiral(40, 3, random_state=0))}
    for name, model in models():
        model.fit(X, y)
        found[name] = weights(model)
        found[f"{name} predicts"] = bits(model.predict(X), model.predict_proba(X), model.predict_log_proba(X))
        found[f"{name} scores"] = bits(float(model.score(X, y)), repr(model.get_params()))
        model.save(out / "model.npz")
        found[f"{name} loaded"] = weights(spiralnn.load(out / "model.npz"))
        if "adam" not in name:
            model.fit(spiralnn.open_rows(folder / "X.npy", folder / "y.npy"))
            found[f"{name} out of core"] = weights(model)
    model = spiralnn.TwoLayerNet(solver="gd", hidden_size=8, max_iter=4, random_state=3, early_stopping=True)
    model.fit(X, y.astype(str), checkpoint=out / "run.ckpt", checkpoint_every=0)
    found["checkpoint"] = bits(weights(model), model.best_validation_score_)
    model.set_params(max_iter=6).fit(X, y.astype(str), checkpoint=out / "run.ckpt", resume=True)
    found["resumed"] = weights(model)
    found["float32"] = weights(model.fit(X.astype(np.float32), y, sample_weight=1 + np.arange(len(y)) % 3))
    found.update((name, bits(*value())) for name, value in extremes(X, y))
    rest = ("--seed", "3", "--max-iter", "3", "--hidden", "8", "--out", out / "cli.npz")
    command("fit", folder / "X.npy", folder / "y.npy", "--quiet", *rest)
    found["command"] = weights(spiralnn.load(out / "cli.npz"))
    command("predict", out / "cli.npz", folder / "X.npy", "--proba", "--out", out / "scores.csv")
    found["predictions in a file"] = bits((out / "scores.csv").read_text())
    table = (folder / "table.csv", "--target", "label", "--json", "--test-fraction", "0.2")
    report = json.loads(command("fit", *table, *rest))
    found["command on a table"] = bits(weights(spiralnn.load(out / "cli.npz")), report["loss"], report["test_accuracy"])
    command("info")
    if pd is not None:
        frame = pd.DataFrame(X, columns=["a", "b"])
        labels = pd.Series([f"class{label}" for label in y])
        found["pandas"] = weights(spiralnn.SoftmaxClassifier(max_iter=3).fit(frame, labels))
    polars = sys.modules.get("polars")
    arrays = X, np.char.add("class", y.astype(str))
    if polars is not None:
        frame = polars.read_csv(folder / "table.csv").with_columns(polars.col("label").cast(polars.Categorical))
        arrays = frame[["a", "b"]], frame["label"]
    found["polars"] = weights(spiralnn.SoftmaxClassifier(max_iter=3).fit(*arrays))
    return found


def in_setting(folder, name):
    """The same in a child; or why it cannot be had, or what was raised."""
    out = folder / name
    out.mkdir()
    try:
        exec(SETTINGS[name], globals())
    except Exception as error:  # a locale or an option that is not there
        return f"{type(error).__name__}: {error}"
    try:
        return everything(folder, out)
    except Exception:
        return {"error": traceback.format_exc(limit=-8)}


def main(folder, more):
    folder = Path(folder)
    write_inputs(folder)
    (folder / "plain").mkdir()
    found = {"": everything(folder, folder / "plain")}
    for name in SETTINGS if more else ():
        found[name] = answer_of(*fork(functools.partial(in_setting, folder, name), 100))
    return found


if __name__ == "__main__":
    limit_time(1500)
    import decimal  # noqa: F401
    import gc  # noqa: F401
    import locale  # noqa: F401
    import random  # noqa: F401
    import threading  # noqa: F401

    import numpy as np
    from all_threads import want_all_threads

    import spiralnn
    from spiralnn import cli

    try:
        import pandas as pd
    except ImportError:
        pd = None
    want_all_threads()
    print(json.dumps(main(sys.argv[1], sys.argv[2:])))
