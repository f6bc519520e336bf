"""Prepare a fact's rows for pygrametl: add their foreign keys, and merge the rows of one fact."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pypelineetl.declare.etls import FactETL
from pypelineetl.duck.rows import Row as Values
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts, Outcome
from pypelineetl.load.context import Load
from pypelineetl.load.contradictions import merged, undecided_message
from pypelineetl.load.facts.periodic_snapshot import replace_period
from pypelineetl.load.rowwise.batches import Batches, Put, Row
from pypelineetl.load.rowwise.fact_keys import BatchKeys
from pypelineetl.load.rowwise.row_keys import SeenKeys
from pypelineetl.sql.schema import Column


class FactBatches(Batches):
    """A fact's rows, with the foreign keys and lags that are looked up for them."""

    def __init__(
        self,
        session: DuckSession,
        etl: FactETL,
        columns: Mapping[str, Column],
        keys: BatchKeys,
        load: Load,
    ) -> None:
        super().__init__(session, etl, columns)
        self.keys = keys
        """The lookup of the foreign keys."""
        self._fact = etl
        self._load = load
        self._periods: set[Any] = set()
        # The foreign keys, lags and flags of the row that is being put.
        self._found: Row = {}
        flag = etl.deleted.flag if etl.deleted else None
        self._flags: Row = {flag: columns[flag].cast(0)} if flag else {}

    def _rows(
        self, names: Sequence[str], batch: list[Values]
    ) -> Iterator[tuple[Row, Row | LoadError]]:
        # The keys are found in the rows as given, before the cast: a row may give a natural key in
        # a column that has the name of a foreign key.
        found = self.keys.find(names, batch)
        for (given, row), (reason, keys) in zip(super()._rows(names, batch), found, strict=True):
            columns = keys | self._flags
            self._found = columns
            if self._fact.period:
                self._replace_period(self._fact.period, given | columns)
            if reason:
                yield given, LoadError(reason)
            elif isinstance(row, LoadError):
                yield given, row
            else:
                yield given, row | columns

    def _replace_period(self, period: str, row: Row) -> None:
        """Delete the facts of a row's period if it is the first row of that period.

        A row that is rejected belongs to its period too.
        """
        with suppress(LoadError):
            value = self._columns[period].cast(row[period])
            if value not in self._periods:
                self._periods.add(value)
                replace_period(self._load, self._fact, None if value is None else str(value))

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        if isinstance(row, LoadError) and self.keys.has_unmatched and not self._etl.most_rejected:
            # The load will fail at its end, with a message about all unmatched keys.
            return "unchanged"
        return super()._put(given, row, put)


class CollectedFacts(FactBatches):
    """Facts with a row key. All rows are collected first, because a fact may have several rows."""

    def __init__(
        self,
        session: DuckSession,
        etl: FactETL,
        columns: Mapping[str, Column],
        keys: BatchKeys,
        load: Load,
    ) -> None:
        super().__init__(session, etl, columns, keys, load)
        self._row_key = etl.row_key
        self._facts: dict[tuple[Any, ...], list[tuple[Row, Row]]] = {}
        self._rejected = Counter[tuple[Any, ...]]()
        self._seen = SeenKeys(load, session, etl, columns)
        self.accepted: list[tuple[Any, ...]] = []
        """The row keys of the facts that were loaded."""

    def write(self, counts: Counts, put: Put) -> Counts:
        """Put one row of each fact into the table, and return the counts.

        Args:
            counts: The counts of the rows that were read.
            put: Puts one row.

        Raises:
            LoadError: Rows of one fact contradict, and the ETL allows no rejected rows.

        """
        self._seen.flush()
        outcomes, rejected = Counter[str](), 0
        for values, rows in self._facts.items():
            row, differing = merged(self._fact, [cast for _, cast in rows])
            rejected_before = self._rejected[values]
            if not (differing or rejected_before):
                outcomes[put(row)] += 1
                self.accepted.append(values)
                continue
            # The message counts the rows that were rejected for another reason too.
            times = len(rows) + rejected_before
            if not self._etl.most_rejected:
                raise LoadError(undecided_message(self._row_key, times, differing, values))
            rejected += len(rows)
            for given, _ in rows:
                self._reject(given, undecided_message(self._row_key, times, differing))
        inserted, updated = outcomes["inserted"], outcomes["updated"]
        rejected += counts.rejected
        return replace(
            counts,
            inserted=inserted,
            updated=updated,
            unchanged=counts.read - rejected - inserted - updated,
            rejected=rejected,
        )

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        # A fact whose row is rejected is in the source too, so it is not deleted.
        self._seen.record(given)
        outcome = super()._put(given, row, put)
        if outcome == "rejected":
            with suppress(LoadError):
                self._rejected[self._row_key_of(given)] += 1
        elif not isinstance(row, LoadError):
            row_key = tuple(row[name] for name in self._row_key)
            self._facts.setdefault(row_key, []).append((given, row))
        return outcome

    def _row_key_of(self, given: Row) -> tuple[Any, ...]:
        """Return the row key of a rejected row. Raise LoadError if it cannot be cast."""
        row = given | self._found
        return tuple(self._columns[name].cast(row[name]) for name in self._row_key)
