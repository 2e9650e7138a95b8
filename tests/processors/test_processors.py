"""The same bits on every processor that has a fused multiply-add; where there is none, the same numbers, and a word."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from many_fits import DIGESTS, FITS, NAMES, digest, fitted, known
from places import ROOT
from problems import JIT

from spiralnn import OtherBitsWarning
from spiralnn.engine import rounding
from spiralnn.kernels.vectors import backend, fma_is_fused

pytestmark = pytest.mark.skipif(not JIT, reason="bits are those of compiled code")
FUSED = JIT and fma_is_fused()
fused = pytest.mark.skipif(not FUSED, reason="without a fused multiply-add there are other bits")
unfused = pytest.mark.skipif(FUSED, reason="with a fused multiply-add it is bits that are compared")
every_fit = pytest.mark.parametrize("fit", FITS, ids=[fit.name for fit in FITS])


def test_every_fit_has_a_digest_of_its_own():
    assert list(known()) == list(NAMES) and len(FITS) == len(NAMES) == 20
    assert len(set(known().values())) == len(FITS), f"in {DIGESTS}"


@fused
@every_fit
def test_this_processor_comes_to_the_bits_of_others(fit):
    assert digest(fit, fitted(fit)) == known()[fit.name]


# by all threads batches, too, are cut in leaves, which changes their bits
SHARED = [fit for fit in FITS if fit.solver not in ("adam", "sgd")][::2]


@fused
@pytest.mark.parametrize("fit", SHARED, ids=[fit.name for fit in SHARED])
def test_so_do_two_threads(fit, all_threads):
    assert digest(fit, fitted(fit, n_threads=2)) == known()[fit.name]


@unfused
@every_fit
def test_without_fused_multiply_add_fits_come_to_what_the_reference_does(fit):
    """A few steps: of a descent to the same place, rounding is soon larger than any tolerance of it."""
    few = fit._replace(in_files=False, settings=tuple({**dict(fit.settings), "max_iter": 2}.items()))
    ours, theirs = fitted(few), fitted(few, backend="reference")
    close = 1e-9 if fit.dtype == "float64" else 2e-3
    for a, b in zip((*ours.coefs_, ours.loss_curve_), (*theirs.coefs_, theirs.loss_curve_), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=close * np.abs(b).max())


# ------------------------------------------------------------------------------------------ what is said of it


def told(work):
    """Of the warnings that work gives, those of other bits."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return [warning for warning in caught if warning.category is OtherBitsWarning]


@pytest.fixture
def nothing_told(monkeypatch):
    monkeypatch.setattr(rounding, "_told", rounding.threading.Event())


SOLVERS = {fit.solver: fit for fit in FITS}


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_fit_without_fused_multiply_add_says_so_once(solver, monkeypatch, nothing_told):
    monkeypatch.setattr(backend, "has_fma", lambda: False)
    first = told(lambda: fitted(SOLVERS[solver]))
    assert len(first) == 1 and str(first[0].message).startswith(rounding.NO_FMA)
    assert first[0].filename.endswith("many_fits.py"), "it is told of the line that called fit"
    assert not told(lambda: fitted(SOLVERS[solver]))


def test_a_fit_with_fused_multiply_add_says_nothing(monkeypatch, nothing_told):
    monkeypatch.setattr(backend, "has_fma", lambda: True)
    assert not told(lambda: fitted(FITS[0]))


def test_neither_does_the_reference(monkeypatch, nothing_told):
    monkeypatch.setattr(backend, "has_fma", lambda: False)
    assert not told(lambda: fitted(FITS[0], backend="reference"))


# ------------------------------------------------------------------------------------------ what the compiler is asked


@pytest.mark.skipif(backend.MACHINE != "x86_64", reason="these processors are of x86-64")
@pytest.mark.parametrize(
    ("target", "is_fused"),
    [("x86-64", False), ("ivybridge", False), ("haswell", True), ("bdver1", True), ("icelake-server", True)],
)
def test_whether_a_processor_has_fused_multiply_add_is_asked_of_the_compiler(target, is_fused):
    code = "from spiralnn.kernels.vectors import fma_is_fused; print(fma_is_fused())"
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert answer.stdout.split() == [str(is_fused)]


def test_it_is_asked_under_the_lock_of_the_compiler(monkeypatch):
    held, parse = [], backend.binding.parse_assembly

    def parse_and_note(text):
        held.append(backend.global_compiler_lock.is_locked())
        return parse(text)

    monkeypatch.setattr(backend.binding, "parse_assembly", parse_and_note)
    backend.has_fma.__wrapped__()
    backend.register_bytes.__wrapped__()
    assert held and all(held)
