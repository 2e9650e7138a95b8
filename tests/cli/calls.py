"""The command run in this process, how it reports and refuses, and files to give it."""

import json
import os

import pytest

import spiralnn
from spiralnn import cli

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of POSIX")


def call(capsys, *arguments):
    """(exit code, stdout, stderr) of the command, run in this process."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def report(capsys, *arguments):
    """The JSON of a command that works and writes nothing else."""
    code, out, err = call(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    assert out.endswith("}\n") and out.count("\n") == 1
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def refusal(capsys, *arguments, code=1):
    """The message of a command that fails: one line on stderr, nothing on stdout, and no file written."""
    before = sorted(os.listdir())
    found, out, err = call(capsys, *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1), (found, out, err)
    assert sorted(os.listdir()) == before
    start = f"spiralnn {arguments[0]}: error: "
    assert err.startswith(start)
    return err.removeprefix(start).rstrip("\n")


def same_bits(path, model):
    """Whether a file holds the very bits of a model."""
    kept = spiralnn.load(path)
    pairs = zip(kept.coefs_ + kept.intercepts_, model.coefs_ + model.intercepts_, strict=True)
    same = all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)
    return same and kept.loss_curve_ == model.loss_curve_


def write(name, text, encoding="utf-8"):
    with open(name, "w", encoding=encoding, newline="") as file:
        file.write(text)
    return name


def table_text(X, *columns, header="", end="\n"):
    """CSV with the exact digits of X, and further columns."""
    rows = [",".join([*map(repr, row), *map(str, more)]) for row, *more in zip(X.tolist(), *columns, strict=True)]
    return end.join([*filter(None, [header]), *rows, ""])


def hidden(package):
    """A sitecustomize module that makes a package impossible to find and to import."""
    return f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == {package!r} else find(name, package)
sys.modules[{package!r}] = None
"""
