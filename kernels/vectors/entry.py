"""From Python bodies to functions that jitted code calls."""

from . import backend
from .values import Array, Index, Scalar, converted, plain

# How functions that Python calls are compiled: no exception for a division by zero, no GIL, and no entry for C.
ENTRY = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}


def traced(body):
    """A function for jitted code from a Python body over arrays, integers, floats, and tuples of these.

    It returns None, or a float or an integer where the body is annotated so. Other bodies call it by `body_of`.
    """
    if backend.jit_disabled():
        return body
    function = backend.as_intrinsic(body, (Array, Index, Scalar), _returned)
    function.body = body
    return function


def body_of(function):
    """The Python body of a traced function, for the body of another one."""
    return getattr(function, "body", function)


def _returned(builder, answer, kind):
    answer = plain(answer)
    return answer.value if isinstance(answer, Index) else converted(answer, kind).value
