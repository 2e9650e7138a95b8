"""Files of measurements: a JSON object of parts, one row a line, so that a difference shows what changed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .whole_file import write_atomically

MACHINE = ("cpu", "cores", "versions", "command", "date")  # what is said of where, how and when it was measured


class BadResults(ValueError):
    """The file holds no such results; the message is one line."""


def save(path: Any, results: Mapping[str, Any]) -> None:
    """Write the file, whole whenever it can be seen. OSError when it cannot be written."""
    parts = []
    for key, value in results.items():
        lines = ",\n  ".join(map(json.dumps, value)) if isinstance(value, list) else None
        parts.append(f'"{key}": ' + (json.dumps(value) if lines is None else f"[\n  {lines}\n ]"))
    write_atomically(Path(path), ("{\n " + ",\n ".join(parts) + "\n}\n").encode())


def load(path: Any, parts: Mapping[str, Sequence[str]], positive: Iterable[str] = ()) -> dict[str, Any]:
    """What `save` wrote: "machine", and rows by part with the keys they must have; a part that is not there is empty.

    positive: keys whose values must be positive numbers. BadResults when something is missing or the file is none;
    OSError when it cannot be read.
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        require(results, ("machine",))
        require(results["machine"], MACHINE)
        for part, keys in parts.items():
            for row in results.setdefault(part, []):
                require(row, keys)
                for key in set(positive) & set(keys):
                    if not isinstance(row[key], int | float) or not row[key] > 0:
                        raise ValueError(f"{key} is {row[key]!r}, expected a positive number")
    except (ValueError, TypeError) as error:
        raise BadResults(f"{path}: no results of such measurements: {error}") from None
    return results


def require(value: Any, keys: Sequence[str]) -> None:
    """TypeError or ValueError unless it is an object with these keys."""
    if not isinstance(value, dict):
        raise TypeError(f"found {type(value).__name__} where an object with {', '.join(keys)} is expected")
    missing = [key for key in keys if key not in value]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
