"""What all commands share: exit codes, messages without tracebacks, values of options, JSON, folders to write to."""

import argparse
import contextlib
import json
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..engine.monitor import FitInterruptedWarning
from ..files.whole_file import unwritable
from ..tables import TableError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class CommandError(Exception):
    """A failure to tell in one line, with exit code 1."""


def tell(command: str, message: str) -> None:
    """One line on stderr."""
    print(f"spiralnn {command}: {' '.join(message.split())}", file=sys.stderr)


def guarded(command: str, action: Callable[[], int]) -> int:
    """The exit code of action, whose failures and warnings are told in one line each."""

    def warn(message: Warning | str, *where: Any, **more: Any) -> None:
        tell(command, f"warning: {message}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = warn
            warnings.simplefilter("error", FitInterruptedWarning)  # Ctrl-C is meant for the command
            code = action()
        sys.stdout.flush()
        return code
    except (CommandError, TableError, FloatingPointError) as error:
        tell(command, f"error: {error}")
    except MemoryError as error:
        tell(command, f"error: not enough memory{f': {error}' if str(error) else ''}")
    except (KeyboardInterrupt, FitInterruptedWarning):
        tell(command, "interrupted")
        return INTERRUPTED
    except UnicodeEncodeError as error:
        tell(command, f"error: stdout takes no {error.object[error.start : error.end]!r}; PYTHONUTF8=1 makes it UTF-8")
    except BrokenPipeError:  # whoever read our output has gone
        _leave_stdout()
    except OSError as error:
        _leave_stdout()
        tell(command, f"error: {error}")
    return FAILED


def _leave_stdout() -> None:
    """Keep the interpreter from flushing what cannot be written, as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(values: Mapping[str, Any]) -> None:
    """One object in one line; what JSON has no number for (NaN, infinities) is null."""
    print(json.dumps(_plain(values), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def checked(source: Path, check: Any, *arguments: Any) -> Any:
    """What a check of `spiralnn.checks` returns; what it refuses is told with the file's name."""
    try:
        return check(*arguments)
    except (ValueError, TypeError) as error:
        raise CommandError(f"{source}: {error}") from error


# options


class Parser(argparse.ArgumentParser):
    """Tells of wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: error: {message}\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """As argparse's own, which hides that help cannot be written."""
        if message:
            (file or sys.stderr).write(message)


def adder(parser: argparse._ActionsContainer) -> Callable[..., None]:
    """parser.add_argument, with the default shown."""

    def add(name: str, *, help: str, **options: Any) -> None:
        shown = f"{help} (default: %(default)s)" if options.get("default") not in (None, []) else help
        parser.add_argument(name, help=shown, **options)

    return add


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Parser of an option's value."""
    expected = f"an integer, {low} or more" if high is None else f"an integer from {low} to {high}"

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            value = int(text)
            if value >= low and (high is None or value <= high):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} given, expected {expected}")

    return parse


def number(low: float = -math.inf) -> Callable[[str], float]:
    """Parser of an option's value."""
    expected = "a finite number" if low == -math.inf else f"a finite number, {low:g} or more"

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = float(text)
            if math.isfinite(value) and value >= low:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} given, expected {expected}")

    return parse


INPUTS = "inputs, a row each: .npy, .csv, .tsv (or .gz of these two) or .parquet"


def add_table_arguments(add: Callable[..., None]) -> None:
    """How tables are read: what `table_options` hands on."""
    header = "whether the first line of a CSV file holds names (default: asked for where it may be either)"
    add("--header", action=argparse.BooleanOptionalAction, default=None, help=header)
    separator = "between the fields of a CSV file (default: a comma, in .tsv a tab)"
    add("--separator", type=_separator, metavar="CHARACTER", help=separator)
    ignore = "leave out this column of X: its name or number; may be given again"
    add("--ignore", action="append", default=[], metavar="COLUMN", help=ignore)


def table_options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `spiralnn.tables.read_table` and `blocks`."""
    return {"target": args.target, "header": args.header, "separator": args.separator, "ignore": args.ignore}


def _separator(text: str) -> str:
    """Parser of an option's value: a shell's user can hardly type a tab."""
    text = "\t" if text == "\\t" else text
    if len(text) != 1 or text in "\r\n\"":
        raise argparse.ArgumentTypeError(f"{text!r} given, expected one character, or \\t for a tab")
    return text


SEEDS = integer(0, 2**32 - 1)


# files


def prepare_folder(folder: Path, what: str) -> None:
    """Create folder and make sure a file can be written in it: better now than after the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(unwritable(folder, what, error)) from error


def check_output(path: Path, what: str, inputs: Sequence[Path] = ()) -> None:
    """Make sure that a file can be written, to a folder that is there, and that it replaces none of the inputs."""
    try:
        if path.exists() and not path.is_file():
            raise CommandError(f"cannot write {what} to {str(path)!r}: it is there and not a regular file")
        for other in inputs:
            if path.exists() and other.exists() and path.samefile(other):
                raise CommandError(f"cannot write {what} to {str(path)!r}: it is read by this command")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise CommandError(unwritable(path, what, error)) from error
