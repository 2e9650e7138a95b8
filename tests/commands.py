"""The command `spiralnn` as a process, and what it leaves."""

import os
import struct
import subprocess
import sys
from pathlib import Path

from places import ROOT

from spiralnn.resources import available_threads


class Haste:
    """Whether a process ends what it does within so many seconds, on a quiet machine: on a busy one it gets more.

    What is measured is how long its threads ran, all together, where the system tells; else nothing.
    """

    def __init__(self, pid):
        self._file = Path(f"/proc/{pid}/stat")
        self._before = self._seconds()

    def _seconds(self):
        try:
            fields = self._file.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check(self, seconds, then=None):
        """then: the process's own time.process_time() when it was done; None: it still is there, and is done."""
        then = self._seconds() if then is None else then
        if self._before is not None and then is not None:
            assert then - self._before <= seconds * available_threads() + 0.02


def start(*arguments, cwd, **options):
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "spiralnn", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, cwd=cwd, env={**os.environ, "PYTHONPATH": paths}, **options)


def run(*arguments, cwd, **options):
    """(exit code, lines of stdout, lines of stderr)."""
    process = start(*arguments, cwd=cwd, **options)
    out, err = process.communicate(timeout=600)
    return process.returncode, out.splitlines(), err.splitlines()


def assert_wrong_usage(result, message):
    code, out, err = result
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def png_size(path):
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])
