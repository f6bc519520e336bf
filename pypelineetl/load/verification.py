"""Verify a loaded table before the commit: its counts, its members, and its declared checks."""

from collections.abc import Iterator, Mapping

from pypelineetl import events
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts, Event
from pypelineetl.load.checks import run_checks
from pypelineetl.load.collations import check_texts
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.integrity import check_dimension
from pypelineetl.load.facts.periodic_snapshot import missing_periods
from pypelineetl.load.strategy import why_row_by_row
from pypelineetl.load.uniqueness import check_unique

KeysBefore = Mapping[DimensionETL, int | None]
"""The largest surrogate key of each dimension before the load, as `largest_before` returns it."""


def verify_load(load: Load, etl: ETL, counts: Counts, keys_before: KeysBefore) -> Iterator[Event]:
    """Verify what a load has written. Yield a note for each check that only warns.

    Args:
        load: The load, before its commit.
        etl: The ETL that was loaded.
        counts: What the load reports of its rows.
        keys_before: The dimensions that the load may have added members to.

    Raises:
        LoadError: The counts do not add up, members are not unique, or a check failed.

    """
    _check_members(load, etl, counts, keys_before)
    # Each source row must be counted once: inserted, updated, unchanged or rejected.
    if not counts.adds_up:
        message = (
            f"the rows do not add up: {counts}. Nothing was loaded; please report this as a fault"
            " of PypeLineETL."
        )
        raise LoadError(message)
    yield from run_declared_checks(load, etl)
    if not isinstance(etl, DimensionETL):
        gaps = missing_periods(load, etl)
        if gaps:
            yield events.EtlNoted(etl, gaps)


def run_declared_checks(load: Load, etl: ETL) -> Iterator[Event]:
    """Run the checks that an ETL declares. Yield a note for each failed one that only warns.

    Raises:
        LoadError: Other checks failed. The message names all of them.

    """
    errors = []
    for failure in run_checks(load, etl):
        if failure.severity == "warn":
            yield events.EtlNoted(etl, failure.text)
        else:
            errors.append(failure.text)
    if errors:
        raise LoadError("; ".join(errors))


def _check_members(load: Load, etl: ETL, counts: Counts, keys_before: KeysBefore) -> None:
    """Raise LoadError if a dimension that the load has added to has wrong members.

    A member or a surrogate key may occur only once, and versions may not overlap.
    """
    if isinstance(etl, DimensionETL):
        _check_loaded_dimension(load, etl, counts, keys_before[etl])
    # A fact adds members only if it infers them.
    elif counts.inferred:
        for dimension, largest_key in keys_before.items():
            check_unique(load, dimension, largest_key)


def _check_loaded_dimension(
    load: Load, etl: DimensionETL, counts: Counts, largest_key: int | None
) -> None:
    # The engine's own code cannot write a new member with one version wrong. The user's own class
    # can.
    is_row_by_row = why_row_by_row(load.project, etl) is not None
    if counts.closed or (counts.inserted and (counts.versions or is_row_by_row)):
        # A version that a deletion has ended may have any surrogate key, so all are checked then.
        check_dimension(load, etl, 0 if counts.closed else largest_key or 0)
    # Without a new row, no key and no member can occur twice that did not before.
    if not counts.inserted:
        return
    if etl.factory.versioning:
        check_texts(load, etl, largest_key or 0)
    # A bulk load into an empty table has just made each natural key unique in DuckDB. Only the
    # warehouse's collation may still see two of them as equal.
    is_proved = largest_key == 0 and not (is_row_by_row or counts.versions or load.previous_keys)
    check_unique(load, etl, largest_key, added=counts.inserted, is_proved=is_proved)
