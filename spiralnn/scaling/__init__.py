"""`spiralnn scale`: how a step's time, its share of the hardware's limit and its memory go with rows and threads.

| file | what |
| --- | --- |
| hardware.py | the hardware's limits, measured |
| planning.py | what will be measured, within memory and a time budget |
| rows.py | the rows to train on, and the losses they must come to |
| memory.py | the most memory that was held |
| measuring.py | one case: time, and whether the result is right |
| results.py | what was measured, and its file |
| report.py | what is printed |
| figures.py | what is drawn |
| run.py | all of it |
"""
