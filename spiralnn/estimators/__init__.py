"""The two classifiers, each a chain of classes that grows from what scikit-learn asks to what users call.

| file | what |
| --- | --- |
| protocol.py | parameters, tags and messages as scikit-learn wants them, without importing it |
| settings.py | the constructor arguments, said and checked once |
| material.py | what a fit is given, checked: arrays, or rows that are read piece by piece |
| prediction.py | what a fitted classifier says of rows |
| training.py | fit and partial_fit |
| following.py | who follows a fit: the model itself, the callback |
| ending.py, usefulness.py | what is said of a fit that is over; whether its model is of any use |
| transformation.py | the hidden layer as features |
| classifiers.py | `SoftmaxClassifier`, `TwoLayerNet`, and `load` |
"""

from .classifiers import SoftmaxClassifier, TwoLayerNet, load

__all__ = ["SoftmaxClassifier", "TwoLayerNet", "load"]
