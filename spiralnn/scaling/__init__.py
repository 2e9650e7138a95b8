"""`spiralnn scale`: how a pass's time and its limit go with rows, threads and ranks, and what larger ones will cost.

| file | what |
| --- | --- |
| units.py | numbers as people read them |
| cases.py | what can be measured, and what was asked for |
| hardware.py | the hardware's limits, measured |
| bounds.py | which limit binds |
| estimates.py | how long things will take, corrected by what was measured |
| planning.py | what is measured next, within memory and a time budget |
| rows.py | the rows to train on, in memory and in files, and the losses they must come to |
| timing.py | passes timed, in this process or in ranks |
| memory.py | the most memory that was held |
| ranks.py, rank_process.py | processes that mpiexec starts |
| measuring.py | one case: time, and whether the result is right |
| costs.py | what is done once before a fit |
| results.py | what was measured, and its file |
| efficiency.py | strong and weak scaling |
| report.py, progress.py | what is printed |
| figures.py | what is drawn |
| run.py | all of it |
| rates.py, forecast.py, forecast_report.py | `--plan`: rates of this machine, arithmetic, what is printed |
| page.py | the page of a run |
"""
