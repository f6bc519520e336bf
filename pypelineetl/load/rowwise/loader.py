"""Loading row by row, through pygrametl's own objects.

Foreign keys are found at the bench even so, for one batch of rows after the other.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from pypelineetl.declare.etls import DimensionETL, FactETL
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load, Progress, null_message
from pypelineetl.load.dimensions.source_rows import undecided_message
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.pygrametl.table import ensuring, pygrametl_table
from pypelineetl.load.rejects import reject_row
from pypelineetl.load.rowwise.attributes import RowAttributes, RowKeys, Seen
from pypelineetl.load.rowwise.batches import Batches, BatchKeys, FactBatches, GatheredFacts
from pypelineetl.load.rowwise.histories import RowHistories
from pypelineetl.load.rowwise.upsert import GrainedFacts
from pypelineetl.load.strategy import why_own_code
from pypelineetl.sql.python_casts import source_moment
from pypelineetl.sql.schema import Column

Row = dict[str, Any]
Put = Callable[[Row], Outcome]


def load_dimension(load: Load, session: DuckSession, etl: DimensionETL, rows: Stream) -> Progress:
    """Ensure that every source row is a member of the dimension, by its natural key.

    Raises LoadError for a value that does not fit its column, for a natural key with a NULL in it,
    and for rows of one member that nothing puts in an order, if no rows may be rejected.
    """
    columns, natural_key = load.project.columns(etl), etl.factory.natural_key
    target, seen = TargetConnection(load, etl), Seen(load, session, etl, columns)
    gathered: list[Row] = []
    batches = DimensionBatches(session, etl, columns, seen)

    def stage(row: Row) -> Outcome:
        gathered.append(row)
        return "unchanged"

    counts = yield from batches.put(rows, _without_null(natural_key, stage))
    seen.flush()
    with pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now) as table:
        histories = None
        if etl.scd_type == "type 2":
            histories = RowHistories(load, session, etl, columns, target, table)
        members, rejected = _members(session, etl, gathered, histories)
        if load.waiting:
            load.waiting.accept_keys(members)
        attributes = RowAttributes(load, etl, columns, target)
        keys = RowKeys(load, etl) if load.previous_keys and not etl.factory.versioning else None
        watched = Watched(target, ensuring(table))
        outcomes = Counter[str]()
        for member, member_rows in members.items():
            given = [attributes.completed(row) for row in member_rows]
            if histories and not histories.is_next(member, given):
                outcomes.update(histories.rewrite(member, given))
                continue
            for row in given:
                if keys:
                    keys.give(row)
                outcome = attributes.put(row, watched.put)
                outcomes[outcome] += 1
                if histories:
                    histories.note_next(member, row, outcome)
    if histories:
        histories.write_events()
    return replace(
        counts,
        inserted=outcomes["inserted"],
        updated=outcomes["updated"],
        unchanged=counts.unchanged - outcomes["inserted"] - outcomes["updated"] - rejected,
        rejected=counts.rejected + rejected,
        versions=watched.versions + (histories.versions if histories else 0),
    )


class DimensionBatches(Batches):
    """A dimension's rows, whose natural keys are noted also where the rows are rejected."""

    def __init__(
        self, session: DuckSession, etl: DimensionETL, columns: Mapping[str, Column], seen: Seen
    ) -> None:
        super().__init__(session, etl, columns)
        self._seen = seen
        self._dated = etl.factory.read_by("fromfinder") or etl.factory.name("srcdateatt")

    def _converted(self, given: Row) -> Row | LoadError:
        row = super()._converted(given)
        if self._dated and not isinstance(row, LoadError) and row[self._dated] is not None:
            try:
                source_moment(self._dated, row[self._dated])
            except LoadError as error:
                return error
        return row

    def _put(self, given: Row, row: Row | LoadError, put: Put) -> Outcome | str:
        self._seen.note(given if isinstance(row, LoadError) else row)
        return super()._put(given, row, put)


def _members(
    session: DuckSession, etl: DimensionETL, rows: Sequence[Row], histories: RowHistories | None
) -> tuple[dict[tuple[Any, ...], list[Row]], int]:
    """Return the rows of each member in their order, and how many rows are rejected.

    Rows that are equal are one row; rows that nothing puts in an order are rejected, or a
    LoadError.
    """
    members: dict[tuple[Any, ...], list[Row]] = {}
    read = _columns_read(etl)
    for row in rows:
        same = members.setdefault(tuple(row[name] for name in etl.factory.natural_key), [])
        if not any(_is_same(row, other, read) for other in same):
            same.append(row)
    rejected = 0
    for natural_key, found in list(members.items()):
        if len(found) == 1:
            continue
        orders = Counter(histories.order_of(row) if histories else () for row in found)
        decided = [
            row for row in found if orders[histories.order_of(row) if histories else ()] == 1
        ]
        undecided = [row for row in found if row not in decided]
        if undecided:
            differing = [
                name
                for name in etl.needs
                if any(row[name] != undecided[0][name] for row in undecided)
            ]
            message = undecided_message(etl.factory.natural_key, natural_key, differing)
            if not etl.most_rejected:
                raise LoadError(message)
            for row in undecided:
                reject_row(session, etl, message, row)
            rejected += len(undecided)
        members[natural_key] = sorted(decided, key=_sortable(histories))
        if not decided:
            del members[natural_key]
    return members, rejected


def _columns_read(etl: DimensionETL) -> tuple[str, ...]:
    """Return the columns of a source row that a dimension reads.

    Nothing if Python of the user's own may read any.
    """
    if why_own_code(etl):
        return ()
    # A source may give the surrogate key itself.
    return (str(etl.factory.name("key")), *etl.needs, *etl.factory.versioning)


def _is_same(row: Row, other: Row, read: Sequence[str]) -> bool:
    return all(row.get(name) == other.get(name) for name in read) if read else row == other


def _sortable(histories: RowHistories | None) -> Callable[[Row], tuple[Any, ...]]:
    """Return what sorts a member's rows; those without a date come first."""

    def order(row: Row) -> tuple[Any, ...]:
        values = histories.order_of(row) if histories else ()
        return tuple((value is not None, value) for value in values)

    return order


def load_fact(load: Load, session: DuckSession, etl: FactETL, rows: Stream) -> Progress:
    """Find the foreign keys of every source row and put it into the fact table.

    Raises LoadError for a value that does not fit its column, for rows whose dimension members are
    to be rejected, for a grain with a NULL in it, and for rows of one fact that contradict, if no
    rows may be rejected.
    """
    columns = load.project.columns(etl)
    target = TargetConnection(load, etl)
    with ExitStack() as open_tables:
        keys = BatchKeys(load, session, etl, open_tables)
        table = open_tables.enter_context(
            pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now)
        )
        if not etl.row_key:
            counts = yield from FactBatches(session, etl, columns, keys, load).put(
                rows, _fact_writer(table)
            )
            return keys.told(counts)
        put = (
            Watched(target, table.ensure).put
            if etl.write_mode == "accumulate"
            else GrainedFacts(table, etl, load.warehouse, target, columns).ensure
        )
        gathered = GatheredFacts(session, etl, columns, keys, load)
        counts = yield from gathered.put(rows, _without_null(etl.row_key, lambda _: "unchanged"))
        counts = gathered.settled(keys.told(counts), put)
        if load.waiting:
            load.waiting.accept_keys(gathered.accepted)
        return counts


class Watched:
    """What pygrametl does with each row, told from the statements it sends."""

    def __init__(self, target: TargetConnection, ensure: Callable[[Row], object]) -> None:
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


def _fact_writer(table: Any) -> Put:
    def insert(row: Row) -> Outcome:
        table.insert(row)
        return "inserted"

    return insert
