"""A small fit as a process of its own, and what came of it as JSON: python cache_job.py ROOT OPTIONS.

ROOT holds the spiralnn to import; OPTIONS is JSON: what to do before the fit, and how often (see main).
"""

import functools
import json
import os
import random
import sys
import warnings
from pathlib import Path

from children import answer_of, fork, limit_time


def is_of_a_kernel(compilation):
    """Whether this is the beginning of one, and not of what kernels call, which is compiled into them."""
    return compilation.is_start and type(compilation.data["dispatcher"]._cache) is cache.KernelCache


def fit(score=False):
    """What came out, how many functions were compiled, and what was warned of."""
    X, y = spiralnn.make_spiral(10, 3, random_state=0)
    with event.install_recorder("numba:compile") as recorder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", spiralnn.OtherBitsWarning)  # of processors without multiply-add
        model = spiralnn.SoftmaxClassifier(solver="gd", random_state=0, max_iter=3).fit(X, y)
        if score:
            model.score(X, y)
    return {
        "weights": model.coefs_[0].tobytes().hex(),
        "losses": model.loss_curve_,
        "compiled": sum(is_of_a_kernel(e) for _, e in recorder.buffer),
        "warnings": [[w.category.__name__, str(w.message)] for w in caught],
    }


def fit_in_children(scenes):
    """The fit in forked children that have compiled nothing, one for each [cache folder, code to run before]."""
    reports, running = [], []
    for scene in scenes:
        if len(running) == os.cpu_count():
            reports.append(answer_of(*running.pop(0)))
        running.append(fork(functools.partial(fit_in_scene, *scene), 60))
    return reports + [answer_of(*child) for child in running]


def fit_in_scene(folder, before):
    numba.config.CACHE_DIR = folder
    exec(before, globals())
    return fit()


def load_damaged(n_flips, n_cuts):
    """Damage the only entry again and again and ask the cache for it: how many were tried, unpickled and loaded."""
    fit()
    (kernel,) = passes._loops.values()
    (signature,) = kernel.signatures
    (entry,) = Path(cache.folder()).iterdir()
    whole = entry.read_bytes()
    counts = {"tried": 0, "unpickled": 0, "loaded": 0}

    def loads(payload):
        counts["unpickled"] += 1
        return pickle_loads(payload)

    def load(content):
        entry.write_bytes(content)
        counts["tried"] += 1
        counts["loaded"] += kernel._cache.load_overload(signature, kernel.targetctx) is not None

    pickle_loads, cache.pickle.loads = cache.pickle.loads, loads
    load(whole)
    assert counts == {"tried": 1, "unpickled": 1, "loaded": 1}
    draw = random.Random(0)
    bits = [*range(8 * 33), *draw.sample(range(8 * 33, 8 * len(whole)), n_flips)]  # all of the digest, and some beyond
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        load(bytes(content))
    lengths = [*range(34), len(whole) - 1, *draw.sample(range(34, len(whole) - 1), min(n_cuts, len(whole) - 35))]
    for length in lengths:
        load(whole[:length])
    load(whole + b"\0")
    entry.write_bytes(whole)
    return counts


def main(options):
    """before: code to run first; scenes, damaged or score: which of the above."""
    exec(options.get("before", ""), globals())
    if "scenes" in options:
        return fit_in_children(options["scenes"])
    if "damaged" in options:
        return load_damaged(*options["damaged"])
    return fit(options.get("score", False))


if __name__ == "__main__":
    limit_time(550)
    sys.path.insert(0, sys.argv[1])
    import numba
    import numba.core.event as event

    import spiralnn
    from spiralnn.engine import cache, passes

    assert Path(spiralnn.__file__).parent.parent.samefile(sys.argv[1])
    print(json.dumps(main(json.loads(sys.argv[2]))))
