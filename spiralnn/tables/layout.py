"""What the columns of a CSV file are, by its first line, and the messages that follow from that."""

from collections.abc import Sequence
from typing import NamedTuple

from .fields import MISSING, WORDS, is_integer, number
from .table import choose_columns, some


class Layout(NamedTuple):
    """first: fields of the first line; has_names: they are names. target, inputs: places among the columns."""

    separator: str
    first: list[str]
    has_names: bool
    target: int | None
    inputs: list[int]

    @property
    def width(self) -> int:
        return len(self.first)

    @property
    def columns(self) -> list[str] | None:
        return [self.first[j] for j in self.inputs] if self.has_names else None

    def name(self, j: int) -> str:
        """Of a column, in a message that begins with the line."""
        if self.has_names:
            return f", column {self.first[j]!r}"
        return f", column {j} (counted from 0)" if self.width > 1 else ""

    def check_width(self, line: int, row: Sequence[str]) -> None:
        if len(row) != self.width:
            fields = f"{len(row)} field{'s' * (len(row) != 1)}, expected {self.width}"
            raise ValueError(f"line {line}: {fields} {_separated(self.separator, self.first)}")

    def check_numbers(self, line: int, row: Sequence[str]) -> None:
        """ValueError for the first input that is no finite number, if there is one."""
        for j in self.inputs:
            if number(row[j]) is None:
                missing = " a missing value;" * (row[j].strip().lower() in MISSING)
                hint = f" {_separated(self.separator, row)}" if _other_separator(row) else ""
                raise ValueError(f"line {line}{self.name(j)}: {row[j]!r},{missing} expected a finite number{hint}")


def layout_of(
    line: int, first: list[str], separator: str, target: str | None, header: bool | None, ignore: Sequence[str]
) -> Layout:
    """From the first line, and what is asked for."""
    has_names = _is_header(first, target, header, ignore)
    try:
        place, inputs = choose_columns(target, ignore, first if has_names else None, len(first))
    except ValueError as error:
        raise ValueError(f"{error} {_separated(separator, first)}") from None
    empty = [j for j in inputs if has_names and not first[j]]
    if empty:
        raise ValueError(f"line {line}: field {empty[0] + 1} of the header is empty: a table's index?")
    return Layout(separator, first, has_names, place, inputs)


def _is_header(first: list[str], target: str | None, header: bool | None, ignore: Sequence[str]) -> bool:
    """Whether the first line holds names: as told, or where only one answer is possible."""
    if header is not None:
        return header
    others = [*ignore, *([] if target is None else [target])]
    if not all(map(is_integer, others)):
        return True  # a column is called so
    left_out = {int(other) % len(first) for other in others if -len(first) <= int(other) < len(first)}
    inputs = [field for j, field in enumerate(first) if j not in left_out]
    has_words = any(number(field) is None for field in inputs)
    has_numbers = any(number(field) is not None and field.strip() not in WORDS for field in inputs)
    if has_words and not has_numbers:
        return True
    if not has_words and not (all(map(is_integer, first)) and len(set(first)) == len(first)):  # years, 0 to D - 1
        return False
    raise ValueError(f"are these names or numbers: {some(first, 5)}? Say --header or --no-header")


def _separated(separator: str, fields: Sequence[str]) -> str:
    """By what fields are told apart, and what else it could be where a line holds none of it."""
    other = _other_separator(fields)
    hint = f"; {fields[0][:60]!r} holds none, try --separator {other!r}" if other else ""
    if fields[0].startswith("#"):
        hint += "; a line of comments is read like any other"
    return f"(separated by {separator!r}{hint})"


def _other_separator(fields: Sequence[str]) -> str | None:
    return next((mark for mark in ";\t|" if len(fields) == 1 and mark in fields[0]), None)
