"""All that is checked before a kernel runs: every error names the argument, what came and what is expected.

| file | what |
| --- | --- |
| arrays.py | rows of numbers, in the one form that kernels take |
| frames.py | tables of other libraries, column by column |
| values.py | what can be an array of numbers at all |
| kinds.py | of which kind labels are, and whether they are there |
| labels.py | classes, each row's place among them |
| weights.py | of samples and classes |
| held_out.py | rows to judge by: how many of each class, and which |
| parameters.py | shapes that fit, memory to train with |
| scalars.py | single values |
"""
