"""Compiled kernels on disk: found again by the next process, and never in the way when they are broken.

What a cache folder may look like is tried with real fits: in processes of their own where it matters how these start,
else in children that a process forks before it has compiled anything (cache_job.py).
"""

import ctypes
import hashlib
import importlib.machinery
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numba
import numpy as np
import pytest
from places import ROOT

import spiralnn
from spiralnn import kernels as kernels_package
from spiralnn.engine import cache, curvature, evaluation, fused, passes, sources, statistics
from spiralnn.files import whole_file
from spiralnn.kernels import loop
from spiralnn.kernels.models import Model
from spiralnn.scaling import hardware
from spiralnn.solvers import newton, quasi_newton, stochastic

DAY = 24 * 3600

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
JOB = Path(__file__).resolve().with_name("cache_job.py")
KERNELS = Path(kernels_package.__file__).resolve().parent
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")


def start(folder, root=ROOT, env=None, cwd=None, preexec_fn=None, prefix=(), **options):
    """A process that runs cache_job.py with its own cache folder (None: where there is none to be told)."""
    # compiled at a lower level, which is sooner done
    environment = {**os.environ, "NUMBA_OPT": "1", "NUMBA_CACHE_DIR": str(folder or ""), **(env or {})}
    command = [*prefix, sys.executable, str(JOB), str(root), json.dumps(options)]
    return subprocess.Popen(
        command, env=environment, cwd=cwd, preexec_fn=preexec_fn, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert err == ""
    return json.loads(out)


def run(folder, **options):
    return finish(start(folder, **options))


def result(report):
    return report["weights"], report["losses"]


def entries(folder):
    """Every file of a folder: name and content."""
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def only_entry(folder):
    (entry,) = (path for path in Path(folder).rglob("*") if path.is_file() or path.is_fifo())
    return entry


def is_whole(entry):
    content = entry.read_bytes()
    return hashlib.sha256(entry.name.encode() + b"\0" + content[32:]).digest() == content[:32]


def assert_warned_once(report):
    ((kind, message),) = report["warnings"]
    assert kind == "RuntimeWarning"
    assert "compiled kernels are not kept on disk" in message
    assert "Set NUMBA_CACHE_DIR to a folder that can be written" in message


def copy_of_the_tree(to):
    """The package at another place, as an install or an older checkout would be."""
    for package in ("spiralnn", "kernels"):
        shutil.copytree(ROOT / package, to / package, ignore=shutil.ignore_patterns("__pycache__"))
    return to


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache folder that one process has filled, and what that process reported."""
    folder = tmp_path_factory.mktemp("warm")
    return folder, run(folder, before="os.umask(0)")


@pytest.fixture
def copied(warm, tmp_path):
    """A copy of the warm folder that a test may damage, its only entry, and the right result."""
    folder, report = warm
    shutil.copytree(folder, tmp_path / "cache")
    return tmp_path / "cache", only_entry(tmp_path / "cache"), result(report)


def test_the_first_process_compiles_and_keeps_what_it_compiled(warm):
    folder, report = warm
    assert report["compiled"] > 0
    assert report["warnings"] == []
    assert len(report["losses"]) == 3
    (name,) = entries(folder)
    assert name.endswith(".kernel")
    assert is_whole(only_entry(folder))
    assert not only_entry(folder).stat().st_mode & 0o022  # nobody else may write to it


def test_the_second_process_compiles_nothing_and_writes_nothing(copied):
    folder, entry, expected = copied
    before, status = entries(folder), entry.stat()
    report = run(folder)
    assert report["compiled"] == 0
    assert report["warnings"] == []
    assert result(report) == expected
    assert entries(folder) == before
    assert entry.stat().st_mtime_ns == status.st_mtime_ns


# ---------------------------------------------------------------------------------- broken folders and full disks


def foreign(entry):
    """What another version may have left: a whole entry whose payload means something else."""
    payload = pickle.dumps("not a compiled function")
    entry.write_bytes(hashlib.sha256(entry.name.encode() + b"\0" + payload).digest() + payload)


def flip(entry):
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)


def in_place_of_a_file(make):
    def damage(entry):
        entry.unlink()
        make(entry)

    return damage


def age(days):
    return lambda entry: os.utime(entry, (time.time() - days * DAY,) * 2)


# What to do to the entry of a warm folder. The first ones are found to be broken: compiled again, and written anew.
BROKEN = {
    "empty": lambda entry: entry.write_bytes(b""),
    "cut": lambda entry: os.truncate(entry, entry.stat().st_size // 2),
    "flipped": flip,
    "foreign": foreign,
    "writable to all": lambda entry: entry.chmod(0o666),
    "pipe": in_place_of_a_file(lambda entry: os.mkfifo(entry)),
}
WHOLE = {
    "long unused": age(1000),
    "from the future": age(-1000),
}

# What fails while an entry is written: code to run before the fit.
FULL = "import errno\ndef full(*args): raise OSError(errno.ENOSPC, 'No space left on device')\n"
FAILING = {
    "write": "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))",
    "fsync": FULL + "os.fsync = full",
    "replace": FULL + "os.replace = full",
    "mkdir": FULL + "Path.mkdir = full",
}


@pytest.fixture(scope="module")
def scenes(warm, tmp_path_factory):
    """For each name the folder, and the report of a fit with it: all in children of one process, two at a time."""
    top, plan = tmp_path_factory.mktemp("scenes"), {}
    for name, damage in {**BROKEN, **WHOLE}.items():
        folder = top / name
        shutil.copytree(warm[0], folder)
        damage(only_entry(folder))
        plan[name] = folder, ""
    for name, before in FAILING.items():
        folder = top / name
        folder.mkdir()
        plan[name] = folder, before
    reports = run(top / "unused", scenes=[(str(folder), before) for folder, before in plan.values()])
    return {name: (folder, report) for (name, (folder, _)), report in zip(plan.items(), reports, strict=True)}


@forks
@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_entry_is_compiled_again_and_written_anew(name, warm, scenes):
    folder, report = scenes[name]
    assert report["compiled"] > 0
    assert report["warnings"] == []
    assert result(report) == result(warm[1])
    entry = only_entry(folder)
    assert entry.is_file() and is_whole(entry)
    assert entry.name == only_entry(warm[0]).name
    assert entry.stat().st_size > only_entry(warm[0]).stat().st_size // 2


@forks
@pytest.mark.parametrize("name", WHOLE)
def test_an_entry_of_whatever_age_is_used_and_its_use_noted(name, warm, scenes):
    folder, report = scenes[name]
    assert report["compiled"] == 0
    assert report["warnings"] == []
    assert result(report) == result(warm[1])
    assert abs(only_entry(folder).stat().st_mtime - time.time()) < DAY


@forks
@pytest.mark.parametrize("name", FAILING)
def test_a_full_disk_costs_one_warning_and_leaves_nothing(name, warm, scenes):
    folder, report = scenes[name]
    assert report["compiled"] > 0
    assert_warned_once(report)
    assert result(report) == result(warm[1])
    assert entries(folder) == {}


def test_what_is_damaged_is_never_even_unpickled(copied):
    folder, _, _ = copied
    counts = run(folder, damaged=(100, 50))
    assert counts == {"tried": 1 + 8 * 33 + 100 + 34 + 1 + 50 + 1, "unpickled": 1, "loaded": 1}  # the whole one


@pytest.mark.long
def test_of_thousands_of_flips_and_cuts_none_is_unpickled(copied):
    folder, entry, _ = copied
    size = entry.stat().st_size
    counts = run(folder, damaged=(20_000, size))
    assert counts == {"tried": 1 + 8 * 33 + 20_000 + size + 1, "unpickled": 1, "loaded": 1}


@pytest.mark.long
@forks
@pytest.mark.parametrize("part", range(5))
def test_fits_with_hundreds_of_damaged_entries_come_out_right(part, warm, tmp_path):
    draw, plan = random.Random(part), []
    for i in range(50):
        folder = tmp_path / str(i)
        shutil.copytree(warm[0], folder)
        entry = only_entry(folder)
        if i < 43:
            content = bytearray(entry.read_bytes())
            bit = draw.randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
            entry.write_bytes(content)
        else:
            os.truncate(entry, draw.randrange(entry.stat().st_size))
        plan.append((str(folder), ""))
    for report in run(tmp_path / "unused", scenes=plan):
        assert report["compiled"] > 0
        assert report["warnings"] == []
        assert result(report) == result(warm[1])
    assert all(is_whole(only_entry(folder)) for folder, _ in plan)


# ----------------------------------------------------------------------------------- places that cannot be written


def without_override():
    """In a child, before it runs a program: have permission bits bind root, too."""
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) if os.geteuid() == 0 else ():
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def make_read_only(folder):
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def permission_bits_bind(tmp_path):
    """Whether a child can be kept from writing to a folder of ours."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    command = ["touch", folder / "x"]
    try:
        return subprocess.run(command, preexec_fn=without_override, stderr=subprocess.DEVNULL).returncode != 0
    except (subprocess.SubprocessError, OSError, AttributeError):
        return False


@pytest.fixture(scope="module")
def closed(warm, tmp_path_factory):
    """Reports of processes that can write less than they would like, by name; those that can be had here."""
    top = tmp_path_factory.mktemp("closed")
    (top / "file").write_text("in the way")
    no_home = {"HOME": str(top / "file" / "home"), "XDG_CACHE_HOME": "", "PYTHONDONTWRITEBYTECODE": "1"}

    tree = copy_of_the_tree(top / "tree")
    (tree / "spiralnn" / "__pycache__").write_text("in the way")
    processes = {
        "no folder": start(top / "file" / "cache"),
        "no home": start(None, root=tree, env=no_home),
    }
    if permission_bits_bind(top):
        install, prewarmed = copy_of_the_tree(top / "install"), top / "prewarmed"
        shutil.copytree(warm[0], prewarmed)
        make_read_only(install)
        make_read_only(prewarmed)
        bound = {"preexec_fn": without_override}
        processes["read-only install"] = start(None, root=install, env=no_home, score=True, **bound)
        processes["read-only cache"] = start(prewarmed, **bound)
        processes["read-only cache of other kernels"] = start(prewarmed, score=True, **bound)
    with_mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=64k none "{top}/disk" && exec "$@"', "sh"]
    (top / "disk").mkdir()
    if shutil.which("unshare") and subprocess.run([*with_mount, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        processes["full disk"] = start(top / "disk", prefix=with_mount)
    reports = {name: finish(process) for name, process in processes.items()}
    for path in (top, *top.rglob("*")):  # so that it can be removed
        if path.is_dir():
            path.chmod(0o755)
    assert entries(top / "disk") == {}
    assert entries(top)["file"] == b"in the way"
    if "read-only install" in processes:
        assert entries(top / "prewarmed") == entries(warm[0])
        assert not list((top / "install").rglob("*.kernel"))
    return reports


@pytest.mark.parametrize(
    ("name", "compiled", "warned"),
    [
        ("no folder", 1, True),
        ("no home", 1, True),
        ("read-only install", 2, True),  # two kernels, and neither can be kept
        ("read-only cache", 0, False),
        ("read-only cache of other kernels", 1, True),
        ("full disk", 1, True),
    ],
)
def test_a_place_that_cannot_be_written_costs_at_most_one_warning(name, compiled, warned, closed, warm):
    if name not in closed:
        pytest.skip("this needs permission bits that bind, or a small disk")
    report = closed[name]
    assert report["compiled"] == compiled
    assert result(report) == result(warm[1])
    if warned:
        assert_warned_once(report)
    else:
        assert report["warnings"] == []


# ------------------------------------------------------------------------------------- several processes, upgrades


def race(n, warm, folder):
    reports = [finish(process) for process in [start(folder) for _ in range(n)]]
    assert all(result(report) == result(warm[1]) for report in reports)
    assert all(report["warnings"] == [] for report in reports)
    assert list(entries(folder)) == list(entries(warm[0]))  # one entry, and no temporary file


def test_cold_processes_at_once_all_come_out_right(warm, tmp_path):
    race(4, warm, tmp_path / "new" / "cache")


@pytest.mark.long
def test_cold_processes_race_again_and_again(warm, tmp_path):
    for i in range(4):
        race(6, warm, tmp_path / str(i))


@pytest.mark.long
def test_processes_killed_while_they_write_leave_a_cache_that_works(warm, tmp_path):
    draw, folder = random.Random(2), tmp_path / "cache"
    # slow enough to be hit: a process that saves what it compiled once a millisecond
    before = (
        "save = cache._write_entry\n"
        "def slowly(name, payload):\n"
        "    while True:\n"
        "        save(name, payload)\n"
        "cache._write_entry = slowly"
    )
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        process = start(folder, before=before)
        while not list(folder.rglob("*.kernel")):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert is_whole(next(folder.rglob("*.kernel")))
    report = run(folder)
    assert report["compiled"] == 0
    assert result(report) == result(warm[1])


def test_a_changed_helper_in_another_file_is_compiled_also_after_an_upgrade_under_a_running_process(warm, tmp_path):
    tree, folder = copy_of_the_tree(tmp_path / "tree"), tmp_path / "cache"
    # the process has imported the old version when the new one comes, and compiles afterwards
    upgrade = f"""
for file, old, new in (
    ("kernels/updates.py", "fma(settings(STEP_SIZE), ", "fma(settings(STEP_SIZE) + settings(STEP_SIZE), "),
    ("spiralnn/__init__.py", '__version__ = "', '__version__ = "1'),
):
    path = Path({str(tree)!r}) / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
"""
    old = run(folder, root=tree, before=upgrade)
    assert old["compiled"] > 0
    assert result(old) == result(warm[1])
    new = run(folder, root=tree)
    assert new["compiled"] > 0
    assert new["weights"] != old["weights"]
    assert len(entries(folder)) == 2
    again = run(folder)  # the old version, from where it lies
    assert again["compiled"] == 0
    assert result(again) == result(old)
    assert {report["warnings"] == [] for report in (old, new, again)} == {True}


def test_a_relative_folder_is_the_one_at_the_start(copied, tmp_path):
    folder, _, expected = copied
    (tmp_path / "elsewhere").mkdir()
    report = run("cache", cwd=tmp_path, before="os.chdir('elsewhere')")
    assert report["compiled"] == 0
    assert result(report) == expected
    assert list((tmp_path / "elsewhere").iterdir()) == []


# ------------------------------------------------------------------------------- what the names depend on


def digest_of(folder):
    """Of a package of the kernels' name there."""
    finder = importlib.machinery.PathFinder
    finder.invalidate_caches()
    package = types.ModuleType("spiralnn.kernels")
    package.__spec__ = finder.find_spec("spiralnn.kernels", [str(folder)])
    return sources.digest_of(package)


def test_every_byte_of_every_source_counts(tmp_path):
    shutil.copytree(KERNELS, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    seen = {digest_of(tmp_path)}
    assert seen == {cache._SOURCES_DIGEST}
    files = sorted((tmp_path / "kernels").rglob("*.py"))
    assert any(path.parent.name == "vectors" for path in files)  # folders in the folder, too
    for i, path in enumerate(files):
        path.write_bytes(path.read_bytes() + b"#")
        seen.add(digest_of(tmp_path))
        assert len(seen) == i + 2, path.name
    path.unlink()
    seen.add(digest_of(tmp_path))  # a file that is missing, too
    assert len(seen) == len(files) + 2
    files[1].unlink()
    files[1].mkdir()  # what cannot be read
    assert digest_of(tmp_path) is None  # and nothing is kept


def essence(body):
    return repr(sources._essence(compile(body, "file", "exec")))


def test_code_that_has_no_file_counts_by_what_it_does():
    bodies = [
        "x = 1", "x = 2", "x = 1.0", "y = 1", "x = y", "x = 1 + y", "x = 1 - y", "x = -0.0", "x = 0.0",
        "x = y in {1, 2}", "x = y in {1, 3}",
        "def f(a): return a", "def f(b): return b", "def f(*, a): return a", "def f(a, /): return a",
        "def f(*a): return a", "def f(a): return 'a'", "def f(a): return b'a'",
    ]  # fmt: skip
    assert len({essence(body) for body in bodies}) == len(bodies)
    for body in bodies:
        assert essence("# elsewhere\n\n" + body) == essence(body)
    # in an order that does not depend on the process
    assert "['a', 'b', 'c', 'd']" in essence("x = y in {'c', 'a', 'd', 'b'}")


def modules_of(function, seen):
    """Files of everything that a compiled function reaches by name: functions, named tuples, what these reach."""
    function = getattr(function, "py_func", None) or getattr(function, "_defn", None) or function
    function = getattr(function, "__wrapped__", function)
    if isinstance(function, type) and function.__module__.startswith("spiralnn"):
        seen.setdefault(function, sys.modules[function.__module__].__file__)
    if not isinstance(function, types.FunctionType) or function in seen or "spiralnn" not in function.__module__:
        return seen
    seen[function] = function.__code__.co_filename
    names = {name for code in codes_of(function.__code__) for name in code.co_names}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    for value in [*(function.__globals__.get(name) for name in names), *cells]:
        for each in value if isinstance(value, (tuple, list)) else [value]:
            modules_of(each, seen)
    return seen


def codes_of(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


def test_all_that_is_compiled_is_among_the_sources():
    modules = fused, hardware, evaluation, statistics, curvature, quasi_newton, newton, stochastic
    kernels = [value for module in modules for value in vars(module).values() if hasattr(value, "py_func")]
    for model in (Model(2, 0, 3), Model(2, 8, 3), Model(20, 0, 5), Model(20, 8, 5)):
        kernels += [k for k in model.kernels() if hasattr(k, "py_func")]
    problem = spiralnn.make_spiral(10, 3, random_state=0)
    for solver in ("gd", "sgd", "adam", "lbfgs"):
        net = spiralnn.TwoLayerNet(solver=solver, hidden_size=8, max_iter=1, random_state=0).fit(*problem)
        assert len(net.loss_curve_) == 1
    spiralnn.SoftmaxClassifier(solver="newton-cholesky").fit(*problem)
    seen = {}
    for kernel in [*kernels, *passes._loops.values()]:
        modules_of(kernel, seen)
        for signature in kernel.signatures:
            for kind in signature:
                modules_of(getattr(kind, "instance_class", None), seen)
    assert passes._loops and {update for _, update, _ in passes._loops} >= {"gradient_descent", "adam", "lbfgs"}
    assert loop.Memory in seen and any(path.endswith("tile.py") for path in seen.values())
    for item, file in seen.items():
        assert Path(file).resolve().is_relative_to(KERNELS), item


def test_functions_signatures_versions_and_compiler_settings_count(monkeypatch):
    class Codegen:
        magic_tuple = staticmethod(lambda: ("a processor",))

    def name(function=spiralnn.make_spiral, signature="a signature"):
        return cache.KernelCache(function)._file_name(signature, Codegen)

    seen = {name(), name(signature="another"), name(spiralnn.load)}
    for module, attribute, value in (
        (numba, "__version__", "0.0.0"),
        (np, "__version__", "0.0.0"),
        (numba.config, "BOUNDSCHECK", not numba.config.BOUNDSCHECK),
        (numba.config, "OPT", 0),
        (Codegen, "magic_tuple", lambda: ("another processor",)),
        (cache, "_SOURCES_DIGEST", "of other sources"),
    ):
        monkeypatch.setattr(module, attribute, value)
        seen.add(name())
    assert len(seen) == 9


def test_an_entry_under_the_name_of_another_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    cache._write_entry("a.kernel", b"code of a")
    place = Path(cache.folder())
    assert cache._read_entry(place / "a.kernel") == b"code of a"
    shutil.copy(place / "a.kernel", place / "b.kernel")
    assert cache._read_entry(place / "b.kernel") is None


# ------------------------------------------------------------------------------------- who may have written it


@as_root
def test_entries_of_another_user_are_not_run(copied):
    folder, entry, expected = copied
    os.chown(entry, 65534, 65534)
    report = run(folder)
    assert report["compiled"] > 0
    assert report["warnings"] == []
    assert result(report) == expected
    assert entry.stat().st_uid == 0


@pytest.mark.parametrize(
    ("owner", "mode", "trusted"),
    [
        (1000, 0o100644, True),  # this user
        (0, 0o100644, True),  # root
        (500, 0o100644, True),  # who owns the package
        (1001, 0o100644, False),
        (1000, 0o100666, False),
        (1000, 0o100664, False),
        (1000, 0o010644, False),  # a pipe
        (1000, 0o040755, False),  # a folder
    ],
)
def test_who_is_trusted(owner, mode, trusted, monkeypatch):
    package = types.SimpleNamespace(st_uid=500)
    monkeypatch.setattr(cache, "os", types.SimpleNamespace(geteuid=lambda: 1000, stat=lambda path: package))
    assert cache._is_trusted(types.SimpleNamespace(st_uid=owner, st_mode=mode)) is trusted


def test_a_file_system_without_owners_is_passed_over(tmp_path, monkeypatch):
    closed, users = tmp_path / "package" / "__pycache__" / "kernels", tmp_path / "user"
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path / "package")
    monkeypatch.setattr(cache.AppDirs, "user_cache_dir", str(users))
    trusts = cache._is_trusted
    written = []

    def trusts_the_second(status):
        written.append(status)
        return len(written) > 1 and trusts(status)

    monkeypatch.setattr(cache, "_is_trusted", trusts_the_second)
    cache._write_entry("a.kernel", b"code")
    assert entries(closed) == {}
    assert list(entries(users)) == ["a.kernel"]
    monkeypatch.setattr(cache, "_is_trusted", lambda status: False)
    with pytest.raises(PermissionError, match="other users may write to files in"):
        cache._write_entry("a.kernel", b"code")


# --------------------------------------------------------------------------------------------- the folder


def test_the_folder_told_to_numba_is_used_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "told"))
    assert cache.folder() == str(tmp_path / "told" / "spiralnn")
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    assert cache.folder() is None


def test_without_one_it_is_beside_the_package_or_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path / "package")
    assert cache.folder() == str(tmp_path / "package" / "__pycache__" / "kernels")
    # a package that cannot be written to
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path / "file")
    monkeypatch.setattr(cache.AppDirs, "user_cache_dir", str(tmp_path / "user"))
    assert cache.folder() == str(tmp_path / "user")


def test_no_folder_depends_on_where_the_process_happens_to_be(tmp_path, monkeypatch):
    # a home that is not known, or not a path: what is asked for is a folder named ~ or the like
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "_PACKAGE", Path("package"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "relative")
    assert cache.folder() is None
    monkeypatch.setattr(numba.config, "CACHE_DIR", "relative")
    assert cache._folders() == [cache._START / "relative" / "spiralnn"]
    monkeypatch.setattr(cache, "_START", Path())  # a working folder that was gone at the start
    assert cache.folder() is None
    assert list(tmp_path.iterdir()) == []


def test_entries_that_nobody_used_for_a_month_are_removed_when_one_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    place = tmp_path / "spiralnn"
    place.mkdir()
    ages = {"used.kernel": 29, "unused.kernel": 31, "left.tmp": 31, "new.tmp": 0, "future.kernel": -31, "notes.txt": 31}
    for name, days in ages.items():
        (place / name).touch()
        age(days)(place / name)
    (place / "folder.kernel").mkdir()  # cannot be removed: passed over
    age(31)(place / "folder.kernel")
    cache._write_entry("new.kernel", b"code")
    assert {path.name for path in place.iterdir()} == {
        "used.kernel", "new.kernel", "new.tmp", "notes.txt", "folder.kernel",
    }  # fmt: skip
    # once in a process: a later writing does not look again
    age(31)(place / "used.kernel")
    cache._write_entry("newer.kernel", b"code")
    assert (place / "used.kernel").exists()


def test_a_use_is_noted_once_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    cache._write_entry("a.kernel", b"code")
    path = tmp_path / "spiralnn" / "a.kernel"
    for days, noted in ((0.5, False), (2, True), (-2, True)):
        age(days)(path)
        before = path.stat().st_mtime
        assert cache._read_entry(path) == b"code"
        assert (path.stat().st_mtime != before) is noted
    age(2)(path)
    monkeypatch.setattr(cache.os, "utime", None)
    with pytest.raises(TypeError):
        cache._read_entry(path)

    def fail(*args):
        raise PermissionError

    monkeypatch.setattr(cache.os, "utime", fail)
    assert cache._read_entry(path) == b"code"


def test_a_write_that_fails_leaves_no_trace(tmp_path, monkeypatch):
    path = tmp_path / "entry"
    whole_file.write_atomically(path, b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(whole_file.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        whole_file.write_atomically(path, b"new")
    monkeypatch.undo()
    assert entries(tmp_path) == {"entry": b"old"}
