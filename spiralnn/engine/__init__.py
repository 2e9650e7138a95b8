"""What runs the kernels: data in memory, threads, and runs that are watched.

| file | what |
| --- | --- |
| plan.py | how rows are cut into tiles and leaves: a function of the problem's shape alone |
| memory.py | arrays that kernels write to, in large pages |
| threads.py | helpers that come and go, around a fork, too; threads for one piece of work |
| pace.py | how many threads the next steps take, by what was measured |
| passes.py | one compiled loop bound to data, parameters and threads |
| run.py | a training under way, whatever its solver: steps so far, their losses, what ended it |
| statistics.py | means and variances of columns |
| evaluation.py | loss and gradient at any parameters, for solvers in Python |
| monitor.py | a run that is watched by observers: log lines, a bar, a callback, checkpoints; Ctrl-C |
| checkpoint.py | the state of a run on disk |
| display.py | the progress bar |
| fused.py | single operations under the names of the reference, over threads |
| cache.py | compiled kernels on disk |
"""
