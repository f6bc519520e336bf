"""Loading row by row, through pygrametl's own objects."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache, partial
from typing import Any

from pygrametl.tables import AccumulatingSnapshotFactTable

from pypelineetl.columns import Column
from pypelineetl.databases.base import Database, Stream
from pypelineetl.declare import DimensionETL, FactETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts, Outcome
from pypelineetl.keys import (
    SHOWN_MISSES,
    UNKNOWN,
    Infer,
    Members,
    NaturalKey,
    Resolver,
    misses_message,
    resolver,
)
from pypelineetl.load.grain import GrainedFacts
from pypelineetl.load.loading import Load, Progress, null_message
from pypelineetl.load.tables import pygrametl_table
from pypelineetl.load.target import Target

Row = dict[str, Any]
Put = Callable[[Row], Outcome]


def load_dimension(load: Load, etl: DimensionETL, rows: Stream) -> Progress:
    """Ensure that every source row is a member of the dimension, by its natural key.

    Raises LoadError for a value that does not fit its column, and for a natural key with a NULL in it.
    """
    columns = load.project.columns(etl)
    target = Target(load.warehouse, columns)
    with pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now) as table:
        ensure = _watched(target, _ensuring(table))
        return (yield from _put_all(rows, columns, _without_null(etl.factory.natural_key, ensure)))


def load_fact(load: Load, etl: FactETL, rows: Stream) -> Progress:
    """Find the foreign keys of every source row and put it into the fact table.

    Raises LoadError for a value that does not fit its column, for rows whose dimension members are missing where the
    key does not say `missing="infer"`, and for a grain with a NULL in it.
    """
    columns = load.project.columns(etl)
    target = Target(load.warehouse, columns)
    with ExitStack() as open_tables:
        resolvers = _resolvers(load, etl, open_tables)
        table = open_tables.enter_context(pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now))
        put = _fact_writer(table, etl, load.warehouse, target)
        counts = yield from _put_all(rows, columns, partial(_put_resolved, resolvers, put))
    if misses := [
        misses_message(
            column,
            etl.keys[column].dimension,
            resolver.misses.total(),
            list(resolver.misses)[:SHOWN_MISSES],
            len(resolver.misses),
        )
        for column, resolver in resolvers.items()
        if resolver.misses
    ]:
        raise LoadError("; ".join(misses))
    return counts


def replaces(etl: FactETL) -> bool:
    """Whether a load replaces the fact table's rows, which no grain tells apart."""
    return not etl.grain and not issubclass(etl.factory.table_class, AccumulatingSnapshotFactTable)


def _put_all(rows: Stream, columns: Mapping[str, Column], put: Put) -> Progress:
    """Bring each source row to the types of its columns and put it, counting what became of it."""
    converters = [columns[name].convert if name in columns else None for name in rows.columns]
    read, outcomes = 0, Counter[str]()
    for batch in rows.batches:
        for values in batch:
            row = {
                name: convert(value) if convert else value
                for name, convert, value in zip(rows.columns, converters, values, strict=True)
            }
            outcomes[put(row)] += 1
        read += len(batch)
        yield read
    return Counts(read=read, **outcomes)


def _ensuring(table: Any) -> Callable[[Row], Any]:
    """Return the method that looks a member up and inserts or changes it: slowly changing dimensions have their own."""
    ensure: Callable[[Row], Any] = getattr(table, "scdensure", None) or table.ensure
    return ensure


def _watched(target: Target, ensure: Callable[[Row], object]) -> Put:
    """Tell what pygrametl did with a row from the statements it sent."""

    def put(row: Row) -> Outcome:
        inserts, updates = target.inserts, target.updates
        ensure(row)
        if target.inserts > inserts:
            # A new version of a type-2 member is an INSERT and an UPDATE, and counts as inserted.
            return "inserted"
        return "updated" if target.updates > updates else "unchanged"

    return put


def _without_null(names: tuple[str, ...], put: Put) -> Put:
    def checked(row: Row) -> Outcome:
        if missing := [name for name in names if row[name] is None]:
            raise LoadError(null_message(missing))
        return put(row)

    return checked


def _put_resolved(resolvers: Mapping[str, Resolver], put: Put, row: Row) -> Outcome:
    # A row may take a key's name for a natural key of its own, so all keys are found before any is written.
    keys = {column: resolve(row) for column, resolve in resolvers.items()}
    # Rows without a member are counted to the end, so that the error can tell of all of them.
    return "unchanged" if UNKNOWN in keys.values() else put(row | keys)


def _fact_writer(table: Any, etl: FactETL, warehouse: Database, target: Target) -> Put:
    if isinstance(table, AccumulatingSnapshotFactTable):
        return _without_null(tuple(table.keyrefs), _watched(target, table.ensure))
    if etl.grain:
        return _without_null(etl.grain, GrainedFacts(table, etl, warehouse, target).ensure)

    def insert(row: Row) -> Outcome:
        table.insert(row)
        return "inserted"

    return insert


def _resolvers(load: Load, etl: FactETL, open_tables: ExitStack) -> dict[str, Resolver]:
    # One for all the roles a dimension plays in the fact, so that a member one role infers is the other's too.
    members = {
        dimension.name: Members(
            dimension,
            load.project.columns(dimension),
            load.warehouse,
            inferring(load, dimension, open_tables),
        )
        for dimension in load.project.dimensions_of(etl)
    }
    return {column: resolver(key, members[key.dimension]) for column, key in etl.keys.items()}


def inferring(load: Load, dimension: DimensionETL, open_tables: ExitStack) -> Infer:
    """Return what makes members that know only their natural key; its pygrametl object is made on first use."""
    factory, columns = dimension.factory, load.project.columns(dimension)
    target = Target(load.warehouse, columns)
    unknown = {name: None for name in factory.names("attributes") if name not in factory.versioning}

    @cache
    def ensure() -> Callable[[Row], Any]:
        table = open_tables.enter_context(
            pygrametl_table(dimension, load.warehouse, target, columns=columns, now=load.now),
        )
        return _ensuring(table)

    def infer(natural_key: NaturalKey) -> Any:
        key = ensure()(unknown | dict(zip(factory.natural_key, natural_key, strict=True)))
        # Before the fact that points to it, which a foreign key in the warehouse may ask for.
        target.flush()
        return key

    return infer
