"""From a factory to the live pygrametl object, for the length of one load and with nothing left
behind.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from itertools import count
from typing import Any

import pygrametl
from pygrametl import tables
from pygrametl.tables import (
    BulkFactTable,
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL, Factory
from pypelineetl.load.context import dated
from pypelineetl.load.dimensions.versioning import type_one, versioning
from pypelineetl.load.pygrametl.connection import Target
from pypelineetl.sql.schema import Column
from pypelineetl.state.surrogate_keys import LargestKeys

# What a load may decide where the factory does not: caches that hold the whole table, so that no
# row costs a query.
_CACHES: Mapping[type, Mapping[str, Any]] = {
    CachedDimension: {"size": 0, "prefill": True},
    TypeOneSlowlyChangingDimension: {"cachesize": 0, "prefill": True},
    # Not filled before: pygrametl would leave out members whose last version is closed, and begin
    # them anew.
    SlowlyChangingDimension: {"cachesize": -1},
}
_one_at_a_time = threading.Lock()


@contextmanager
def pygrametl_table(
    etl: ETL,
    warehouse: Database,
    target: Target,
    *,
    columns: Mapping[str, Column],
    now: datetime,
) -> Iterator[Any]:
    """Make the pygrametl object an ETL's factory declares, loading through `target`.

    `now` (UTC) is when new versions of type-2 members begin; pygrametl itself would take the day of
    the process's first call. On leaving, what waits is written and the object is taken off
    pygrametl's list of all tables.
    """
    factory = etl.factory
    arguments = {
        **_CACHES.get(factory.table_class, {}),
        **versioning(factory, columns, now),
        **factory.arguments,
    }
    arguments |= _typed_bounds(factory, columns)
    arguments |= _dates(factory, columns, now)
    if isinstance(etl, FactETL) and etl.write_mode == "accumulate":
        # pygrametl adds them to each other, and has an empty tuple where one is not given.
        arguments |= {
            name: list(factory.names(name)) for name in ("keyrefs", "otherrefs", "measures")
        }
    if "usemultirow" in arguments:
        # pygrametl would write dates without quotes; rows go in batches anyway.
        arguments["usemultirow"] = False
    if isinstance(etl, DimensionETL) and "idfinder" not in factory.arguments:
        arguments["idfinder"] = _numbering(etl, warehouse)
    if isinstance(etl, DimensionETL) and etl.scd_type == "type 2":
        arguments |= {"type1atts": type_one(etl)} if type_one(etl) else {}
    with _quoted_names(warehouse):
        table = _row_class(factory)(
            **{**arguments, "name": warehouse.quote(factory.table)}, targetconnection=target
        )
    try:
        yield table
        table.endload()
        target.flush()
    finally:
        # pygrametl keeps every object ever made, and ends the load of all of them with any of them.
        everyones = pygrametl._alltables  # noqa: SLF001 - there is no other way to it
        everyones[:] = [other for other in everyones if other is not table]


def _row_class(factory: Factory) -> Callable[..., Any]:
    """Return the class that loads row by row.

    A BulkFactTable's rows are the FactTable's, which needs no file.
    """
    if factory.table_class is BulkFactTable:
        taken = inspect.signature(FactTable).parameters
        return lambda **given: FactTable(
            **{name: value for name, value in given.items() if name in taken}
        )
    return factory.table_class


def ensuring(table: Any) -> Callable[[dict[str, Any]], Any]:
    """Return the method that looks a member up and inserts or changes it.

    Slowly changing dimensions have their own.
    """
    ensure: Callable[[dict[str, Any]], Any] = getattr(table, "scdensure", None) or table.ensure
    return ensure


def _numbering(etl: DimensionETL, warehouse: Database) -> Callable[[object, object], int]:
    """Return what numbers new members, from 1, and never as any was before; the largest number is
    read on first use.

    pygrametl would go on from the key of a special member, such as -1, and know nothing of tables
    that were rebuilt.
    """

    @cache
    def numbers() -> Iterator[int]:
        key, table = warehouse.quote(str(etl.factory.name("key"))), warehouse.quote(etl.table)
        [(largest,)] = warehouse.query(f"SELECT MAX({key}) FROM {table}")
        return count(max(largest or 0, LargestKeys(warehouse).of(etl), 0) + 1)

    return lambda _row, _names: next(numbers())


def _dates(factory: Factory, columns: Mapping[str, Column], now: datetime) -> dict[str, Any]:
    """Return the finders of dates that a `datereader` declares, with the run's own time where the
    source has NULL.
    """
    dates = factory.name("fromatt") or factory.name("toatt")
    read = {argument: factory.read_by(argument) for argument in ("fromfinder", "tofinder")}
    return {
        argument: _reader(name, columns[dates], now)
        for argument, name in read.items()
        if name and dates
    }


def _reader(name: str, column: Column, now: datetime) -> Callable[..., date | None]:
    return lambda _connection, row, _names: dated(column, now if row[name] is None else row[name])


def _typed_bounds(factory: Factory, columns: Mapping[str, Column]) -> dict[str, Any]:
    """Return the dates a factory gives for the first and the last version, in the types of their
    columns.
    """
    bounds = {"minfrom": factory.name("fromatt"), "maxto": factory.name("toatt")}
    return {
        argument: dated(columns[column], factory.arguments[argument])
        for argument, column in bounds.items()
        if column and isinstance(factory.arguments.get(argument), str | date)
    }


@contextmanager
def _quoted_names(warehouse: Database) -> Iterator[None]:
    """Have pygrametl quote column names as the warehouse does, while an object is made.

    pygrametl keeps the quoting in a module variable, which an object reads only while it is made.
    """
    with _one_at_a_time:
        before = tables._quote  # noqa: SLF001 - pygrametl can set its quoting but not tell it
        tables.definequote(warehouse.quote_character)
        try:
            yield
        finally:
            tables._quote = before  # noqa: SLF001 - as above
