"""Incremental extraction: of a source only the rows that are new since the last load, up to a mark
taken beforehand.

The mark is the largest value that the source has before its rows are read, so that what comes in
meanwhile is left for the next load. It is remembered in the transaction of the load. It is never
beyond the source's clock: rows beyond that are read by each load until the clock has passed them,
as are rows that have no value at all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import partial

from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.declare.sources import Native, Watermark
from pypelineetl.errors import LoadError, SourceError
from pypelineetl.extract.sources import check_columns, first_columns
from pypelineetl.extract.watermark_values import Form, Marks, Value, find_marks
from pypelineetl.project.project import Project
from pypelineetl.sql import queries
from pypelineetl.state.load_state import LoadState

_AT_THE_MARK = re.compile(r"(?P<value>.*) \((?P<rows>\d+) at it\)")


@dataclass(frozen=True)
class Extraction:
    """What one load reads.

    The ETL with the source that gives it, and the marks it will have reached.
    """

    etl: ETL
    reached: Mapping[str, str]
    is_full: bool = True
    """Whether that is all of the source."""
    notes: tuple[str, ...] = ()
    """What the user should know of the source."""


@dataclass(frozen=True)
class _Known:
    """How far earlier loads have read a column."""

    value: Value
    rows: int
    """How many rows the source had at the mark; counted for facts that append."""


def extraction(
    project: Project, etl: ETL, history: LoadState, *, full: bool, is_filled: bool
) -> Extraction:
    """Return what a load of an ETL is to read: all of its source if it is `full` or has no
    watermark.

    `is_filled` tells whether its table has rows. Raises SourceError or LoadError for a watermark
    that cannot be decided.
    """
    if etl.watermark is None:
        return Extraction(etl, {})
    check_columns(etl, first_columns(project, etl))
    previous_keys = {
        name: text
        for name, text in history.watermarks(etl).items()
        if name in etl.watermark.columns
    }
    with project.open_source(etl) as source:
        local_times = project.local_times(etl)
        query = project.source_query(etl, source)
        marks = find_marks(source, query, etl.watermark, local_times, is_append=_appends(etl))
        notes = [note for note in map(_note_of_rows_ahead, marks.values()) if note]
        known, faults = _known(marks, previous_keys)
        # A source that holds only what is new is empty at times: that is nothing new, and no other
        # beginning.
        is_empty = bool(previous_keys) and all(
            mark.form is None and not mark.nulls for mark in marks.values()
        )
        if _appends(etl) and not (is_empty and not full):
            [(name, mark)] = marks.items()
            _refuse_repetition(mark, known.get(name), faults, full=full, is_filled=is_filled)
        is_full = full or (not is_empty and (bool(faults) or not known))
        if not full:
            notes = [*(f"all of its source is read, because {fault}" for fault in faults), *notes]
        least = {} if is_full else _least(etl.watermark, marks, known)
        condition = partial(_condition, marks, least, appends=_appends(etl))
        part = queries.filter_rows(query, etl.watermark.columns, condition, dialect=source.dialect)
        # All rows are read as they would be without a watermark.
        changed = etl if part == query else replace(etl, source=Native(part))
        reached = {
            name: _written(mark, appends=_appends(etl))
            for name, mark in marks.items()
            if mark.reached is not None
        }
    return Extraction(changed, reached, is_full, tuple(notes))


def _appends(etl: ETL) -> bool:
    return isinstance(etl, FactETL) and etl.write_mode == "append"


def _note_of_rows_ahead(mark: Marks) -> str:
    if not mark.ahead:
        return ""
    done = "not loaded" if mark.is_append else "loaded, and read again by each load,"
    return (
        f'{mark.ahead:,} rows of its source have a value in "{mark.column}" that is beyond the'
        f" source's clock. They are {done} until the clock has passed them. Mend them in the"
        " source, or let its watermark be so far `ahead`"
    )


def _known(
    marks: Mapping[str, Marks], previous_keys: Mapping[str, str]
) -> tuple[dict[str, _Known], list[str]]:
    """Return how far earlier loads have read, and why that cannot be the place to go on from, if it
    cannot.
    """
    known, faults = {}, []
    for name, text in previous_keys.items():
        at_the_mark = _AT_THE_MARK.fullmatch(text)
        written, rows = (
            (at_the_mark["value"], int(at_the_mark["rows"])) if at_the_mark else (text, 0)
        )
        mark = marks[name]
        told = f'earlier loads have read "{name}" up to {written}'
        if mark.form is None:
            faults.append(f"{told}, and it has no value any more")
            continue
        try:
            value = mark.form.parsed(written)
        except ValueError:
            faults.append(f"{told}, and it has values of another type now")
            continue
        known[name] = _Known(value, rows)
        if mark.limit is not None and value > mark.limit:
            faults.append(f"{told}, which is beyond the source's clock")
        elif mark.reached is None or value > mark.reached:
            faults.append(f"{told}, and its largest value is less now")
    return known, faults


def _refuse_repetition(
    mark: Marks, known: _Known | None, faults: Sequence[str], *, full: bool, is_filled: bool
) -> None:
    """Raise LoadError or SourceError if a fact that appends would have rows twice, or would miss
    any.
    """
    name, rebuild = mark.column, "Rebuild its table (--delete_existing_tables with a run)"
    if mark.nulls:
        message = (
            f'{mark.nulls:,} rows of its source have NULL in "{name}", by which a fact that appends'
            " tells new rows from old ones. Leave such rows out in the source SQL, or give them a"
            " value"
        )
        raise SourceError(message)
    reasons = [
        *faults,
        *(["all of its source was asked for (--full)"] if full else []),
        *([] if known else [f'nothing is known of how far earlier loads have read "{name}"']),
    ]
    if is_filled and reasons:
        message = (
            f"it appends, and would have rows twice that are in its table, because {reasons[0]}."
            f" {rebuild}"
        )
        raise LoadError(message)
    mark.refuse_repeated(known.value if known else None)
    late = mark.rows_at(known.value) - known.rows if known and is_filled else 0
    if late > 0:
        message = (
            f'{late:,} rows came later with the value in "{name}" up to which earlier loads have'
            " read. A fact that appends reads each value once, so these would be missing. Let the"
            " values of new rows be greater than all before, or declare a grain, which lets rows"
            f" be read again. {rebuild}"
        )
        raise SourceError(message)


def _least(
    watermark: Watermark, marks: Mapping[str, Marks], known: Mapping[str, _Known]
) -> dict[str, str]:
    """Return by column from where on it is read, as SQL writes it.

    An overlap below the known mark.
    """
    least = {}
    for name, mark in known.items():
        form = marks[name].form
        if form is not None:
            least[name] = form.written(
                _beginning(watermark, form, form.earliest_to_come(mark.value))
            )
    return least


def _beginning(watermark: Watermark, form: Form, reached: Value) -> Value:
    """Return from where on a column is read that has been read so far.

    Raises LoadError for another kind of overlap.
    """
    overlap = watermark.overlap
    if not overlap:
        return reached
    if isinstance(overlap, timedelta):
        if isinstance(reached, date):
            begun = _as_moment(reached) - overlap
            # The whole day, if it is days that are compared.
            return begun if isinstance(reached, datetime) else begun.date()
        message = (
            "the overlap of its watermark is a length of time, and it has read up to"
            f' "{form.text(reached)}"'
        )
        raise LoadError(message)
    if isinstance(reached, date):
        message = (
            "the overlap of its watermark is a number, and it has read up to"
            f' "{form.text(reached)}"'
        )
        raise LoadError(message)
    return reached - overlap


def _as_moment(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def _condition(
    marks: Mapping[str, Marks],
    least: Mapping[str, str],
    expressions: Mapping[str, str],
    *,
    appends: bool,
) -> str:
    """Return the condition on the rows that a load reads, of these expressions of its columns.

    Empty for all rows.
    """
    conditions = [_below(mark, expressions[name]) for name, mark in marks.items()]
    if least:
        reaching = [
            _reaching(marks[name], least.get(name, ""), expressions[name], appends=appends)
            for name in marks
        ]
        nothing = " AND ".join(f"({expressions[name]}) IS NULL" for name in marks)
        conditions.append(" OR ".join([*reaching, f"({nothing})"]))
    return " AND ".join(f"({condition})" for condition in conditions if condition)


def _below(mark: Marks, expression: str) -> str:
    """Return the condition that a value is not over the mark.

    It is left for the next load; empty if all are read.
    """
    if mark.form is None or (mark.reached is None and not mark.is_append):
        return ""
    if mark.reached is None:
        return "1 = 0"
    compared = mark.form.compared(expression)
    below = f"{compared} <= {mark.form.written(mark.reached)} OR ({expression}) IS NULL"
    if mark.ahead and mark.limit is not None and not mark.is_append:
        return f"{below} OR {compared} > {mark.form.written(mark.limit)}"
    return below


def _reaching(mark: Marks, least: str, expression: str, *, appends: bool) -> str:
    if mark.form is None or not least:
        return f"({expression}) IS NOT NULL"
    return f"{mark.form.compared(expression)} {'>' if appends else '>='} {least}"


def _written(mark: Marks, *, appends: bool) -> str:
    """Return how a mark is remembered."""
    assert mark.form is not None  # noqa: S101 - what has a mark has values
    assert mark.reached is not None  # noqa: S101 - as the caller knows
    text = mark.form.text(mark.reached)
    return f"{text} ({mark.rows_at(mark.reached)} at it)" if appends else text
