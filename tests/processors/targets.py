"""The fits as Numba compiles them for other processors, which this one must be able to run: `python targets.py`.

Each is compared with digests.json; then checkpoints of each processor go on on the next, to the same bits. Compiled at
optimisation level 1, which is sooner done, unless NUMBA_OPT says otherwise. What is left out is told, with the reason.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llvmlite import binding

FITS = Path(__file__).with_name("many_fits.py")
OWN = "this processor"

_AVX2 = {"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
_AVX512 = _AVX2 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
# what code for them may make use of
TARGETS = {
    "haswell": _AVX2,
    "skylake-avx512": _AVX512,
    "znver4": _AVX512 | {"avx512bitalg", "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512vnni", "avx512vpopcntdq"},
}
AT_ONCE = 2  # processes


def runnable(features: dict[str, bool]) -> list[str]:
    """The targets whose code a processor with these features runs; says which are left out."""
    found = []
    for target, needed in TARGETS.items():
        lacking = sorted(name for name in needed if not features.get(name))
        if lacking:
            print(f"left out: {target}, for this processor has no {', '.join(lacking)}", flush=True)
        else:
            found.append(target)
    return found


def run(target: str, *arguments: str) -> bool:
    """Whether many_fits.py, compiled for a target, ends well; what it prints is printed if it does not."""
    environment = {"NUMBA_OPT": "1", **os.environ}
    if target != OWN:  # with the second unset, Numba would compile for the features of this one
        environment |= {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}
    command, start = [sys.executable, str(FITS), *arguments], time.monotonic()
    result = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    last = result.stdout.strip().rpartition("\n")[2] if result.returncode == 0 else f"\n{result.stdout}"
    print(f"{target}, {' '.join(arguments)}: {last or 'done'} ({time.monotonic() - start:.0f} s)", flush=True)
    return result.returncode == 0


def main() -> int:
    targets = runnable(binding.get_host_cpu_features())
    if not targets:
        return 0
    ring = [OWN, *targets]
    with ThreadPoolExecutor(AT_ONCE) as pool, tempfile.TemporaryDirectory() as folder:

        def all_well(*work: tuple[str, ...]) -> bool:
            return all(list(pool.map(lambda arguments: run(*arguments), work)))

        places = {target: Path(folder) / f"from {target}" for target in ring}
        for place in places.values():
            place.mkdir()
        well = all_well(*((target, "--part", f"{i}/2") for target in targets for i in range(2)))
        well &= all_well(*((target, "--stop", str(places[target])) for target in ring))
        nexts = zip([*ring[1:], ring[0]], ring, strict=True)
        well &= all_well(*((target, "--go-on", str(places[before])) for target, before in nexts))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
