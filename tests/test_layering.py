"""The layers are a contract: arrows point down, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

# From the top down: packages, and modules that lie beside them. Each imports from those below alone.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"scaling"},
    {"plots"},
    {"__init__"},
    {"estimators", "objective", "data"},
    {"solvers"},
    {"distributed"},
    {"engine", "tables"},
    {"rows"},
    {"checks", "files"},
    {"resources"},
    {"kernels"},
]
HEIGHT = {room: -i for i, layer in enumerate(LAYERS) for room in layer}

# The same within kernels/: the loop over the pieces, the models and their kernels, tiles, vectors, what Numba hides.
KERNEL_LAYERS = [
    {"__init__"},
    {"pieces"},
    {"loop", "layout", "limits", "columns", "order"},
    {"steps", "rows"},
    {"lbfgs", "updates", "sync", "models"},
    {"few_inputs", "two_layer_units", "newton"},
    {"linear", "two_layer", "cholesky"},
    {"softmax"},
    {"tile"},
    {"vectors.__init__"},
    {"vectors.atomics", "vectors.control", "vectors.elementary", "vectors.entry"},
    {"vectors.lanes", "vectors.memory"},
    {"vectors.values"},
    {"vectors.backend"},
    {"tree", "reference", "plain"},
]
KERNEL_HEIGHT = {module: -i for i, layer in enumerate(KERNEL_LAYERS) for module in layer}

KERNELS_MAY_IMPORT = {"collections", "copy", "functools", "math", "typing", "numpy", "numba"}
# the one file for what is no public name of Numba, and twins without the JIT of what threads tell each other
MAY_IMPORT_TOO = {
    "vectors.backend": {"llvmlite", "platform"},
    "vectors.atomics": {"sys", "threading", "time"},
}

PACKAGE_FILES = sorted((ROOT / "spiralnn").rglob("*.py"))
KERNEL_FILES = sorted((ROOT / "kernels").rglob("*.py"))


def imported_names(path, package):
    """Every name imported anywhere in a file of package, absolute: 'numpy', 'spiralnn.kernels.tile.load'."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [node.module])])
            else:
                base = node.module
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_of(path):
    """The name of a file in its package: "cli", "engine.plan", "vectors.__init__"."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts)


def package_of(path):
    return ".".join(["spiralnn", *(["kernels"] if path in KERNEL_FILES else []), *module_of(path).split(".")[:-1]])


MODULES = {module_of(path): path for path in PACKAGE_FILES}
KERNEL_MODULES = {module_of(path): path for path in KERNEL_FILES}


def room_of(module):
    """Its place in LAYERS: the package that it lies in, or itself."""
    return module.partition(".")[0]


def found_in(name, package, modules):
    """The module of a package that an absolute name is found in, None if it is in another package."""
    if name != package and not name.startswith(package + "."):
        return None
    parts = name[len(package) + 1 :].split(".")
    for n in (2, 1):
        for module in (".".join(parts[:n]), ".".join([*parts[:n], "__init__"])):
            if module in modules:
                return module
    return "__init__"


def imported_modules(path):
    """Modules of spiralnn that a file imports from anywhere in it; kernels are one."""
    for name in imported_names(path, package_of(path)):
        assert name.partition(".")[0] != "kernels", f"{name}: kernels are imported as spiralnn.kernels"
        if name.startswith("spiralnn.kernels"):
            yield "kernels"
        # the version is a constant that every layer may print
        elif name != "spiralnn.__version__" and (module := found_in(name, "spiralnn", MODULES)) is not None:
            yield module


def file_id(path):
    return str(path.relative_to(ROOT))


def test_every_module_has_a_layer():
    assert PACKAGE_FILES and KERNEL_FILES
    assert {room_of(module) for module in MODULES} | {"kernels"} == set(HEIGHT)
    assert set(KERNEL_MODULES) == set(KERNEL_HEIGHT)


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=file_id)
def test_arrows_point_down(path):
    room = room_of(module_of(path))
    for target in imported_modules(path):
        assert room_of(target) == room or HEIGHT[room_of(target)] < HEIGHT[room], f"{module_of(path)} imports {target}"


def circle(arrows):
    """Names along arrows {name: names} that come back to the first, None where there are none."""
    known_free = set()

    def search(name, way):
        if name in way:
            return [*way[way.index(name) :], name]
        for target in arrows.get(name, ()):
            found = None if target in known_free else search(target, [*way, name])
            if found:
                return found
        known_free.add(name)
        return None

    return next(filter(None, (search(name, []) for name in arrows)), None)


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c", "d"}, "d": {"b"}, "c": set()}) == ["b", "d", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_there_are_no_circles_between_files():
    # a name that a package hands on from one of its files is found in its __init__, which its files may not import
    assert circle({module: set(imported_modules(path)) - {module} for module, path in MODULES.items()}) is None


@pytest.mark.parametrize("path", [*PACKAGE_FILES, *KERNEL_FILES], ids=file_id)
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", KERNEL_FILES, ids=file_id)
def test_kernels_import_only_numerics_and_each_other_downwards(path):
    module = module_of(path)
    for name in imported_names(path, package_of(path)):
        target = found_in(name, "spiralnn.kernels", KERNEL_MODULES)
        if target is None:
            assert name.partition(".")[0] in KERNELS_MAY_IMPORT | MAY_IMPORT_TOO.get(module, set()), name
        else:
            assert target == module or KERNEL_HEIGHT[target] < KERNEL_HEIGHT[module], f"{module} imports {name}"


@pytest.mark.parametrize("path", [*KERNEL_FILES], ids=file_id)
def test_internals_of_numba_stand_in_one_file(path):
    internals = [name for name in imported_names(path, "") if name.startswith(("numba.", "llvmlite"))]
    public = {"numba.njit", "numba.types", "numba.config"}
    assert set(internals) <= public or module_of(path) == "vectors.backend"


def run_fresh(code):
    """What code prints in a new process that finds this source tree."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_is_cheap():
    heavy = {"matplotlib", "sklearn", "scipy", "pandas", "tqdm", "torch", "jax", "mpi4py", "dask", "pytest"}
    # Numba imports SciPy where it is installed
    code = "import numba; before = set(sys.modules); import spiralnn; print(*set(sys.modules) - before)"
    assert not heavy & {name.partition(".")[0] for name in run_fresh(code).split()}


def test_importing_compiles_nothing():
    code = """
import numba.core.event as event
with event.install_recorder("numba:compile") as recorder:
    import spiralnn
print(len(recorder.buffer))
"""
    assert run_fresh(code) == "0"


def test_kernels_are_one_package():
    code = "import spiralnn.kernels; print(spiralnn.kernels.__file__, 'kernels' in sys.modules)"
    file, twice = run_fresh(code).rsplit(" ", 1)
    assert Path(file).samefile(ROOT / "kernels" / "__init__.py")
    assert twice == "False"
