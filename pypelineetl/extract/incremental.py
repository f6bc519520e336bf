"""Incremental extraction: which rows of a source a load reads, by the watermark of its ETL.

The load reads the high-water mark of the source before the rows, and only
rows up to it. The next load reads the rows that are committed meanwhile.
The transaction of the load stores the mark in `etl_watermark`.

A mark is never ahead of the source's clock. Otherwise one wrong date in the
future would hide all later rows. Every load reads the rows ahead of the
clock, and the rows whose watermark is NULL.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.declare.sources import Native, Watermark
from pypelineetl.errors import LoadError, SourceError
from pypelineetl.extract.high_water_marks import HighWaterMark, read_high_water_marks
from pypelineetl.extract.sources import check_columns, first_columns
from pypelineetl.extract.watermark_filter import watermark_condition
from pypelineetl.extract.watermark_values import Value, ValueType, as_datetime
from pypelineetl.project.project import Project
from pypelineetl.sql import queries
from pypelineetl.state.load_state import LoadState

# The text in `etl_watermark` for a fact that appends, such as `2024-01-31
# (2 at it)`.
_VALUE_AND_ROWS = re.compile(r"(?P<value>.*) \((?P<rows>\d+) at it\)")
_REBUILD = "Rebuild its table (--delete_existing_tables with a run)"


@dataclass(frozen=True)
class Extraction:
    """What one load reads from its source."""

    etl: ETL
    """The ETL with the source query that gives only the rows to read."""
    watermarks: Mapping[str, str]
    """The watermarks to store when the load has succeeded, as texts by column."""
    is_full: bool = True
    """Whether the load reads all rows of the source."""
    notes: tuple[str, ...] = ()
    """What the user should know about the source."""


@dataclass(frozen=True)
class _Previous:
    """The value of a column up to which earlier loads have read."""

    value: Value
    rows: int
    """How many rows the source had with this value. Only counted for facts that append."""


def plan_extraction(
    project: Project, etl: ETL, state: LoadState, *, full: bool, is_filled: bool
) -> Extraction:
    """Return what a load of an ETL reads.

    Args:
        project: The configuration.
        etl: The ETL.
        state: The state of the ETL, with the watermarks of earlier loads.
        full: Whether to read all rows, as for `--full` and for a rebuild.
        is_filled: Whether the table of the ETL has rows.

    Raises:
        SourceError: The values of a watermark column cannot be used.
        LoadError: A fact that appends would get rows twice.
    """
    if etl.watermark is None:
        return Extraction(etl, {})
    check_columns(etl, first_columns(project, etl))
    is_append = isinstance(etl, FactETL) and etl.append
    columns = etl.watermark.columns
    stored = {name: text for name, text in state.watermarks(etl).items() if name in columns}
    with project.open_source(etl) as source:
        query = project.source_query(etl, source)
        since = {} if full else {name: _parse_stored_text(text)[0] for name, text in stored.items()}
        marks = read_high_water_marks(
            source, query, etl.watermark, project.local_times(etl), since, is_append=is_append
        )
        previous, problems = _previous_marks(marks, stored)
        # A source that keeps only new rows may be empty. Then there is
        # nothing new. A load that read all rows would take it for a source
        # that starts again from the beginning.
        is_empty = bool(stored) and all(_has_no_rows(mark) for mark in marks.values())
        if is_append and (full or not is_empty):
            # The watermark of a fact that appends has one column.
            [mark] = marks.values()
            _refuse_repeated_rows(
                mark, previous.get(mark.column), problems, full=full, is_filled=is_filled
            )
        cannot_continue = bool(problems) or not previous
        is_full = full or (cannot_continue and not is_empty)
        lower_bounds = {} if is_full else _lower_bounds(etl.watermark, marks, previous)
        condition = partial(watermark_condition, marks, lower_bounds)
        filtered = queries.filter_rows(query, columns, condition, dialect=source.dialect)
        watermarks = {}
        for column, mark in marks.items():
            if mark.value is not None:
                watermarks[column] = _stored_text(mark)
    notes = [] if full else [f"all rows of the source are read: {text}" for text in problems]
    notes += [_note_of_rows_ahead(mark) for mark in marks.values() if mark.rows_ahead]
    # Without a filter, the source stays as it is declared, because DuckDB
    # may read it faster.
    restricted = etl if filtered == query else replace(etl, source=Native(filtered))
    return Extraction(restricted, watermarks, is_full, tuple(notes))


def _has_no_rows(mark: HighWaterMark) -> bool:
    """Return whether a source has no rows. All its values are NULL, and no row has NULL."""
    return mark.type is None and not mark.null_rows


def _note_of_rows_ahead(mark: HighWaterMark) -> str:
    loaded = "not loaded" if mark.is_append else "loaded, and read again by each load,"
    return (
        f'{mark.rows_ahead:,} rows of the source have a value in "{mark.column}" that is ahead of'
        f" the source's clock. They are {loaded} until the clock has passed them. Correct them in"
        " the source, or allow them by `ahead` of the watermark"
    )


def _previous_marks(
    marks: Mapping[str, HighWaterMark], stored: Mapping[str, str]
) -> tuple[dict[str, _Previous], list[str]]:
    """Return the value of each column up to which earlier loads have read.

    The second item says why this load cannot continue from there; it is
    empty if it can.
    """
    previous: dict[str, _Previous] = {}
    problems = []
    for column, text in stored.items():
        mark = marks[column]
        value_text, rows = _parse_stored_text(text)
        read_up_to = f'earlier loads have read "{column}" up to {value_text}'
        if mark.type is None:
            problems.append(f"{read_up_to}, but all of its values are NULL now")
            continue
        try:
            value = mark.type.from_text(value_text)
        except ValueError:
            problems.append(f"{read_up_to}, but its values have another type now")
            continue
        previous[column] = _Previous(value, rows)
        if mark.clock is not None and value > mark.clock:
            problems.append(f"{read_up_to}, which is ahead of the source's clock")
        elif mark.value is None or value > mark.value:
            problems.append(f"{read_up_to}, but its largest value is less now")
    return previous, problems


def _refuse_repeated_rows(
    mark: HighWaterMark,
    previous: _Previous | None,
    problems: Sequence[str],
    *,
    full: bool,
    is_filled: bool,
) -> None:
    """Raise an error if a fact that appends would get rows twice, or would miss rows."""
    if mark.null_rows:
        message = (
            f'{mark.null_rows:,} rows of the source have NULL in "{mark.column}". A fact that'
            " appends finds its new rows by this column. Leave such rows out in the source SQL, or"
            " give them a value"
        )
        raise SourceError(message)
    reasons = list(problems)
    if full:
        reasons.append("all rows of the source are to be read (--full)")
    if previous is None:
        reasons.append(f'nothing is stored about how far earlier loads have read "{mark.column}"')
    if is_filled and reasons:
        message = (
            "a fact that appends would get rows twice that are in its table already:"
            f" {reasons[0]}. {_REBUILD}"
        )
        raise LoadError(message)
    mark.refuse_repeated_numbers(previous.value if previous else None)
    if previous is None or not is_filled:
        return
    # Rows that got the value of the previous mark after it was stored would
    # be missing.
    late = mark.count_rows(previous.value) - previous.rows
    if late > 0:
        message = (
            f'{late:,} rows of the source have the value in "{mark.column}" up to which earlier'
            " loads have read, and came later. A fact that appends reads each value once, so these"
            " rows would be missing. Give new rows greater values than all rows before, or declare"
            f" a grain, which allows a row to be read twice. {_REBUILD}"
        )
        raise SourceError(message)


def _lower_bounds(
    watermark: Watermark,
    marks: Mapping[str, HighWaterMark],
    previous: Mapping[str, _Previous],
) -> dict[str, str]:
    """Return for each column the first value to read, as SQL: the previous mark - overlap."""
    bounds = {}
    for column, mark in previous.items():
        value_type = marks[column].type
        if value_type is not None:
            # In a repeated hour, new rows may have values before the mark.
            earliest = value_type.earliest_new_value(mark.value)
            bounds[column] = value_type.literal(_minus_overlap(watermark, value_type, earliest))
    return bounds


def _minus_overlap(watermark: Watermark, value_type: ValueType, value: Value) -> Value:
    """Return a watermark value less the overlap.

    Raises:
        LoadError: The overlap is a number and the value a date, or the
            reverse.
    """
    overlap = watermark.overlap
    if not overlap:
        return value
    if isinstance(overlap, timedelta) and isinstance(value, date):
        begin = as_datetime(value) - overlap
        # Dates are compared with dates, so an overlap of 6 hours reads the
        # whole day before.
        return begin if isinstance(value, datetime) else begin.date()
    if not isinstance(overlap, timedelta) and not isinstance(value, date):
        return value - overlap
    kind = "a length of time" if isinstance(overlap, timedelta) else "a number"
    message = (
        f"the overlap of the watermark is {kind}, but earlier loads have read up to"
        f' "{value_type.to_text(value)}". Give a timedelta for dates and timestamps, and a number'
        " for numbers"
    )
    raise LoadError(message)


def _stored_text(mark: HighWaterMark) -> str:
    """Return a mark as `etl_watermark` stores it."""
    assert mark.type is not None  # noqa: S101 - a mark with a value has a type
    assert mark.value is not None  # noqa: S101 - the caller has checked it
    text = mark.type.to_text(mark.value)
    if mark.is_append:
        return f"{text} ({mark.count_rows(mark.value)} at it)"
    return text


def _parse_stored_text(text: str) -> tuple[str, int]:
    """Return the value and the number of rows of a stored mark.

    >>> _parse_stored_text("2024-01-31 (2 at it)")
    ('2024-01-31', 2)
    >>> _parse_stored_text("2024-01-31")
    ('2024-01-31', 0)
    """
    found = _VALUE_AND_ROWS.fullmatch(text)
    if found is None:
        return text, 0
    return found["value"], int(found["rows"])
