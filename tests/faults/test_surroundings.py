"""What a program sets for its whole process changes no result, and raises nothing: surroundings_job.py has the list.

One process does everything plainly, then forks a child for each setting; what can only be said as a process begins is
tried in processes of their own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from places import ROOT, TESTS
from surroundings_job import SETTINGS

JOB = Path(__file__).resolve().with_name("surroundings_job.py")
LOCALES = "/usr/share/i18n/locales"

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.skipif(numba.config.DISABLE_JIT, reason="compiled threads"),
]

# Options of the interpreter, and the environment.
PROCESSES = {
    "warnings are errors": (["-W", "error"], {"PYTHONUTF8": "0", "LC_ALL": "C"}),
    "no docstrings": (["-OO", "-W", "error"], {"PYTHONIOENCODING": "ascii", "LC_ALL": "tr_TR.UTF-8"}),
    # NumPy 2.0 and 2.1 heed this way of promotion, later ones warn
    "no asserts": (["-O", "-bb"], {"NPY_PROMOTION_STATE": "legacy", "PYTHONHASHSEED": "1"}),
}


def start(folder, *options, more=(), **environment):
    """The job in a process of its own."""
    folder.mkdir()
    paths = os.pathsep.join(filter(None, [str(ROOT), str(TESTS), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, *options, str(JOB), str(folder), *more]
    env = {**os.environ, "PYTHONPATH": paths, **environment}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """A folder with locales that have a decimal comma, and two more letters i, where they can be made."""
    folder = tmp_path_factory.mktemp("locales")
    for name in ("de_DE", "tr_TR") if shutil.which("localedef") and os.path.isdir(LOCALES) else ():
        command = ["localedef", "-i", name, "-f", "UTF-8", str(folder / f"{name}.UTF-8")]
        subprocess.run(command, capture_output=True, check=False)
    return {"LOCPATH": str(folder)} if list(folder.iterdir()) else {}


@pytest.fixture(scope="module")
def reports(locales, tmp_path_factory):
    """What came of everything in each setting; "": in none."""
    return finish(start(tmp_path_factory.mktemp("settings") / "all", more=["all"], **locales))


def test_what_is_compared_is_of_every_kind(reports):
    plain = reports[""]
    assert len(plain) >= 60
    weights = {plain[f"{kind} {solver}"] for kind in ("linear", "network") for solver in ("gd", "lbfgs", "adam")}
    assert len({*weights, plain["linear newton-cholesky"]}) == 7
    assert plain["linear gd loaded"] == plain["linear gd out of core"] == plain["linear gd"]
    assert plain["network lbfgs out of core"] == plain["network lbfgs"] == plain["command"]
    assert plain["checkpoint"] != plain["resumed"]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_changes_nothing(name, reports):
    report = reports[name]
    if isinstance(report, str):
        pytest.skip(f"this cannot be set here: {report}")
    assert "error" not in report, report["error"]
    assert report == reports[""]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_begun_otherwise_comes_to_the_same(name, reports, locales, tmp_path):
    options, environment = PROCESSES[name]
    assert finish(start(tmp_path / "out", *options, **locales, **environment)) == {"": reports[""]}
