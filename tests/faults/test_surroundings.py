"""What a program sets for its whole process changes no result, and raises nothing: surroundings_job.py has the list.

One process does everything plainly, then forks a child for each setting; what can only be said as a process begins is
tried in processes of their own. All of it is one test, for it is compared with one and the same plain report.
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


def make_locales(folder):
    """What names a folder with locales that have a decimal comma, and two more letters i, where they can be made."""
    folder.mkdir()
    for name in ("de_DE", "tr_TR") if shutil.which("localedef") and os.path.isdir(LOCALES) else ():
        command = ["localedef", "-i", name, "-f", "UTF-8", str(folder / f"{name}.UTF-8")]
        subprocess.run(command, capture_output=True, check=False)
    return {"LOCPATH": str(folder)} if list(folder.iterdir()) else {}


def assert_of_every_kind(plain):
    """What is compared: different models, by every solver, from every source."""
    assert len(plain) >= 60
    weights = {plain[f"{kind} {solver}"] for kind in ("linear", "network") for solver in ("gd", "lbfgs", "adam")}
    assert len({*weights, plain["linear newton-cholesky"]}) == 7
    assert plain["linear gd loaded"] == plain["linear gd out of core"] == plain["linear gd"]
    assert plain["network lbfgs out of core"] == plain["network lbfgs"] == plain["command"]
    assert plain["checkpoint"] != plain["resumed"]


def test_no_setting_changes_what_comes_out(tmp_path):
    locales = make_locales(tmp_path / "locales")
    in_settings = start(tmp_path / "settings", more=["all"], **locales)
    others = {
        name: start(tmp_path / name, *options, **locales, **environment)
        for name, (options, environment) in PROCESSES.items()
    }
    found = finish(in_settings) | {name: finish(process)[""] for name, process in others.items()}
    assert found.keys() == {"", *SETTINGS, *PROCESSES}
    plain = found[""]
    assert_of_every_kind(plain)
    # a setting that cannot be made here, for want of a locale or of an option of pandas, has a line of why
    made = {name: report for name, report in found.items() if not isinstance(report, str)}
    assert made.keys() >= {name for name, code in SETTINGS.items() if "locale" not in code and "pd." not in code}
    errors = {name: report["error"] for name, report in made.items() if "error" in report}
    assert not errors, "\n\n".join(f"{name}: {error}" for name, error in errors.items())
    # NumPy's own sums are made a buffer at a time, in some versions
    made["buffer of ufuncs"] |= {name: bits for name, bits in plain.items() if name.endswith("by NumPy")}
    assert [name for name, report in made.items() if report != plain] == []
