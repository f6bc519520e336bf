"""Prepare a dimension's rows for pygrametl: cast them, and put the rows of each member in order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Outcome
from pypelineetl.load.dimensions.source_rows import undecided_message
from pypelineetl.load.rejects import reject_row
from pypelineetl.load.rowwise.batches import Batches, Put, Row
from pypelineetl.load.rowwise.histories import RowHistories
from pypelineetl.load.rowwise.row_keys import SeenKeys
from pypelineetl.load.strategy import why_own_code
from pypelineetl.sql.python_casts import source_moment
from pypelineetl.sql.schema import Column

Members = dict[tuple[Any, ...], list[Row]]
"""The rows of each member in their order, by natural key."""


class DimensionBatches(Batches):
    """A dimension's rows. Their natural keys are recorded, even if a row is rejected."""

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


def order_members(
    session: DuckSession, etl: DimensionETL, rows: Sequence[Row], histories: RowHistories | None
) -> tuple[Members, int]:
    """Return the rows of each member in their order, and how many rows are rejected.

    Of equal rows the first one stays. Rows whose order is not known are rejected.

    Raises:
        LoadError: There are such rows, and the ETL allows no rejected rows.

    """
    members: Members = {}
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
    """Reject the rows of a member whose order is not known; return the others in order."""
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
    # pygrametl writes the rows of a member one after the other, so the oldest comes first.
    decided.sort(key=_sort_key)
    return [row for _, row in decided]


def _sort_key(ordered: tuple[tuple[Any, ...], Row]) -> tuple[Any, ...]:
    """Return the sort key of a row among those of its member. Rows without a date come first."""
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
