"""What a field of a text file says: a number, a whole number, a label."""

import contextlib
import math
import re
from collections.abc import Sequence

import numpy as np

TRUE, FALSE = ("True", "true", "TRUE"), ("False", "false", "FALSE")
WORDS = {**dict.fromkeys(TRUE, 1.0), **dict.fromkeys(FALSE, 0.0)}
# how others write that there is nothing; beside numbers no label is meant by it
MISSING = {"", "na", "n/a", "nan", "null", "none", "<na>", "?"}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")  # no more digits than int64 has


def number(text: str) -> float | None:
    """The finite number that a field holds, as numpy.loadtxt reads it, or a truth value's; None when it holds none."""
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        return WORDS.get(text)
    # to float(), 1_0 and digits of all alphabets are numbers, too
    return value if math.isfinite(value) and "_" not in text and text.isascii() else None


def is_integer(text: str) -> bool:
    """Whether a field is a whole number, in the one way that str() writes it."""
    return _INTEGER.fullmatch(text) is not None


class Labels:
    """A column of labels as it is read: a code for every distinct text. name: of the column, in messages."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.codes: dict[str, int] = {}
        self.missing: dict[str, int] = {}  # texts that may say that there is none, and the line where each was first

    def code(self, line: int, text: str) -> int:
        code = self.codes.get(text)
        if code is None:
            word = text.strip().lower()
            if not word:
                raise ValueError(f"line {line}{self.name}: a missing label")
            if word in MISSING:
                self.missing[text] = line
            code = self.codes[text] = len(self.codes)
        return code

    def try_codes(self, texts: Sequence[str]) -> np.ndarray | None:
        """Codes of distinct texts; None, and nothing done, when the line of one matters."""
        if any(text not in self.codes and text.strip().lower() in MISSING for text in texts):
            return None
        return np.array([self.codes.setdefault(text, len(self.codes)) for text in texts], np.int64)

    def texts(self, codes: np.ndarray) -> list[str]:
        """The distinct ones of these codes, in the order of np.unique."""
        known = list(self.codes)
        return [known[int(code)] for code in np.unique(codes)]

    def array(self, codes: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
        """The labels of these codes: integers if all are, else strings; beside classes, of their kind if all can be."""
        texts = self.texts(codes)
        kind = "i" if classes is None else classes.dtype.kind
        if kind not in "US":
            words = [text for text in texts if number(text) is None]
            if 0 < len(words) < len(texts) and all(text in self.missing for text in words):
                line, text = min((self.missing[text], text) for text in words)
                raise ValueError(f"line {line}{self.name}: {text!r} beside numbers, a missing label")
        return typed(texts, kind)[np.unique(codes, return_inverse=True)[1]]


def typed(texts: Sequence[str], kind: str) -> np.ndarray:
    """Distinct labels of a kind of NumPy's where all can be, else strings."""
    if kind in "iu" and all(map(is_integer, texts)):
        with contextlib.suppress(OverflowError):  # identifiers of more than 64 bits
            return np.array([int(text) for text in texts], np.int64)
    if kind == "f" and all(text not in WORDS and number(text) is not None for text in texts):
        return np.array([float(text) for text in texts])
    if kind == "b" and all(text in WORDS for text in texts):
        return np.array([WORDS[text] for text in texts], bool)
    return np.array(texts, str)
