"""The peers of the benchmark suite: each computes the reference's losses and classes before anybody times it."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from places import BENCH

from spiralnn.kernels import reference

sys.path.append(str(BENCH))  # last, and only for these two: tests and bench both have a module `problems`
import c_step  # noqa: E402
import peers  # noqa: E402

sys.path.remove(str(BENCH))

# Relative error of a loss against the float64 reference on the same numbers. float64: a few hundred terms in another
# order, then six steps, which carry such errors on. float32: the same with eps = 6e-8.
TOLERANCES = {"float64": 1e-12, "float32": 5e-6}
STEPS = 3  # a call; every peer is called twice

MODULES = {"scikit-learn": "sklearn", "PyTorch": "torch", "PyTorch compiled": "torch", "JAX": "jax"}
PROBLEMS = [
    ("two_layer", 300, 2, 100, 3), ("two_layer", 50, 5, 7, 4), ("two_layer", 61, 3, 7, 2),
    ("linear", 300, 2, None, 3), ("linear", 61, 5, None, 2),
]  # fmt: skip
# rows around a tile of 384 (float64) and 768 (float32), fewer rows than threads, one hidden unit, K = 2 and many
C_PROBLEMS = [
    *[("two_layer", N, 2, 9, 3) for N in (1, 2, 383, 384, 385, 767, 769, 1537)],
    ("two_layer", 40, 1, 1, 2), ("two_layer", 90, 4, 5, 12), ("two_layer", 500, 12, 6, 4),
]  # fmt: skip


def make_problem(model, N, D, H, K, dtype):
    """Normal rows and float32 numbers in either dtype; weights and biases large enough that forgetting any shows."""
    random = np.random.RandomState([N, D, K])
    shapes = ((D, K), (K,)) if model == "linear" else ((D, H), (H,), (H, K), (K,))
    numbers = [random.randn(N, D), *(0.3 * random.randn(*shape) for shape in shapes)]
    X, *params = (array.astype(np.float32).astype(dtype) for array in numbers)
    y = random.permutation(np.arange(N) % K)
    return SimpleNamespace(
        model=model, X=X, y=y, params=tuple(params), step_size=0.3, reg=0.02, shape=(N, D, H, K), dtype=dtype
    )


def true_losses(problem, steps, *, step_size=None, reg=None):
    """Losses before each step of the reference's descent, in float64."""
    step_size, reg = step_size or problem.step_size, problem.reg if reg is None else reg
    X, *params = (array.astype(np.float64) for array in (problem.X, *problem.params))
    loss_gradients = getattr(reference, f"{problem.model}_loss_gradients")
    gradients = [np.empty_like(p) for p in params]
    losses = []
    for _ in range(steps):
        losses.append(loss_gradients(X, problem.y, *params, reg, *gradients))
        for p, gradient in zip(params, gradients, strict=True):
            p -= step_size * gradient
    return losses


def check_losses(losses, truth, tolerance):
    assert len(losses) == len(truth)
    assert all(isinstance(loss, float) for loss in losses)
    np.testing.assert_allclose(losses, truth, rtol=tolerance, atol=0)


def check_classes(classes, problem):
    """Every row's class has the highest score, up to what rounding may decide."""
    scores = np.empty((problem.shape[0], problem.shape[-1]))
    X, *params = (array.astype(np.float64) for array in (problem.X, *problem.params))
    getattr(reference, f"{problem.model}_scores")(X, *params, scores)
    classes = np.asarray(classes)
    assert classes.shape == problem.y.shape and classes.dtype.kind == "i"
    chosen = np.take_along_axis(scores, classes[:, None], axis=1)[:, 0]
    assert (scores.max(axis=1) - chosen <= TOLERANCES[problem.dtype] * np.abs(scores).max()).all()


def check_peer(peer, problem):
    before = [p.copy() for p in problem.params]
    truth = true_losses(problem, 2 * STEPS)
    call = peer.step(problem, STEPS)
    check_losses(peer.losses(call()), truth[:STEPS], TOLERANCES[problem.dtype])
    check_losses(peer.losses(call()), truth, TOLERANCES[problem.dtype])
    predict = peer.predict(problem)
    for _ in range(2):
        check_classes(predict(), problem)
    for p, old in zip(problem.params, before, strict=True):
        np.testing.assert_array_equal(p, old)


def available(peer):
    if peer.name in MODULES:
        pytest.importorskip(MODULES[peer.name])
    elif not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("no C compiler")
    reason = peer.why_not()
    if reason and peer.name in ("PyTorch compiled", "C, all threads"):
        pytest.skip(reason)
    assert reason is None
    return peer


each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def each_problem(problems):
    return pytest.mark.parametrize("given", problems, ids=lambda given: "-".join(map(str, given)))


def each_peer(named):
    return pytest.mark.parametrize("peer", named, ids=lambda peer: peer.name)


COMPILED = next(peer for peer in peers.ALL if peer.name == "PyTorch compiled")
C_PEERS = [peer for peer in peers.ALL if peer.name.startswith("C,")]


@each_dtype
@each_problem(PROBLEMS)
@each_peer([peer for peer in peers.ALL if peer is not COMPILED])
def test_losses_and_classes_are_the_references(peer, given, dtype):
    problem = make_problem(*given, dtype)
    if not available(peer).serves(problem):
        assert (peer.name, given[-1]) == ("scikit-learn", 2) or (peer.name[:2], given[0]) == ("C,", "linear")
        pytest.skip("not served")
    check_peer(peer, problem)


@pytest.mark.slow
@pytest.mark.parametrize("given, dtype", [(PROBLEMS[0], "float32"), (PROBLEMS[1], "float64"), (PROBLEMS[4], "float64")])
def test_compiled_pytorch_does_the_same(given, dtype):
    check_peer(available(COMPILED), make_problem(*given, dtype))


@each_dtype
@each_problem(C_PROBLEMS)
@each_peer(C_PEERS)
def test_c_is_right_at_the_edges_of_its_tiles(peer, given, dtype):
    problem = make_problem(*given, dtype)
    assert available(peer).serves(problem)
    check_peer(peer, problem)


def test_c_leaves_out_what_it_was_not_written_for():
    assert not any(peer.serves(make_problem("linear", 50, 2, None, 3, "float64")) for peer in C_PEERS)
    assert not any(peer.serves(make_problem("two_layer", 50, 64, 8, 10, "float64")) for peer in C_PEERS)


@each_dtype
def test_scores_of_any_size_do_not_overflow_in_c(dtype):
    peer = available(C_PEERS[0])
    problem = make_problem("two_layer", 200, 2, 20, 3, dtype)
    problem.params[2][...] *= 1e4
    problem.reg = 0.0
    with np.errstate(under="ignore"):
        truth = true_losses(problem, 1)
    check_losses(peer.losses(peer.step(problem, 1)()), truth, TOLERANCES[dtype])


@each_problem(PROBLEMS)
def test_the_check_fails_a_wrong_descent(given):
    problem = make_problem(*given, "float64")
    truth = true_losses(problem, STEPS)
    check_losses(truth, truth, TOLERANCES["float32"])
    wrong = [
        true_losses(problem, STEPS, step_size=-problem.step_size),
        true_losses(problem, STEPS, step_size=1.001 * problem.step_size),
        true_losses(problem, STEPS, reg=0.0),
        truth[:1] + truth[:1] + truth[:1],  # nothing moves
        truth[:2],
    ]
    for losses in wrong:
        with pytest.raises(AssertionError):
            check_losses(losses, truth, TOLERANCES["float32"])
    for one_class in range(problem.shape[-1]):
        with pytest.raises(AssertionError):
            check_classes(np.full(problem.shape[0], one_class), problem)


@each_peer([peer for peer in peers.ALL if peer is not COMPILED])
def test_the_check_fails_a_peer_that_does_something_else(peer):
    problem = make_problem(*PROBLEMS[0], "float64")
    truth = true_losses(problem, STEPS)
    W, b, W2, b2 = problem.params
    changes = {"step_size": 0.301, "reg": 0.0, "params": (W, 0 * b, W2, b2), "y": np.roll(problem.y, 1)}
    for name, value in changes.items():
        other = SimpleNamespace(**{**vars(problem), name: value})
        losses = peer.losses(available(peer).step(other, STEPS)())
        with pytest.raises(AssertionError):
            check_losses(losses, truth, TOLERANCES["float32"])


def test_every_peer_is_there_or_missing_with_a_reason():
    there, missing = [peer.name for peer in peers.peers()], peers.missing()
    assert sorted(there + [line.partition(": ")[0] for line in missing]) == sorted(peer.name for peer in peers.ALL)
    assert all(line.partition(": ")[2] and "\n" not in line for line in missing)


def test_importing_imports_none_of_them():
    code = "import sys, peers; print(sorted({'sklearn', 'torch', 'jax'} & set(sys.modules)))"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(BENCH)!r}, {str(BENCH.parent)!r}]; {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_package_that_is_absent_or_broken_is_missing(monkeypatch, tmp_path):
    assert peers._import_error("no_such_module_anywhere") == "not installed"
    (tmp_path / "broken_installation.py").write_text("raise OSError('libfoo.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    assert peers._import_error("broken_installation") == "import failed with OSError"


def test_without_a_compiler_c_is_missing(monkeypatch):
    monkeypatch.setattr(c_step.shutil, "which", lambda name: None)
    c_step._library.cache_clear()
    try:
        assert [peer.why_not() for peer in C_PEERS] == ["no C compiler (cc, gcc)"] * 2
    finally:
        c_step._library.cache_clear()


def test_a_source_that_does_not_compile_is_one_line():
    available(C_PEERS[0])
    with pytest.raises(c_step.CannotCompile, match="error") as caught:
        c_step._compile(["-DREAL=nothing", str(c_step.SOURCE), "-o", "/dev/null"])
    assert "\n" not in str(caught.value)


def test_settings_of_the_peers_stay_as_they_were():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    other = before + 1
    assert peers._with_torch_threads(torch.get_num_threads, other)() == other
    assert torch.get_num_threads() == before

    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax_peer = next(peer for peer in peers.ALL if peer.name == "JAX")
    jax_peer.predict(make_problem(*PROBLEMS[0], "float64"))()
    assert jax.config.jax_enable_x64 == before
