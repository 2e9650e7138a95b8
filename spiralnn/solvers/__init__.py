"""Solvers: what is done with a sum over rows. None looks at a row itself.

| file | what |
| --- | --- |
| choice.py | which solver serves which problem, and each one's own settings |
| start.py | from a choice to the run that is about to start |
| descent.py | full-batch gradient descent, as the case study has it |
| stochastic.py | batches: stochastic gradient descent with momentum, Adam |
| quasi_newton.py | L-BFGS |
| newton.py | Newton's method, of the linear model |
| validation.py | rows that a run is judged by; early stopping |
| columns.py | centred and scaled columns, as a change of variables |
| problem.py | what a solver is given |
"""
