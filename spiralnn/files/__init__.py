"""Files that spiralnn writes, and but for ONNX reads back, each whole whenever it can be seen, none with pickle.

| file | what |
| --- | --- |
| whole_file.py | writing: temporary file, fsync, rename |
| array_file.py | named arrays under a JSON header with a digest, which model files and checkpoints are |
| model_file.py | a fitted estimator |
| objects.py | arrays of Python objects in it: labels that are bytes, dates, decimals, intervals |
| onnx_file.py | the same as a graph for other runtimes |
| results.py | measurements, of the benchmark and of `spiralnn scale` |
"""
