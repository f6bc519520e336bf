"""Source rows one after the other, batch by batch, for what is loaded row by row.

Converted, keyed, or rejected.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.duck.projection import arrays_with_errors
from pypelineetl.duck.rows import Row as Values
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts, Outcome
from pypelineetl.load.collations import infer_exactly
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.contradictions import merged, undecided_message
from pypelineetl.load.facts.inferred_members import inferring
from pypelineetl.load.facts.key_lookup import UNMATCHED, KeyLookups
from pypelineetl.load.facts.member_table import NaturalKey
from pypelineetl.load.facts.rows import key_lookups, replace_period
from pypelineetl.load.rejects import reject_row
from pypelineetl.load.rowwise.attributes import Seen
from pypelineetl.sql.schema import Column

Row = dict[str, Any]
Put = Callable[[Row], Outcome]

_BATCH = "pypelineetl_keyed"


class Batches:
    """Source rows put one after the other, batch by batch, as rows of the table's own types."""

    def __init__(self, session: DuckSession, etl: ETL, columns: Mapping[str, Column]) -> None:
        self._session = session
        self._etl = etl
        self._columns = columns

    def put(self, rows: Stream, put: Put) -> Progress:
        """Put each row and count what became of it."""
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
        """Yield each row as it was given, and in the types of its columns or the reason why it
        cannot be.
        """
        for values in batch:
            given = dict(zip(names, values, strict=True))
            yield given, self._converted(given)

    def _converted(self, given: Row) -> Row | LoadError:
        try:
            return {
                name: self._columns[name].cast(value) if name in self._columns else value
                for name, value in given.items()
            }
        except LoadError as error:
            return error

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


class FactBatches(Batches):
    """A fact's rows, with the foreign keys and lags that are found for them."""

    def __init__(
        self,
        session: DuckSession,
        etl: FactETL,
        columns: Mapping[str, Column],
        keys: "BatchKeys",
        load: Load,
    ) -> None:
        super().__init__(session, etl, columns)
        self.keys = keys
        self._fact = etl
        self._load = load
        self._periods: set[Any] = set()
        self._keyed: Row = {}
        """The columns that were found for the row that is being put."""
        flag = etl.deleted.flag if etl.deleted else None
        self._flags: Row = {flag: columns[flag].cast(0)} if flag else {}

    def _rows(
        self, names: Sequence[str], batch: list[Values]
    ) -> Iterator[tuple[Row, Row | LoadError]]:
        found = self.keys.find(names, batch)
        for (given, row), (reason, keyed) in zip(super()._rows(names, batch), found, strict=True):
            columns = keyed | self._flags
            self._keyed = columns
            if self._fact.period:
                self._replace_period(self._fact.period, given | columns)
            # A row may take a key's name for a natural key of its own, so all keys are found before
            # any is written.
            yield (
                given,
                (
                    LoadError(reason)
                    if reason
                    else row
                    if isinstance(row, LoadError)
                    else row | columns
                ),
            )

    def _replace_period(self, period: str, row: Row) -> None:
        """Delete the facts of a row's period if it is the first row of it.

        A rejected row is in its period too.
        """
        with suppress(LoadError):
            value = self._columns[period].cast(row[period])
            if value not in self._periods:
                self._periods.add(value)
                replace_period(self._load, self._fact, None if value is None else str(value))

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        if isinstance(row, LoadError) and self.keys.has_misses and not self._etl.most_rejected:
            # Rows without a member are counted to the end, so that the error can tell of all of
            # them.
            return "unchanged"
        return super()._put(given, row, put)


class GatheredFacts(FactBatches):
    """Facts that are told apart by some columns.

    All rows are gathered, since several may be of one fact.
    """

    def __init__(
        self,
        session: DuckSession,
        etl: FactETL,
        columns: Mapping[str, Column],
        keys: "BatchKeys",
        load: Load,
    ) -> None:
        super().__init__(session, etl, columns, keys, load)
        self._by = etl.row_key
        self._found: dict[tuple[Any, ...], list[tuple[Row, Row]]] = {}
        self._rejected = Counter[tuple[Any, ...]]()
        self._seen = Seen(load, session, etl, columns)
        self.accepted: list[tuple[Any, ...]] = []
        """The facts that are loaded, by the columns that tell them apart."""

    def settled(self, counts: Counts, put: Put) -> Counts:
        """Put one row of each fact, and return the counts.

        Rows of one fact that contradict are rejected.
        """
        self._seen.flush()
        outcomes, rejected = Counter[str](), 0
        for values, found in self._found.items():
            row, differing = merged(self._fact, [each for _, each in found])
            rejected_before = self._rejected[values]
            if not (differing or rejected_before):
                outcomes[put(row)] += 1
                self.accepted.append(values)
                continue
            times = len(found) + rejected_before
            if not self._etl.most_rejected:
                raise LoadError(undecided_message(self._by, times, differing, values))
            rejected += len(found)
            for given, _ in found:
                self._reject(given, undecided_message(self._by, times, differing))
        inserted, updated = outcomes["inserted"], outcomes["updated"]
        unchanged = counts.read - counts.rejected - rejected - inserted - updated
        return replace(
            counts,
            inserted=inserted,
            updated=updated,
            unchanged=unchanged,
            rejected=counts.rejected + rejected,
        )

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        self._seen.note(given)
        outcome = super()._put(given, row, put)
        if outcome == "rejected":
            with suppress(LoadError):
                self._rejected[self._fact_of(given)] += 1
        elif not isinstance(row, LoadError):
            self._found.setdefault(tuple(row[name] for name in self._by), []).append((given, row))
        return outcome

    def _fact_of(self, given: Row) -> tuple[Any, ...]:
        """Return which fact a rejected row is of.

        Raises LoadError if one of the values does not fit.
        """
        row = given | self._keyed
        return tuple(self._columns[name].cast(row[name]) for name in self._by)


class BatchKeys:
    """The foreign keys and lags of a fact's rows, found at the bench for one batch after the
    other.
    """

    def __init__(
        self, load: Load, session: DuckSession, etl: FactETL, open_tables: ExitStack
    ) -> None:
        self.has_misses = False
        self._load = load
        self._session = session
        self._etl = etl
        self._open_tables = open_tables
        self._keys: KeyLookups = key_lookups(load, session, etl)
        self._requested = self._keys.requested()
        self._found = self._keys.expressions("NULL")
        self._sums = Counter[str]()
        session.declare(
            _BATCH,
            {"ord": "BIGINT"}
            | {request.name: request.duckdb_type for request in self._requested}
            | {"cast_error": "VARCHAR", "given": "VARCHAR"},
        )

    def find(self, names: Sequence[str], batch: list[Values]) -> Iterator[tuple[str | None, Row]]:
        """Yield for each row why it must be rejected, if so, and the columns that were found for
        it.
        """
        if not (self._etl.keys or self._etl.lags):
            yield from ((None, {}) for _ in batch)
            return
        self._fill(names, batch)
        self._keys.infer(_BATCH, self._infer)
        if not self._etl.most_rejected:
            self._note_misses()
        outcomes = self._keys.outcomes()
        selected = ", ".join(
            [
                f"coalesce(s.cast_error, {self._keys.reason()})",
                *outcomes.values(),
                *self._found.values(),
            ]
        )
        for reason, *found in self._session.rows(
            f"SELECT {selected} FROM {_BATCH} AS s {self._keys.joins()} ORDER BY s.ord"
        ):
            self._sums.update(dict(zip(outcomes, found, strict=False)))
            yield reason, dict(zip(self._found, found[len(outcomes) :], strict=True))

    def told(self, counts: Counts) -> Counts:
        """Return the counts with those of the keys.

        Raises LoadError for natural keys that no member has.
        """
        if self.has_misses:
            raise LoadError("; ".join(self._keys.unmatched_messages()))
        return replace(counts, **self._sums)

    def _fill(self, names: Sequence[str], batch: list[Values]) -> None:
        columns = dict(zip(names, zip(*batch, strict=True), strict=True))
        arrays = [
            pa.array(range(len(batch)), pa.int64()),
            *arrays_with_errors(columns, self._requested),
        ]
        self._session.run(f"DELETE FROM {_BATCH}")
        self._session.insert(
            _BATCH,
            pa.table(
                arrays,
                names=[
                    "ord",
                    *(request.name for request in self._requested),
                    "cast_error",
                    "given",
                ],
            ),
        )
        if not self._etl.most_rejected:
            cast_error = self._session.rows(
                f"SELECT cast_error FROM {_BATCH} WHERE cast_error IS NOT NULL ORDER BY ord LIMIT 1"
            )
            if cast_error:
                raise LoadError(cast_error[0][0])

    def _note_misses(self) -> None:
        query = self._keys.unmatched_rows(f"SELECT * FROM {_BATCH}") if self._etl.keys else ""
        if query and self._session.number(f"SELECT count(*) FROM ({query})"):
            if self.has_misses:
                self._session.run(f"INSERT INTO {UNMATCHED} {query}")
            else:
                self._session.keep(UNMATCHED, query)
            self.has_misses = True

    def _infer(self, dimension: DimensionETL, missing: Sequence[NaturalKey]) -> list[Any]:
        self._sums["inferred"] += len(missing)
        infer = inferring(self._load, dimension, self._open_tables)
        return infer_exactly(self._load, dimension, missing, infer)
