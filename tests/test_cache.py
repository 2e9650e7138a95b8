"""Compiled kernels on disk: found again by the next process, and never in the way when they are broken."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from spiralnn import cache

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")

# A small fit as its own process: what came out, how many functions were compiled, and what was warned of.
JOB = """
import json, sys, warnings
sys.path.insert(0, {root!r})
import numba.core.event as event
import spiralnn, spiralnn.cache
{prelude}
X, y = spiralnn.make_spiral(10, 3, random_state=0)
with event.install_recorder("numba:compile") as recorder, warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = spiralnn.SoftmaxClassifier(random_state=0, max_iter=3).fit(X, y)
    {also}
print(json.dumps({{
    "weights": model.coefs_[0].tobytes().hex(),
    "losses": model.loss_curve_,
    "compiled": len(recorder.buffer),
    "warnings": [[w.category.__name__, str(w.message)] for w in caught],
}}))
"""


def start(folder, prelude="", also=""):
    """A process that runs the job with its own cache folder."""
    return subprocess.Popen(
        [sys.executable, "-c", JOB.format(root=str(ROOT), prelude=prelude, also=also)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == ""
    return json.loads(out)


def run(folder, **options):
    return finish(start(folder, **options))


def result(report):
    return report["weights"], report["losses"]


def entries(folder):
    """Every file of a cache folder: name and content."""
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache folder that one process has filled, and what that process reported."""
    folder = tmp_path_factory.mktemp("warm")
    return folder, run(folder)


@pytest.fixture
def copied(warm, tmp_path):
    """A copy of the warm folder that a test may damage, its only entry, and the right result."""
    folder, report = warm
    shutil.copytree(folder, tmp_path / "cache")
    (entry,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    return tmp_path / "cache", entry, result(report)


def test_the_first_process_compiles_and_keeps_what_it_compiled(warm):
    folder, report = warm
    assert report["compiled"] > 0
    assert report["warnings"] == []
    assert len(report["losses"]) == 3
    (name,) = entries(folder)
    assert name.endswith(".kernel")


def test_the_second_process_compiles_nothing_and_writes_nothing(copied):
    folder, _, expected = copied
    before = entries(folder)
    report = run(folder)
    assert report["compiled"] == 0
    assert report["warnings"] == []
    assert result(report) == expected
    assert entries(folder) == before


def flipped(content):
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


def foreign(content):
    """What another version may have left: a whole entry whose payload means something else."""
    payload = pickle.dumps("not a compiled function")
    return hashlib.sha256(payload).digest() + payload


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[: len(content) // 2], flipped, foreign],
    ids=["empty", "cut", "flipped", "foreign"],
)
def test_a_damaged_entry_is_compiled_again_and_written_anew(damage, copied):
    folder, entry, expected = copied
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    report = run(folder)
    assert report["compiled"] > 0
    assert report["warnings"] == []
    assert result(report) == expected
    assert list(entries(folder)) == [entry.name]
    content = entry.read_bytes()
    assert hashlib.sha256(content[32:]).digest() == content[:32]
    assert len(content) > len(whole) // 2
    again = run(folder)
    assert again["compiled"] == 0
    assert result(again) == expected


def test_a_folder_that_cannot_be_made_costs_one_warning(warm, tmp_path):
    (tmp_path / "file").write_text("in the way")
    # two kernels are compiled, and neither can be kept
    report = run(tmp_path / "file" / "cache", also="model.score(X, y)")
    assert report["compiled"] > 1
    assert result(report) == result(warm[1])
    ((kind, message),) = report["warnings"]
    assert kind == "RuntimeWarning"
    assert "compiled kernels are not kept on disk" in message
    assert "Set NUMBA_CACHE_DIR to a folder that can be written" in message
    assert entries(tmp_path) == {"file": b"in the way"}


def test_other_kernel_sources_make_another_entry(copied):
    folder, entry, expected = copied
    before = entry.read_bytes()
    report = run(folder, prelude="spiralnn.cache._code_digest = lambda: 'of other sources'")
    assert report["compiled"] > 0
    assert report["warnings"] == []
    assert result(report) == expected
    assert len(entries(folder)) == 2
    assert entry.read_bytes() == before


def test_cold_processes_at_once_all_come_out_right(warm, tmp_path):
    processes = [start(tmp_path / "new" / "cache") for _ in range(3)]
    reports = [finish(process) for process in processes]
    assert all(result(report) == result(warm[1]) for report in reports)
    assert all(report["warnings"] == [] for report in reports)
    assert list(entries(tmp_path)) == list(entries(warm[0]))  # one entry, and no temporary file


# ------------------------------------------------------------------------------- what the names depend on


def digest_of(monkeypatch, folder):
    monkeypatch.setattr(cache, "_SOURCES", (folder / "kernels", folder / "descent.py"))
    return cache._code_digest.__wrapped__()


def test_every_byte_of_every_kernel_source_counts(tmp_path, monkeypatch):
    kernels, descent = cache._SOURCES
    shutil.copytree(kernels, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(descent, tmp_path / "descent.py")
    seen = {digest_of(monkeypatch, tmp_path)}
    assert digest_of(monkeypatch, tmp_path) in seen
    sources = [*sorted((tmp_path / "kernels").glob("*.py")), tmp_path / "descent.py"]
    assert {"tile.py", "tree.py", "linear.py", "two_layer.py", "descent.py"} <= {path.name for path in sources}
    for i, path in enumerate(sources):
        path.write_bytes(path.read_bytes() + b"#")
        seen.add(digest_of(monkeypatch, tmp_path))
        assert len(seen) == i + 2, path.name


def test_versions_and_compiler_settings_count(monkeypatch):
    seen = {cache._code_digest.__wrapped__()}
    monkeypatch.setattr(numba, "__version__", "0.0.0")
    seen.add(cache._code_digest.__wrapped__())
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", not numba.config.BOUNDSCHECK)
    seen.add(cache._code_digest.__wrapped__())
    monkeypatch.setattr(numba.config, "OPT", 0)
    seen.add(cache._code_digest.__wrapped__())
    assert len(seen) == 4


# --------------------------------------------------------------------------------------------- the folder


def test_the_folder_told_to_numba_is_used_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "told"))
    assert cache.folder() == str(tmp_path / "told" / "spiralnn")
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    assert cache.folder() is None


def test_without_one_it_is_beside_the_package_or_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "_HERE", tmp_path / "package")
    assert cache.folder() == str(tmp_path / "package" / "__pycache__" / "kernels")
    # a package that cannot be written to
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "_HERE", tmp_path / "file")
    monkeypatch.setattr(cache.AppDirs, "user_cache_dir", str(tmp_path / "user"))
    assert cache.folder() == str(tmp_path / "user")


def test_a_write_that_fails_leaves_no_trace(tmp_path, monkeypatch):
    path = tmp_path / "entry"
    cache.write_atomically(path, b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(cache.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        cache.write_atomically(path, b"new")
    monkeypatch.undo()
    assert entries(tmp_path) == {"entry": b"old"}
