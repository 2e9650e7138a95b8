"""Fused kernels: arrays in, sums out.

Imports only math, numpy and numba, and knows nothing of estimators, threads, files or printing.

| file | what |
| --- | --- |
| reference.py | the case study in plain NumPy: what every kernel is held against |
| simd.py | vectors of rows as values: loops traced into LLVM; exp and log |
| tile.py | the unit of work: a tile of rows in cache, and the loops over it in register blocks |
| softmax.py | softmax cross-entropy with its gradient, over a tile and on its own |
| linear.py | the softmax linear classifier |
| two_layer.py | the two-layer ReLU network: few inputs and general |
| tree.py | adding chunk sums along one fixed binary tree; gradients and the step from them |
| barrier.py | where the threads of one descent meet |
| limits.py | what the hardware can do at best: multiply-adds in registers, reading memory |

`spiralnn.fused` offers them under the names and signatures of reference.py.

Letters: N rows, D inputs, H hidden units, K classes, T rows of a tile; X y W b W2 b2 as in the case study.
"""
