"""Put source rows into a table one by one: cast each to the types of the columns, or reject it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pypelineetl.declare.etls import ETL
from pypelineetl.duck.rows import Row as Values
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts, Outcome
from pypelineetl.load.context import Progress, null_message
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.rejects import reject_row
from pypelineetl.sql.schema import Column

Row = dict[str, Any]
"""A row by column."""
Put = Callable[[Row], Outcome]
"""Puts a row into the table, and returns whether it was inserted, updated or neither."""


class Batches:
    """Source rows that are put into a table one by one, batch by batch."""

    def __init__(self, session: DuckSession, etl: ETL, columns: Mapping[str, Column]) -> None:
        self._session = session
        self._etl = etl
        self._columns = columns

    def put(self, rows: Stream, put: Put) -> Progress:
        """Put each row into the table, and count the outcomes.

        Raises:
            LoadError: A row cannot be cast or put, and the ETL allows no rejected rows.

        """
        read, outcomes = 0, Counter[str]()
        for batch in rows.batches:
            for given, row in self._rows(rows.columns, batch):
                outcomes[self._put(given, row, put)] += 1
            read += len(batch)
            yield read
        return Counts(read=read, **outcomes)

    def _rows(
        self, names: Sequence[str], batch: list[Values]
    ) -> Iterator[tuple[Row, Row | LoadError]]:
        """Yield each row as it was given, and cast; or the error instead of the cast row."""
        for values in batch:
            given = dict(zip(names, values, strict=True))
            yield given, self._cast(given)

    def _cast(self, given: Row) -> Row | LoadError:
        row = {}
        try:
            for name, value in given.items():
                # A source may give more columns than the table has. They stay as they are.
                column = self._columns.get(name)
                row[name] = column.cast(value) if column else value
        except LoadError as error:
            return error
        return row

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        try:
            if isinstance(row, LoadError):
                raise row
            return put(row)
        except LoadError as error:
            if not self._etl.most_rejected:
                raise
            self._reject(given, error.message)
            return "rejected"

    def _reject(self, given: Row, reason: str) -> None:
        reject_row(self._session, self._etl, reason, given)


class CountingWriter:
    """Puts rows through a pygrametl object. Its statements show what it did with each row."""

    def __init__(self, target: TargetConnection, ensure: Callable[[Row], object]) -> None:
        self.versions = 0
        """How many rows became a new version of a member that the table had."""
        self._target = target
        self._ensure = ensure

    def put(self, row: Row) -> Outcome:
        """Put a row, and return whether it was inserted, updated or neither."""
        inserts, updates = self._target.inserts, self._target.updates
        self._ensure(row)
        is_updated = self._target.updates > updates
        if self._target.inserts > inserts:
            # A new version is an INSERT, and an UPDATE of the version before. It counts as
            # inserted.
            self.versions += is_updated
            return "inserted"
        return "updated" if is_updated else "unchanged"


def refuse_null(names: tuple[str, ...], put: Put) -> Put:
    """Return a `put` that raises LoadError for a row with NULL in one of these columns."""

    def checked(row: Row) -> Outcome:
        missing = [name for name in names if row[name] is None]
        if missing:
            raise LoadError(null_message(missing))
        return put(row)

    return checked
