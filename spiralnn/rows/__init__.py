"""Rows that are read piece by piece, wherever they lie.

| file | what |
| --- | --- |
| source.py | an array of which runs of rows are read |
| pages.py | the memory they are read into |
| disk.py | files that must stay as they are while they are read |
| npy.py | rows of .npy and mapped files |
| parquet.py, table.py | columns of Parquet files |
| shards.py | rows made of other rows: one after the other, some columns |
| parts.py, opening.py | from what a user names to rows: `open_rows` |
| rows.py | features with their labels and weights |
| coded.py | the same as kernels take them: labels as places among classes, weights of samples and classes |
"""
