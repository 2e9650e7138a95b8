"""The layers are a contract: arrows point down, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the top down. A module may import from its own layer and from those below.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"commands", "plots", "scaling", "scaling_plan", "scaling_plots", "scaling_report"},
    {"tables"},
    {"console"},
    {"__init__"},
    {"estimators", "model_file", "objective", "data"},
    {"protocol", "watching"},
    {"checkpoint"},
    {"fused", "descent", "limits"},
    {"array_file"},
    {"schedule", "cache", "validation", "resources"},
    {"whole_file"},
    {"kernels"},
]
HEIGHT = {module: -i for i, layer in enumerate(LAYERS) for module in layer}

KERNELS_MAY_IMPORT = {"copy", "functools", "math", "numpy", "numba"}

PACKAGE_FILES = sorted((ROOT / "spiralnn").glob("*.py"))
KERNEL_FILES = sorted((ROOT / "kernels").glob("*.py"))


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


def package_module(name):
    """The module of spiralnn that an absolute name is found in, None if it is in another package."""
    first, _, rest = name.partition(".")
    if first != "spiralnn":
        return None
    second = rest.partition(".")[0]
    return second if second in HEIGHT else "__init__"


def file_id(path):
    return f"{path.parent.name}/{path.name}"


def test_every_module_has_a_layer():
    assert PACKAGE_FILES and KERNEL_FILES
    assert {path.stem for path in PACKAGE_FILES} <= set(HEIGHT)


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=file_id)
def test_arrows_point_down(path):
    for name in imported_names(path, "spiralnn"):
        assert name.partition(".")[0] != "kernels", f"{name}: kernels are imported as spiralnn.kernels"
        target = package_module(name)
        # the version is a constant that every layer may print
        if target is not None and name != "spiralnn.__version__":
            assert HEIGHT[target] <= HEIGHT[path.stem], f"{path.stem} imports {name}"


@pytest.mark.parametrize("path", KERNEL_FILES, ids=file_id)
def test_kernels_import_only_numerics_and_each_other(path):
    for name in imported_names(path, "spiralnn.kernels"):
        assert name.startswith("spiralnn.kernels.") or name.partition(".")[0] in KERNELS_MAY_IMPORT, name


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
