"""A stand-in for a frozen program: its modules are code in memory, named after files that do not exist.

python frozen.py FOLDER PROGRAM runs a program over the compiled modules (.pyc) of a folder, which may then be gone.
"""

import importlib.util
import marshal
import pkgutil
import shutil
import sys
from pathlib import Path

PLACE = Path(__file__).resolve().with_name("no such folder")  # where everything claims to lie


class Finder:
    """Of one folder of the program."""

    def __init__(self, path):
        if not Path(path).is_relative_to(PLACE):
            raise ImportError
        self.folder = Path(path)

    def find_spec(self, name, target=None):
        last = name.rpartition(".")[2]
        for file in (self.folder / last / "__init__.pyc", self.folder / f"{last}.pyc"):
            if file in CODES:
                places = [str(file.parent)] if file.name == "__init__.pyc" else None
                spec = importlib.util.spec_from_loader(name, Loader(file), origin=str(file), is_package=bool(places))
                spec.has_location, spec.submodule_search_locations = True, places
                return spec
        return None

    def iter_modules(self, prefix=""):
        for file in CODES:
            if file.name == "__init__.pyc" and file.parent.parent == self.folder:
                yield prefix + file.parent.name, True
            elif file.name != "__init__.pyc" and file.parent == self.folder:
                yield prefix + file.stem, False


class Loader:
    def __init__(self, file):
        self.file = file

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name):
        return marshal.loads(CODES[self.file])

    def get_data(self, path):
        return Path(path).read_bytes()


if __name__ == "__main__":
    folder, program = sys.argv[1:]
    CODES = {PLACE / file.relative_to(folder): file.read_bytes()[16:] for file in sorted(Path(folder).rglob("*.pyc"))}
    shutil.rmtree(folder)
    sys.path_hooks.insert(0, Finder)
    sys.path.insert(0, str(PLACE))
    sys.frozen = True
    assert pkgutil.get_importer(str(PLACE)).find_spec("spiralnn") is not None
    exec(program)
