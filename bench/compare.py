"""Everybody against everybody, in turns: a step of either model and prediction, at the shapes people have."""

import sys

import peers
from implementations import IMPLEMENTATIONS
from problems import problem
from turns import race

# N, D, H, K: the case study, small tables, images of digits, physics events, forest cover, images
NETWORK = [
    (300, 2, 100, 3),
    (150, 4, 100, 3),
    (30_000, 2, 100, 3),
    (1_000_000, 2, 100, 3),
    (1_797, 64, 100, 10),
    (100_000, 28, 128, 2),
    (100_000, 54, 128, 7),
    (20_000, 784, 128, 10),
]
LINEAR = [(300, 2, None, 3), (1_000_000, 2, None, 3), (100_000, 54, None, 7), (20_000, 784, None, 10)]
CASES = [("two_layer", shape) for shape in NETWORK] + [("linear", shape) for shape in LINEAR]

TURNS = 9
QUICK_LARGEST, QUICK_TURNS = 2_000, 3
# torch.compile takes 5 to 10 seconds for every function and shape: it takes part in steps, and not in a quick run
SLOW_COMPILERS = ("PyTorch compiled",)


def measure(quick):
    """The rows "interleaved" of the results."""
    for absent in peers.missing():
        print(f"not in the comparison: {absent}", file=sys.stderr)
    rows = []
    for model, (N, D, H, K) in CASES:
        if quick and N > QUICK_LARGEST:
            continue
        print(f"in turns: {model} {N, D, H, K}", file=sys.stderr)
        for dtype in ("float64", "float32"):
            for operation in ("step", "predict"):
                given = problem(model, N, dtype, D, H, K)
                patient = operation == "step" and not quick
                entrants = [i for i in IMPLEMENTATIONS if patient or i.name not in SLOW_COMPILERS]
                rows += race(given, operation, entrants, QUICK_TURNS if quick else TURNS)
    return rows
