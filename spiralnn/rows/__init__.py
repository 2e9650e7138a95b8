"""Rows that are read piece by piece, wherever they lie.

| file | what |
| --- | --- |
| source.py | an array of which runs of rows are read |
| rows.py | features with their labels and weights |
| coded.py | the same as kernels take them: labels as places among classes, weights of samples and classes |
"""
