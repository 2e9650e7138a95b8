"""Whose rows: those of many processes, ranks of MPI or workers of Dask, as one whole.

| file | what |
| --- | --- |
| cuts.py | which leaves belong to which rank |
| communicator.py | ranks of MPI: what they tell each other, and how they wait |
| signs.py | signs of life of ranks, and what follows where one gives none |
| exits.py, errors.py | a rank that ends before its time, and errors that all ranks raise |
| parts.py | rows of which each rank holds a part, as one whole |
| ranks.py | passes over the rows of all ranks |
| job.py | whether this process is one of an MPI job |
| dask_arrays.py, dask_rows.py, dask_worker.py, dask_cluster.py | arrays of Dask, passes over them, and its workers |
"""
