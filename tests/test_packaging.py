"""What an install holds: an editable one would hide a package that setup.cfg forgot."""

import os
import subprocess
import sys
import zipfile

import pytest
from places import ROOT

FIT = """
import sys
import spiralnn, spiralnn.kernels
assert spiralnn.__file__.startswith(sys.argv[1]) and spiralnn.kernels.__file__.startswith(sys.argv[1])
X, y = spiralnn.make_spiral(20, random_state=0)
print(spiralnn.TwoLayerNet(hidden_size=8, max_iter=5, random_state=0).fit(X, y).n_iter_)
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
