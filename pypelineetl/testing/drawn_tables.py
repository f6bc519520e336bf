"""Tables drawn as text: read them, compare them with rows, and draw the rows that differ.

A drawing is a line with the name of a table, a line with its columns, and a line for each row. A
blank line ends it. This module has no databases and no types: the caller casts the cells.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from pypelineetl.errors import UsageError

Row = tuple[Any, ...]
"""A table's name, and then the values of one of its rows."""

# A message shows so many rows of a table at most.
_MOST_ROWS = 40
# A cell, from its `|` up to the next: group 1 is a text in quotes, group 2 another text.
_CELL = re.compile(r"\|[ \t]*(?:'((?:[^']|'')*)'|([^'| \t](?:[^|]*[^| \t])?))[ \t]*(?=\|)")
# Texts that need quotes, because without them they would be read as something else.
_SPECIAL = re.compile(r"NULL|\$\w+||'.*|[ \t].*|.*[ \t]|.*\|.*")
# The symbols of control characters in Unicode, which keep a row on one line.
_CONTROL_PICTURES = {code: 0x2400 + code for code in range(32)}


@dataclass(frozen=True)
class Variable:
    """A value that a drawing leaves open. It is the same wherever the name is."""

    name: str
    """The name with its dollar sign, such as `$ann`."""


Values = Mapping[Variable, Any]


@dataclass(frozen=True)
class Cell:
    """One cell of a drawing."""

    text: str
    """The text, without quotes and without the blanks around it."""
    is_quoted: bool
    """Whether it was in quotes. Then it is a text, and neither NULL nor a variable."""

    @property
    def is_null(self) -> bool:
        """Whether it is NULL."""
        return not self.is_quoted and self.text == "NULL"

    @property
    def variable(self) -> Variable | None:
        """The variable, such as `$ann`; None if the cell is none."""
        return (
            Variable(self.text)
            if not self.is_quoted and re.fullmatch(r"\$\w+", self.text)
            else None
        )


@dataclass(frozen=True)
class Drawing:
    """One drawn table."""

    table: str
    """The table's name."""
    columns: tuple[str, ...]
    """The headings, which may include a type: `id:int`."""
    rows: tuple[tuple[Cell, ...], ...]
    """The rows, each with one cell for each column."""


def read_drawings(text: str) -> list[Drawing]:
    """Return the tables that a text draws.

    Raises:
        UsageError: The text is not a drawing.
    """
    lines = [line.strip(" \t\r") for line in text.split("\n")]
    # A blank line ends a drawing.
    drawings = [_drawing(*block) for is_drawn, block in groupby(lines, bool) if is_drawn]
    if not drawings:
        message = "nothing is drawn"
        raise UsageError(message)
    tables = Counter(drawing.table for drawing in drawings)
    for table in tables:
        if tables[table] > 1:
            message = f"{table} is drawn twice"
            raise UsageError(message)
    return drawings


def _drawing(table: str, *lines: str) -> Drawing:
    if table.startswith("|") or not lines:
        message = (
            f"{table}: a table is drawn as its name, its columns and its rows, a line each, with no"
            " blank line"
        )
        raise UsageError(message)
    headings, *rows = [_cells(table, line) for line in lines]
    columns = tuple(cell.text for cell in headings)
    if len(set(columns)) < len(columns):
        message = f"{table}: {lines[0]} names a column twice"
        raise UsageError(message)
    for line, row in zip(lines[1:], rows, strict=True):
        if len(row) != len(columns):
            message = (
                f"{table}: the number of cells in {line} is {len(row)}, and in its heading"
                f" {len(columns)}"
            )
            raise UsageError(message)
    return Drawing(table, columns, tuple(rows))


def _cells(table: str, line: str) -> tuple[Cell, ...]:
    cells, end = [], 0
    while match := _CELL.match(line, end):
        plain, in_quotes = match[2], match[1]
        cells.append(
            Cell(plain, is_quoted=False)
            if plain
            else Cell(in_quotes.replace("''", "'"), is_quoted=True)
        )
        end = match.end()
    if not cells or line[end:] != "|":
        message = (
            f"{table}: {line} cannot be read from {line[end:]} on. A row begins and ends with |,"
            " and a cell is NULL, a text, or a text in quotes: '' is the empty one, and 'it''s'"
            " has a quote in it"
        )
        raise UsageError(message)
    return tuple(cells)


def matched(expected: Sequence[Row], found: Sequence[Row], values: Values) -> Values | None:
    """Return the values of the variables for which the expected rows equal the found ones.

    The rows may be in any order. The result is None if no values make them equal.

    Args:
        expected: The expected rows, which may have variables.
        found: The found rows.
        values: The values of the variables that are known already.
    """
    if Counter(row[0] for row in expected) != Counter(row[0] for row in found):
        return None
    while expected:
        # The row with the fewest choices comes first, so that few combinations have to be tried.
        row, choices = _surest(expected, found, values)
        if not choices:
            return None
        if len(choices) > 1:
            tries = (
                matched(_without(expected, row), _without(found, one), choices[one])
                for one in choices
            )
            return next((result for result in tries if result is not None), None)
        [(choice, values)] = choices.items()
        expected, found = _without(expected, row), _without(found, choice)
    return values


def _surest(
    expected: Sequence[Row], found: Sequence[Row], values: Values
) -> tuple[Row, Mapping[Row, Values]]:
    """Return the expected row that fits the fewest found rows.

    With it, return each found row that it fits, and the values of the variables in that case.
    """
    surest: tuple[Row, Mapping[Row, Values]] = (), {}
    for row in expected:
        choices = {other: fit for other in found if (fit := _fit(row, other, values)) is not None}
        if not surest[0] or len(choices) < len(surest[1]):
            surest = row, choices
        if len(choices) <= 1:
            break
    return surest


def _fit(expected: Row, found: Row, values: Values) -> Values | None:
    """Return the values of the variables for which two rows are equal; None if there are none."""
    fit = dict(values)
    # Rows of other tables may have other lengths. They differ in the first item, the table.
    for wanted, value in zip(expected, found, strict=False):
        if isinstance(wanted, Variable):
            # A variable matches any value except NULL, and the same value each time.
            if value is None or fit.setdefault(wanted, value) != value:
                return None
        elif wanted != value:
            return None
    return fit


def _without(rows: Sequence[Row], row: Row) -> Sequence[Row]:
    at = rows.index(row)
    return [*rows[:at], *rows[at + 1 :]]


def difference(
    drawings: Sequence[Drawing], expected: Sequence[Row], found: Sequence[Row], values: Values
) -> str:
    """Return the tables whose expected and found rows differ, as drawings.

    A row that is missing is marked `-`, and a row that is not expected `+`.
    """
    missing, rest, extra = [], expected, found
    # Pair the rows that fit. The other ones are missing or not expected.
    while rest:
        row, choices = _surest(rest, extra, values)
        rest = _without(rest, row)
        if not choices:
            missing.append(row)
            continue
        choice, values = next(iter(choices.items()))
        extra = _without(extra, choice)
    lines = []
    for drawing in drawings:
        if drawing.table in {row[0] for row in (*missing, *extra)}:
            lines += [
                f"{drawing.table} is not as drawn",
                "expected:",
                *_drawn(drawing, expected, missing, "-", values),
            ]
            lines += ["found:", *_drawn(drawing, found, extra, "+", values)]
    return "\n".join(lines)


def _drawn(
    drawing: Drawing, rows: Sequence[Row], marked: Sequence[Row], mark: str, values: Values
) -> list[str]:
    """Return the lines of a table, with some of its rows marked.

    Of a large table, only marked rows are drawn.
    """
    own, waiting = [row for row in rows if row[0] == drawing.table], Counter(marked)
    # Of equal rows, only as many are marked as are missing or not expected.
    marks = []
    for row in own:
        marks.append(mark if waiting[row] > 0 else " ")
        waiting[row] -= 1
    shown = list(zip(marks, own, strict=True))
    if len(own) > _MOST_ROWS:
        shown = [(sign, row) for sign, row in shown if sign == mark][:_MOST_ROWS]
    texts = [drawing.columns, *([_shown(value, values) for value in row[1:]] for _, row in shown)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = [
        f"{sign} |"
        f" {' | '.join(text.ljust(width) for text, width in zip(row, widths, strict=True))} |"
        for sign, row in zip([" ", *(sign for sign, _ in shown)], texts, strict=True)
    ]
    return [*lines, *([f"  … of {len(own):,} rows"] if len(own) > len(shown) else [])]


def _shown(value: Any, values: Values) -> str:
    """Return a value as it is drawn; of a variable, its name and its value."""
    match value:
        case None:
            return "NULL"
        case Variable():
            return (
                f"{value.name}={_shown(values[value], values)}" if value in values else value.name
            )
        case datetime():
            return value.isoformat(sep=" ")
        case Decimal():
            return f"{value:f}"
    text = str(value).translate(_CONTROL_PICTURES)
    return "'" + text.replace("'", "''") + "'" if _SPECIAL.fullmatch(text) else text
