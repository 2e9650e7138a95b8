"""What an install holds: an editable one would hide a package that setup.cfg forgot."""

import compileall
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT, TESTS
from problems import JIT

FIT = """
import sys
import spiralnn, spiralnn.kernels
assert spiralnn.__file__.startswith(sys.argv[1]) and spiralnn.kernels.__file__.startswith(sys.argv[1])
X, y = spiralnn.make_spiral(20, random_state=0)
print(spiralnn.TwoLayerNet(hidden_size=8, max_iter=5, random_state=0).fit(X, y).n_iter_)
"""

# one kernel alone is compiled, at a lower level, which is sooner done; a warning is an error
QUICK = """
import warnings
warnings.simplefilter("error")
import spiralnn
warnings.simplefilter("ignore", spiralnn.OtherBitsWarning)  # of processors without multiply-add
from spiralnn.engine import cache
X, y = spiralnn.make_spiral(20, random_state=0)
model = spiralnn.SoftmaxClassifier(solver="gd", max_iter=5, random_state=0).fit(X, y)
print(spiralnn.__file__, cache.folder(), model.coefs_[0].tobytes().hex())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    # a copy, for building leaves folders behind
    for name in ("kernels", "spiralnn", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_every_module_is_in_the_wheel(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    spiralnn = {str(path.relative_to(ROOT)) for path in (ROOT / "spiralnn").rglob("*.py")}
    kernels = {f"spiralnn/{path.relative_to(ROOT)}" for path in (ROOT / "kernels").rglob("*.py")}
    assert any("/vectors/" in name for name in kernels)
    assert inside == spiralnn | kernels


def test_what_the_wheel_holds_trains(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", FIT, str(tmp_path / "installed")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "5\n", done.stderr


def quick_fit(told, *command, **environment):
    """Where the package was, where kernels are kept, and what a fit in a process of its own came to."""
    env = {**os.environ, "NUMBA_OPT": "1", "PYTHONPATH": "", "NUMBA_CACHE_DIR": str(told), **environment}
    done = subprocess.run([sys.executable, *map(str, command)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.rsplit(maxsplit=2)


def kept(folder):
    """The entries of a cache, and which files these are, so that one written anew is another."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*.kernel")}


@pytest.fixture
def installed(wheel, tmp_path, monkeypatch):
    """An install, and a cache that a fit with it has filled; the bits of that fit."""
    monkeypatch.chdir(tmp_path)  # else the tree may come first on the path of a child
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    where, _, bits = quick_fit(tmp_path / "cache", "-c", QUICK, PYTHONPATH=str(tmp_path / "installed"))
    assert Path(where).is_relative_to(tmp_path)
    return tmp_path / "installed", tmp_path / "cache", bits


def compiled_alone(folder):
    """No sources are left."""
    assert compileall.compile_dir(folder, quiet=1, legacy=True)
    for source in folder.rglob("*.py"):
        source.unlink()


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_a_wheel_runs_as_it_is_by_the_kernels_of_an_install(wheel, installed, tmp_path):
    _, cache, bits = installed
    before = kept(cache)
    where, _, again = quick_fit(cache, "-c", QUICK, PYTHONPATH=str(wheel))
    assert (where, again) == (str(wheel / "spiralnn" / "__init__.py"), bits)
    assert kept(cache) == before and len(before) == 1
    # where no folder is told it is that of the user: beside the package there can be none
    user = tmp_path / "user"
    home = {"XDG_CACHE_HOME": str(user), "HOME": str(user)}
    _, folder, again = quick_fit("", "-c", QUICK, PYTHONPATH=str(wheel), **home)
    assert again == bits and list(kept(user)) == list(before) and Path(folder).is_relative_to(user)


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_compiled_modules_alone_keep_their_kernels(zipped, installed, tmp_path):
    folder, cache, bits = installed
    before = kept(cache)
    compiled_alone(folder)
    if zipped:
        folder = shutil.make_archive(str(tmp_path / "compiled"), "zip", folder)
    for _ in range(2):
        assert quick_fit(cache, "-c", QUICK, PYTHONPATH=str(folder))[2] == bits
        assert len(kept(cache)) == 2 and before.items() < kept(cache).items()
        after = kept(cache)
    assert kept(cache) == after


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_a_frozen_program_keeps_its_kernels_with_those_of_the_user(installed, tmp_path):
    folder, cache, bits = installed
    compiled_alone(folder)
    for seed in ("1", "2"):
        copy = shutil.copytree(folder, tmp_path / seed)
        home = {"XDG_CACHE_HOME": str(tmp_path / "user"), "HOME": str(tmp_path / "user"), "PYTHONHASHSEED": seed}
        where, _, again = quick_fit("", TESTS / "frozen.py", copy, QUICK, **home)
        assert not os.path.exists(where) and not copy.exists()
        assert again == bits
        ((name, file),) = kept(tmp_path / "user").items()
    assert name not in kept(cache)
