"""Load dimensions row by row, through their pygrametl object."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.source_rows import undecided_message
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.pygrametl.table import ensuring, pygrametl_table
from pypelineetl.load.rejects import reject_row
from pypelineetl.load.rowwise.attributes import PreviousKeys, RowAttributes, SeenKeys
from pypelineetl.load.rowwise.batches import Batches, CountingWriter, Put, Row, refuse_null
from pypelineetl.load.rowwise.histories import RowHistories
from pypelineetl.load.rowwise.version_table import VersionTable
from pypelineetl.load.strategy import why_own_code
from pypelineetl.sql.python_casts import source_moment
from pypelineetl.sql.schema import Column

_Members = dict[tuple[Any, ...], list[Row]]
"""The rows of each member in their order, by natural key."""


def load_dimension(load: Load, session: DuckSession, etl: DimensionETL, rows: Stream) -> Progress:
    """Ensure that every source row is a member of the dimension, found by its natural key.

    Raises:
        LoadError: A value cannot be cast, a natural key has a NULL in it, or nothing puts the rows
            of one member in an order, and the ETL allows no rejected rows.

    """
    columns = load.project.columns(etl)
    target, seen = TargetConnection(load, etl), SeenKeys(load, session, etl, columns)
    collected: list[Row] = []

    def collect(row: Row) -> Outcome:
        collected.append(row)
        return "unchanged"

    batches = DimensionBatches(session, etl, columns, seen)
    counts = yield from batches.put(rows, refuse_null(etl.factory.natural_key, collect))
    seen.flush()
    with pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now) as table:
        histories = None
        if etl.scd_type == "type 2":
            versions = VersionTable(load, etl, target, table)
            histories = RowHistories(load, session, etl, versions)
        members, rejected = _members(session, etl, collected, histories)
        if load.waiting:
            load.waiting.accept_keys(members)
        writer = CountingWriter(target, ensuring(table))
        attributes = RowAttributes(load, etl, columns, target)
        outcomes = _write(load, etl, members, attributes, writer, histories)
    if histories:
        histories.write_events()
    return replace(
        counts,
        inserted=outcomes["inserted"],
        updated=outcomes["updated"],
        unchanged=counts.unchanged - outcomes["inserted"] - outcomes["updated"] - rejected,
        rejected=counts.rejected + rejected,
        versions=writer.versions + (histories.versions if histories else 0),
    )


class DimensionBatches(Batches):
    """A dimension's rows. Their natural keys are recorded, also of rows that are rejected."""

    def __init__(
        self, session: DuckSession, etl: DimensionETL, columns: Mapping[str, Column], seen: SeenKeys
    ) -> None:
        super().__init__(session, etl, columns)
        self._seen = seen
        # The source column with the effective date. The table has no column of its name.
        self._dated = etl.factory.read_by("fromfinder") or etl.factory.name("srcdateatt")

    def _cast(self, given: Row) -> Row | LoadError:
        row = super()._cast(given)
        if self._dated and not isinstance(row, LoadError) and row[self._dated] is not None:
            try:
                source_moment(self._dated, row[self._dated])
            except LoadError as error:
                return error
        return row

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        self._seen.record(given if isinstance(row, LoadError) else row)
        return super()._put(given, row, put)


def _write(  # noqa: PLR0913, PLR0917 - the members, and all that decides what becomes of a row
    load: Load,
    etl: DimensionETL,
    members: _Members,
    attributes: RowAttributes,
    writer: CountingWriter,
    histories: RowHistories | None,
) -> Counter[str]:
    """Write the rows of all members, and return the number of each outcome."""
    keys = PreviousKeys(load, etl) if load.previous_keys and not etl.factory.versioning else None
    outcomes = Counter[str]()
    for natural_key, member_rows in members.items():
        rows = [attributes.completed(row) for row in member_rows]
        if histories and not histories.is_next(natural_key, rows):
            # pygrametl can only add a member's next version. All other changes rewrite its history.
            outcomes.update(histories.rewrite(natural_key, rows))
            continue
        for row in rows:
            if keys:
                keys.assign(row)
            outcome = attributes.put(row, writer.put)
            outcomes[outcome] += 1
            if histories:
                histories.note_next(natural_key, row, outcome)
    return outcomes


def _members(
    session: DuckSession, etl: DimensionETL, rows: Sequence[Row], histories: RowHistories | None
) -> tuple[_Members, int]:
    """Return the rows of each member in their order, and how many rows are rejected.

    Equal rows are one row. Rows that nothing puts in an order are rejected.

    Raises:
        LoadError: There are such rows, and the ETL allows no rejected rows.

    """
    members: _Members = {}
    read = _columns_read(etl)
    for row in rows:
        natural_key = tuple(row[name] for name in etl.factory.natural_key)
        member_rows = members.setdefault(natural_key, [])
        if not any(_is_same(row, other, read) for other in member_rows):
            member_rows.append(row)
    rejected = 0
    for natural_key, member_rows in list(members.items()):
        if len(member_rows) == 1:
            continue
        decided = _reject_undecided(session, etl, natural_key, member_rows, histories)
        rejected += len(member_rows) - len(decided)
        members[natural_key] = decided
        if not decided:
            del members[natural_key]
    return members, rejected


def _reject_undecided(
    session: DuckSession,
    etl: DimensionETL,
    natural_key: tuple[Any, ...],
    rows: Sequence[Row],
    histories: RowHistories | None,
) -> list[Row]:
    """Reject the rows of a member that no other value puts in an order; return the others."""
    orders = [histories.order_of(row) if histories else () for row in rows]
    times = Counter(orders)
    decided, undecided = [], []
    for row, order in zip(rows, orders, strict=True):
        if times[order] == 1:
            decided.append((order, row))
        else:
            undecided.append(row)
    if undecided:
        differing = []
        for name in etl.needs:
            if any(row[name] != undecided[0][name] for row in undecided):
                differing.append(name)  # noqa: PERF401 - two conditions in one comprehension
        message = undecided_message(etl.factory.natural_key, natural_key, differing)
        if not etl.most_rejected:
            raise LoadError(message)
        for row in undecided:
            reject_row(session, etl, message, row)
    decided.sort(key=_sort_key)
    return [row for _, row in decided]


def _sort_key(ordered: tuple[tuple[Any, ...], Row]) -> tuple[Any, ...]:
    """Return what sorts the rows of a member. Rows without a date come first."""
    order, _ = ordered
    return tuple((value is not None, value) for value in order)


def _columns_read(etl: DimensionETL) -> tuple[str, ...]:
    """Return the source columns that a dimension reads.

    Empty if the user's own Python may read any column.
    """
    if why_own_code(etl):
        return ()
    # A source may give the surrogate key and the versions itself.
    return (str(etl.factory.name("key")), *etl.needs, *etl.factory.versioning)


def _is_same(row: Row, other: Row, read: Sequence[str]) -> bool:
    if not read:
        return row == other
    return all(row.get(name) == other.get(name) for name in read)
