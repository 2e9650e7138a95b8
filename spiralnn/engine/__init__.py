"""What runs the kernels: rows in memory or piece by piece, threads, and runs that are watched.

| file | what |
| --- | --- |
| plan.py | how rows are cut into tiles and leaves: a function of the problem's shape alone |
| memory.py | arrays that kernels write to, in large pages |
| threads.py | helpers that come and go, around a fork, too; threads for one piece of work |
| pace.py | how many threads the next steps take, by what was measured |
| passes.py | one compiled loop bound to data, parameters and threads |
| run.py | a training under way, whatever its solver: steps so far, their losses, what ended it |
| folding.py | what is made of rows that come piece by piece, leaf by leaf along the tree: works and their collectors |
| streaming.py | passes over such rows, as `passes.py` has them over rows in memory |
| survey.py | the first pass over such rows: checks, classes, weights |
| identity.py | digests of rows, however they are cut |
| statistics.py | means and variances of columns |
| evaluation.py, curvature.py | loss and gradient at any parameters, for solvers in Python; with the Hessian |
| monitor.py | a run that is watched by observers: log lines, a bar, a callback, checkpoints; Ctrl-C |
| checkpoint.py | the state of a run on disk |
| display.py | the progress bar |
| fused.py | single operations under the names of the reference, over threads |
| rounding.py | what is said where bits cannot be those of other processors |
| cache.py | compiled kernels on disk |
| sources.py | a digest of the kernels, from files, a zip or an executable |
"""
