"""Whose rows: those of many processes, ranks of MPI or workers of Dask, as one whole."""
