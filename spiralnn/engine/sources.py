"""A digest of all modules of a package, wherever they come from: files, compiled ones, a zip, an executable."""

import hashlib
import pkgutil
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any


def digest_of(package: ModuleType) -> str | None:
    """Digest of the modules of a package and of the packages in it, as they are now; None if they cannot be read."""
    digest = hashlib.sha256()
    try:
        for name, content in sorted(_modules(package.__spec__)):
            digest.update(name.encode() + b"\0" + content + b"\0")
    except Exception:  # loaders are of any kind: what one of them cannot tell is not known
        return None
    return digest.hexdigest()


def _modules(spec: Any) -> Iterator[tuple[str, bytes]]:
    """Name and content of a module, and of what is in it."""
    yield spec.name, _content(spec)
    for found in pkgutil.iter_modules(spec.submodule_search_locations or []):
        finder: Any = found.module_finder
        yield from _modules(finder.find_spec(f"{spec.name}.{found.name}"))


def _content(spec: ModuleSpec) -> bytes:
    """The file that a module is loaded from; its code, where an executable holds it and there is no such file."""
    loader: Any = spec.loader
    try:
        return loader.get_data(spec.origin)
    except OSError:
        return repr(_essence(loader.get_code(spec.name))).encode()


def _essence(value: Any) -> Any:
    """What a code object does, or a constant in it, so that its repr is the same in every process."""
    if isinstance(value, CodeType):
        names = value.co_name, value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars
        counts = value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags
        code = value.co_code, getattr(value, "co_exceptiontable", None)  # which is part of the code before 3.11
        return names, counts, code, [_essence(constant) for constant in value.co_consts]
    if isinstance(value, frozenset):
        return sorted(map(_essence, value), key=repr)
    return value
