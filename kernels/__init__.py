"""Fused kernels: arrays in, sums out.

Imports only the standard library's copy, functools, math and the like, numpy and numba (llvmlite in one file), and
knows nothing of estimators, thread policy, files or printing. Arrows between its files point down this table:

| file | what |
| --- | --- |
| loop.py | steps over data in memory, compiled whole: the three pieces, by threads that come and go |
| pieces.py | the same sums over rows that come piece by piece |
| sync.py | who takes which part of a step, and how threads wait for each other |
| steps.py | what closes a step: losses, what ends a run, the next step size |
| lbfgs.py | limited-memory BFGS, one evaluation after the other |
| rows.py | which rows a step goes over: all as they lie, or batches in an order |
| order.py | that order, a function of seed and epoch |
| updates.py | what is done with the sum: a rule over the flat parameters |
| tree.py | how sums of leaves are added: one fixed binary tree |
| models.py | the two models: sizes, layout, work, and which kernels serve which shape |
| linear.py, two_layer.py | their kernels over a tile of rows |
| two_layer_units.py | the network over batches, lanes along hidden units |
| few_inputs.py | both models where inputs and classes are few: made for exactly so many |
| softmax.py | softmax cross-entropy with its gradient, over a tile and on its own |
| tile.py | the unit of work: a tile of rows in cache, and the loops over it in register blocks |
| layout.py | between a flat vector of parameters and the padded rows of the kernels |
| newton.py | the linear model's Hessian beside its gradient, and the step of Newton's method |
| cholesky.py | a symmetric system of equations |
| columns.py | sums over the columns of X, for their means and variances |
| limits.py | what the hardware can do at best: multiply-adds in registers, reading memory |
| vectors/ | vectors as values: Python that is traced into LLVM; exp and log; atomics |
| plain.py | the rung below: both models as ordinary Numba loops that anyone can read |
| reference.py | the case study in plain NumPy: what every kernel is held against |

`spiralnn.engine.fused` offers them under the names and signatures of reference.py.

Letters: N rows, D inputs, H hidden units, K classes, T rows of a tile; X y W b W2 b2 as in the case study.
"""
