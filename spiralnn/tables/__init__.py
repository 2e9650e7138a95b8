"""Tables in files: features and labels read, predictions written. Nothing is ever unpickled.

| file | what |
| --- | --- |
| table.py | a table in memory, the kinds of files, columns by name or number |
| reading.py | every kind of file: whole, in blocks of rows, one column |
| csv.py | text with separators, piece by piece |
| fields.py | its numbers and labels |
| layout.py | its columns, by the first line |
| lines.py | its lines and records |
| fast.py | readers of plain pieces: pyarrow's, NumPy's |
| npy.py | arrays, which stay on disk where they would take much of the memory |
| parts.py | Parquet files, and folders of them |
| parquet.py | Parquet, with pyarrow |
| writing.py | predictions, block by block |

What is wrong with a file is one TableError that says where.
"""

from .reading import blocks, can_stay, check_installed, named_columns, read_column, read_table, shape_of
from .table import Table, TableError, is_npy, table_path
from .writing import writer

__all__ = [
    "Table",
    "TableError",
    "blocks",
    "can_stay",
    "check_installed",
    "is_npy",
    "named_columns",
    "read_column",
    "read_table",
    "shape_of",
    "table_path",
    "writer",
]
