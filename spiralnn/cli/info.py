"""`spiralnn info`: what a report of a fault should say."""

import argparse
import contextlib
import importlib.metadata
import os
import platform

from .. import __version__, resources
from ..engine import cache
from .console import DONE

OPTIONAL_PACKAGES = ("matplotlib", "tqdm", "scipy", "scikit-learn", "pytest-benchmark")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace) -> int:
    from ..scaling import hardware

    lines = {"spiralnn": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "llvmlite", *OPTIONAL_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines[package] = importlib.metadata.version(package)
    lines["system"] = f"{platform.system()} {platform.machine()}"
    lines["cpu"] = hardware.cpu_name()
    lines["cores"] = str(os.cpu_count())
    lines["threads"] = f"{resources.available_threads()} usable by this process"
    lines["threading layer"] = "own (Python threads running compiled code; Numba's threading layer is not used)"
    lines["cache folder"] = cache.folder() or "none (kernels are compiled in every process)"
    for name, value in lines.items():
        print(f"{name}: {value}")
    return DONE
