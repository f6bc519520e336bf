"""Loading row by row, through pygrametl's own objects.

Foreign keys are found at the bench even so, for one batch of rows after the other.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, time
from typing import Any

import pyarrow as pa
from pygrametl.tables import AccumulatingSnapshotFactTable, SlowlyChangingDimension

from pypelineetl.columns import Column
from pypelineetl.conversion import held_as
from pypelineetl.databases.base import Row as Values
from pypelineetl.databases.base import Stream
from pypelineetl.declare import ETL, DimensionETL, FactETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts, Outcome
from pypelineetl.keys import MISSES, KeySets, NaturalKey
from pypelineetl.load.attributes import RowAttributes
from pypelineetl.load.deletions import SEEN
from pypelineetl.load.facts import key_sets, replace_period
from pypelineetl.load.grain import GrainedFacts
from pypelineetl.load.inferring import inferring
from pypelineetl.load.loading import Load, Progress, dated, null_message
from pypelineetl.load.rejects import reject_given
from pypelineetl.load.remembering import RowKeys
from pypelineetl.load.splicing import Splices, splice
from pypelineetl.load.tables import ensuring, pygrametl_table
from pypelineetl.load.target import Target
from pypelineetl.load.versions import versioning_of
from pypelineetl.load.ways import read_column
from pypelineetl.typed import arrow_type, as_json, lenient_arrays
from pypelineetl.values import moment
from pypelineetl.workbench import Workbench

Row = dict[str, Any]
Put = Callable[[Row], Outcome]

_BATCH = "pypelineetl_keyed"


def load_dimension(load: Load, bench: Workbench, etl: DimensionETL, rows: Stream) -> Progress:
    """Ensure that every source row is a member of the dimension, by its natural key.

    Raises LoadError for a value that does not fit its column, and for a natural key with a NULL in it, if no rows may
    be rejected.
    """
    columns = load.project.columns(etl)
    target = Target(load.warehouse, columns)
    seen, retroactive = Seen(bench, etl, columns), Retroactive(load, etl, columns)
    with pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now) as table:
        attributes = RowAttributes(load, etl, columns, target)
        keys = RowKeys(load, etl) if load.remembered and not etl.factory.versioning else None
        watched = Watched(target, ensuring(table))

        def put(row: Row) -> Outcome:
            seen.note(row)
            if keys:
                keys.give(row)
            return attributes.put(row, watched.put) if not retroactive.keep(row) else "unchanged"

        checked = _without_null(etl.factory.natural_key, put)
        counts = yield from _Batches(bench, etl, columns).put(retroactive.in_order(rows), checked)
    seen.flush()
    spliced = splice(load, etl, versioning_of(etl), retroactive.splices)
    return replace(
        counts,
        inserted=counts.inserted + spliced.inserted,
        updated=counts.updated + spliced.updated,
        unchanged=counts.unchanged - spliced.inserted - spliced.updated,
        versions=watched.versions + spliced.inserted,
    )


def load_fact(load: Load, bench: Workbench, etl: FactETL, rows: Stream) -> Progress:
    """Find the foreign keys of every source row and put it into the fact table.

    Raises LoadError for a value that does not fit its column, for rows whose dimension members are to be rejected, and
    for a grain with a NULL in it, if no rows may be rejected.
    """
    columns = load.project.columns(etl)
    target = Target(load.warehouse, columns)
    with ExitStack() as open_tables:
        batches = _FactBatches(bench, etl, columns, BatchKeys(load, bench, etl, open_tables))
        table = open_tables.enter_context(pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now))
        counts = yield from batches.put(rows, _fact_writer(table, etl, load, target))
    return batches.keys.told(counts)


def replaces(etl: FactETL) -> bool:
    """Whether a load replaces the fact table's rows, which nothing tells apart."""
    return not (etl.grain or etl.append or etl.period) and not issubclass(
        etl.factory.table_class, AccumulatingSnapshotFactTable
    )


class _Batches:
    """Source rows put one after the other, batch by batch, as rows of the table's own types."""

    def __init__(self, bench: Workbench, etl: ETL, columns: Mapping[str, Column]) -> None:
        self._bench = bench
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

    def _rows(self, names: Sequence[str], batch: list[Values]) -> Iterator[tuple[Row, Row | LoadError]]:
        """Yield each row as it was given, and in the types of its columns or the reason why it cannot be."""
        for values in batch:
            given = dict(zip(names, values, strict=True))
            yield given, self._converted(given)

    def _converted(self, given: Row) -> Row | LoadError:
        try:
            return {
                name: self._columns[name].convert(value) if name in self._columns else value
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
            reject_given(self._bench, error.message, as_json({name: given[name] for name in self._etl.needs}))
            return "rejected"


class _FactBatches(_Batches):
    """A fact's rows, with the foreign keys and lags that are found for them."""

    def __init__(self, bench: Workbench, etl: FactETL, columns: Mapping[str, Column], keys: "BatchKeys") -> None:
        super().__init__(bench, etl, columns)
        self.keys = keys

    def _rows(self, names: Sequence[str], batch: list[Values]) -> Iterator[tuple[Row, Row | LoadError]]:
        found = self.keys.find(names, batch)
        for (given, row), (reason, columns) in zip(super()._rows(names, batch), found, strict=True):
            # A row may take a key's name for a natural key of its own, so all keys are found before any is written.
            yield given, LoadError(reason) if reason else row if isinstance(row, LoadError) else row | columns

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        if isinstance(row, LoadError) and self.keys.has_misses and not self._etl.most_rejected:
            # Rows without a member are counted to the end, so that the error can tell of all of them.
            return "unchanged"
        return super()._put(given, row, put)


class BatchKeys:
    """The foreign keys and lags of a fact's rows, found at the bench for one batch after the other."""

    def __init__(self, load: Load, bench: Workbench, etl: FactETL, open_tables: ExitStack) -> None:
        self.has_misses = False
        self._load = load
        self._bench = bench
        self._etl = etl
        self._open_tables = open_tables
        self._keys: KeySets = key_sets(load, bench, etl)
        self._wants = self._keys.wants()
        self._found = self._keys.columns("NULL")
        self._sums = Counter[str]()
        bench.declare(
            _BATCH,
            {"ord": "BIGINT"}
            | {want.name: want.held for want in self._wants}
            | {"unfit": "VARCHAR", "given": "VARCHAR"},
        )

    def find(self, names: Sequence[str], batch: list[Values]) -> Iterator[tuple[str | None, Row]]:
        """Yield for each row why it must be rejected, if so, and the columns that were found for it."""
        if not (self._etl.keys or self._etl.lags):
            yield from ((None, {}) for _ in batch)
            return
        self._fill(names, batch)
        self._keys.infer(_BATCH, self._infer)
        if not self._etl.most_rejected:
            self._note_misses()
        outcomes = self._keys.outcomes()
        selected = ", ".join([f"coalesce(s.unfit, {self._keys.reason()})", *outcomes.values(), *self._found.values()])
        for reason, *found in self._bench.rows(
            f"SELECT {selected} FROM {_BATCH} AS s {self._keys.joins()} ORDER BY s.ord"
        ):
            self._sums.update(dict(zip(outcomes, found, strict=False)))
            yield reason, dict(zip(self._found, found[len(outcomes) :], strict=True))

    def told(self, counts: Counts) -> Counts:
        """Return the counts with those of the keys. Raises LoadError for natural keys that no member has."""
        if self.has_misses:
            raise LoadError("; ".join(self._keys.misses()))
        return replace(counts, **self._sums)

    def _fill(self, names: Sequence[str], batch: list[Values]) -> None:
        columns = dict(zip(names, zip(*batch, strict=True), strict=True))
        arrays = [pa.array(range(len(batch)), pa.int64()), *lenient_arrays(columns, self._wants)]
        self._bench.run(f"DELETE FROM {_BATCH}")
        self._bench.insert(
            _BATCH, pa.table(arrays, names=["ord", *(want.name for want in self._wants), "unfit", "given"])
        )
        if not self._etl.most_rejected:
            unfit = self._bench.rows(f"SELECT unfit FROM {_BATCH} WHERE unfit IS NOT NULL ORDER BY ord LIMIT 1")
            if unfit:
                raise LoadError(unfit[0][0])

    def _note_misses(self) -> None:
        query = self._keys.missed(f"SELECT * FROM {_BATCH}") if self._etl.keys else ""
        if query and self._bench.number(f"SELECT count(*) FROM ({query})"):
            if self.has_misses:
                self._bench.run(f"INSERT INTO {MISSES} {query}")
            else:
                self._bench.keep(MISSES, query)
            self.has_misses = True

    def _infer(self, dimension: DimensionETL, missing: Sequence[NaturalKey]) -> list[Any]:
        self._sums["inferred"] += len(missing)
        infer = inferring(self._load, dimension, self._open_tables)
        return [infer(natural_key) for natural_key in missing]


class Seen:
    """The natural keys of a dimension's rows, noted at the bench if members that have no row are to be found."""

    _ROWS = 10_000

    def __init__(self, bench: Workbench, etl: DimensionETL, columns: Mapping[str, Column]) -> None:
        self._bench = bench
        self._is_wanted = etl.deleted is not None
        self._names = etl.factory.natural_key
        self._held = {f"a{etl.factory.columns.index(name)}": held_as(columns[name]) for name in self._names}
        self._waiting: list[tuple[Any, ...]] = []
        if self._is_wanted:
            bench.declare(SEEN, self._held)

    def note(self, row: Row) -> None:
        """Note a row's natural key."""
        if self._is_wanted:
            self._waiting.append(tuple(row[name] for name in self._names))
            if len(self._waiting) >= self._ROWS:
                self.flush()

    def flush(self) -> None:
        """Put what was noted to the bench."""
        if self._waiting:
            kinds = map(arrow_type, self._held.values())
            arrays = [pa.array(part, kind) for part, kind in zip(zip(*self._waiting, strict=True), kinds, strict=True)]
            self._bench.insert(SEEN, pa.table(arrays, names=list(self._held)))
            self._waiting = []


class Retroactive:
    """The rows of a type-2 dimension whose changes are dated before its member's latest version."""

    def __init__(self, load: Load, etl: DimensionETL, columns: Mapping[str, Column]) -> None:
        factory = etl.factory
        self._dated = read_column(factory.arguments.get("fromfinder")) or factory.name("srcdateatt")
        since = factory.name("fromatt")
        is_versioned = issubclass(factory.table_class, SlowlyChangingDimension)
        self._since = columns[since] if since and self._dated and is_versioned else None
        self._now = load.now
        self._natural_key = factory.natural_key
        self._names = tuple(name for name in factory.names("attributes") if name not in factory.versioning)
        self._flags = {name: columns[name].convert(0) for name in etl.flags} | dict.fromkeys(etl.previous)
        self._current = etl.current
        self._rows: list[tuple[Any, ...]] = []
        self._latest: dict[tuple[Any, ...], Any] = {}
        if self._since:
            self._latest = self._read(load, etl, columns)

    @property
    def splices(self) -> Splices:
        """The rows, in the order of their dates."""
        return Splices(self._names, sorted(self._rows, key=lambda row: row[-1]))

    def in_order(self, rows: Stream) -> Stream:
        """Return the rows in the order of their dates; all are held for that."""
        if not self._since:
            return rows
        at = rows.columns.index(str(self._dated)) if rows.columns else 0
        gathered = [row for batch in rows.batches for row in batch]
        dates = [moment_or_day(self._now if row[at] is None else row[at]) for row in gathered]
        order = sorted(range(len(gathered)), key=lambda number: dates[number])
        by_member = [gathered[number] for number in order] if order != list(range(len(gathered))) else gathered
        return Stream(rows.columns, iter([by_member] if by_member else []))

    def keep(self, row: Row) -> bool:
        """Whether a row changes the past; it is kept if it does."""
        if not self._since or row[str(self._dated)] is None:
            return False
        date = dated(self._since, row[str(self._dated)])
        latest = self._latest.get(tuple(row[name] for name in self._natural_key))
        if latest is None or date is None or date >= latest:
            return False
        given = row | self._flags | {name: row[base] for name, base in self._current.items()}
        self._rows.append((*(given[name] for name in self._names), date))
        return True

    def _read(self, load: Load, etl: DimensionETL, columns: Mapping[str, Column]) -> dict[tuple[Any, ...], Any]:
        warehouse, factory = load.warehouse, etl.factory
        names = [*factory.natural_key, str(factory.name("fromatt"))]
        by = warehouse.quoted(factory.natural_key)
        query = f"SELECT {by}, MAX({warehouse.quote(names[-1])}) FROM {warehouse.quote(etl.table)} GROUP BY {by}"
        found = (
            [columns[name].convert(value) for name, value in zip(names, row, strict=True)]
            for row in warehouse.query(query)
        )
        return {tuple(natural_key): latest for *natural_key, latest in found}


def moment_or_day(value: Any) -> datetime:
    """Return what a row's date sorts by."""
    found = moment(value)
    return found if isinstance(found, datetime) else datetime.combine(found, time())


class Watched:
    """What pygrametl does with each row, told from the statements it sends."""

    def __init__(self, target: Target, ensure: Callable[[Row], object]) -> None:
        self.versions = 0
        self._target = target
        self._ensure = ensure

    def put(self, row: Row) -> Outcome:
        """Put a row and tell what became of it."""
        inserts, updates = self._target.inserts, self._target.updates
        self._ensure(row)
        if self._target.inserts > inserts:
            # A new version of a type-2 member is an INSERT and an UPDATE, and counts as inserted.
            self.versions += self._target.updates > updates
            return "inserted"
        return "updated" if self._target.updates > updates else "unchanged"


def _without_null(names: tuple[str, ...], put: Put) -> Put:
    def checked(row: Row) -> Outcome:
        if missing := [name for name in names if row[name] is None]:
            raise LoadError(null_message(missing))
        return put(row)

    return checked


def _fact_writer(table: Any, etl: FactETL, load: Load, target: Target) -> Put:
    if isinstance(table, AccumulatingSnapshotFactTable):
        return _without_null(tuple(table.keyrefs), Watched(target, table.ensure).put)
    if etl.grain:
        return _without_null(etl.grain, GrainedFacts(table, etl, load.warehouse, target).ensure)
    periods: set[Any] = set()

    def insert(row: Row) -> Outcome:
        if etl.period and row[etl.period] not in periods:
            periods.add(row[etl.period])
            replace_period(load.warehouse, etl, str(row[etl.period]))
        table.insert(row)
        return "inserted"

    return insert
