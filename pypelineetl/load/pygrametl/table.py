"""Create the pygrametl object that a factory declares for one load, and remove it afterwards.

pygrametl is made for scripts: it keeps state in module variables, and it has defaults that suit a
script. This module works around the following behaviour:

- New versions begin on `pygrametl.today()`, the day of the first call in the process. A load gives
  the time of its run instead (`dating_arguments`, `_date_finders`).
- Surrogate keys continue from the largest one in the table. That may be -1, of a special member,
  or one that a deleted member had. A load counts on from the largest key that was ever given
  (`_key_finder`).
- Caches have a fixed size, and a row that is not cached costs a query. A load caches the whole
  table (`_CACHES`).
- pygrametl keeps every table object in a list for ever, and `pygrametl.endload()` ends the load of
  all of them. A load removes its own object (`pygrametl_table`).
- The quoting of names is a module variable. A load sets it while it makes its object
  (`_quoted_names`).
- A BulkFactTable writes a file for a bulk loader. A load uses FactTable (`_table_class`).
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
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.declare.factories import Factory
from pypelineetl.load.context import dated
from pypelineetl.load.dimensions.versioning import dating_arguments, type_one
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.sql.schema import Column
from pypelineetl.state.surrogate_keys import LargestKeys

# The arguments for caches, where the factory does not give them. These sizes cache the whole table,
# so that no row costs a query; pygrametl's defaults cache 10,000 rows.
_CACHES: Mapping[type, Mapping[str, Any]] = {
    CachedDimension: {"size": 0, "prefill": True},
    TypeOneSlowlyChangingDimension: {"cachesize": 0, "prefill": True},
    # No prefill: pygrametl would leave out members whose last version is closed, and would insert
    # them again as new members.
    SlowlyChangingDimension: {"cachesize": -1},
}
# The quoting of pygrametl is one variable for all threads of the process.
_quoting_lock = threading.Lock()


@contextmanager
def pygrametl_table(
    etl: ETL,
    warehouse: Database,
    target: TargetConnection,
    *,
    columns: Mapping[str, Column],
    now: datetime,
) -> Iterator[Any]:
    """Yield the pygrametl object that an ETL's factory declares.

    When the block ends without an error, the rows that wait are written. In any case the object is
    removed from pygrametl's list of all tables.

    Args:
        etl: The ETL whose factory is used.
        warehouse: The open warehouse.
        target: The connection through which the object reads and writes.
        columns: The columns of the table, by name.
        now: The time of the run (UTC), when new versions of type-2 members begin.

    """
    arguments = _arguments(etl, warehouse, columns, now)
    with _quoted_names(warehouse):
        table = _table_class(etl.factory)(**arguments, targetconnection=target)
    try:
        yield table
        table.endload()
        target.flush()
    finally:
        # pygrametl keeps every object in this list, and never removes one. A worker that loads for
        # weeks would keep the caches of all its loads.
        all_tables = pygrametl._alltables  # noqa: SLF001 - pygrametl has no function for it
        all_tables[:] = [other for other in all_tables if other is not table]


def _arguments(
    etl: ETL, warehouse: Database, columns: Mapping[str, Column], now: datetime
) -> dict[str, Any]:
    """Return the arguments with which the pygrametl object is made.

    They are those of the factory, and those that a load sets where the factory does not.
    """
    factory = etl.factory
    # Later entries override earlier ones: the factory overrides the defaults, and typed dates and
    # the quoted name of the table override the factory.
    arguments = {
        **_CACHES.get(factory.table_class, {}),
        **dating_arguments(factory, columns, now),
        **factory.arguments,
        **_typed_bounds(factory, columns),
        **_date_finders(factory, columns, now),
        "name": warehouse.quote(factory.table),
    }
    if isinstance(etl, FactETL) and etl.write_mode == "accumulate":
        # pygrametl concatenates these three, which fails for a list and a tuple. Its default for
        # measures is a tuple.
        for name in ("keyrefs", "otherrefs", "measures"):
            arguments[name] = list(factory.names(name))
    if "usemultirow" in arguments:
        # pygrametl would write dates into the statement without quotes. TargetConnection sends
        # batches anyway.
        arguments["usemultirow"] = False
    if isinstance(etl, DimensionETL):
        # A user's own `idfinder` gives the keys itself.
        if "idfinder" not in factory.arguments:
            arguments["idfinder"] = _key_finder(etl, warehouse)
        overwritten = type_one(etl) if etl.scd_type == "type 2" else []
        if overwritten:
            arguments["type1atts"] = overwritten
    return arguments


def _table_class(factory: Factory) -> Callable[..., Any]:
    """Return the class that loads row by row, or a function that makes its object.

    A BulkFactTable collects rows in a file for a bulk loader, which not every warehouse has. A
    FactTable writes the same rows, and takes some of the same arguments.
    """
    if factory.table_class is not BulkFactTable:
        return factory.table_class
    accepted = inspect.signature(FactTable).parameters

    def fact_table(**arguments: Any) -> FactTable:
        return FactTable(**{name: value for name, value in arguments.items() if name in accepted})

    return fact_table


def ensuring(table: Any) -> Callable[[dict[str, Any]], Any]:
    """Return the method of a dimension object that looks a member up, and inserts or updates it.

    Slowly changing dimensions call it `scdensure`, other dimensions `ensure`.
    """
    ensure: Callable[[dict[str, Any]], Any] = getattr(table, "scdensure", None) or table.ensure
    return ensure


def _key_finder(etl: DimensionETL, warehouse: Database) -> Callable[[object, object], int]:
    """Return the function that gives new members their surrogate keys, as pygrametl calls it.

    Keys count from 1, and no key is given twice. pygrametl would continue from the key of a special
    member, such as -1, and would give the keys of deleted members again. The function reads the
    largest key at its first call, so a load without new members does not read it.
    """

    @cache
    def keys() -> Iterator[int]:
        key, table = warehouse.quote(str(etl.factory.name("key"))), warehouse.quote(etl.table)
        [(largest,)] = warehouse.query(f"SELECT MAX({key}) FROM {table}")
        return count(max(largest or 0, LargestKeys(warehouse).of(etl), 0) + 1)

    def next_key(_row: object, _namemapping: object) -> int:
        return next(keys())

    return next_key


def _date_finders(factory: Factory, columns: Mapping[str, Column], now: datetime) -> dict[str, Any]:
    """Return replacements for a `fromfinder` and a `tofinder` that `datereader` made.

    pygrametl's `datereader` returns None for NULL, and the version would have no date. These
    functions return the time of the run, and cast the date to the type of its column.
    """
    dating = factory.name("fromatt") or factory.name("toatt")
    if not dating:
        return {}
    finders = {}
    for argument in ("fromfinder", "tofinder"):
        source = factory.read_by(argument)
        if source:
            finders[argument] = _date_finder(source, columns[dating], now)
    return finders


def _date_finder(source: str, column: Column, now: datetime) -> Callable[..., date | None]:
    """Return a function that reads the date of a row from its column `source`."""

    def date_of(_connection: object, row: Mapping[str, Any], _names: object) -> date | None:
        return dated(column, now if row[source] is None else row[source])

    return date_of


def _typed_bounds(factory: Factory, columns: Mapping[str, Column]) -> dict[str, Any]:
    """Return the factory's `minfrom` and `maxto` in the types of their columns.

    pygrametl compares them with what it reads from the table, and a text never equals a date.
    """
    typed = {}
    for argument, name in (("minfrom", "fromatt"), ("maxto", "toatt")):
        column, bound = factory.name(name), factory.arguments.get(argument)
        if column and isinstance(bound, str | date):
            typed[argument] = dated(columns[column], bound)
    return typed


@contextmanager
def _quoted_names(warehouse: Database) -> Iterator[None]:
    """Make pygrametl quote column names as the warehouse does, while the block makes an object.

    pygrametl keeps the quoting in a module variable. An object reads it only while it is made.
    """
    with _quoting_lock:
        before = tables._quote  # noqa: SLF001 - pygrametl can set its quoting but not return it
        tables.definequote(warehouse.quote_character)
        try:
            yield
        finally:
            tables._quote = before  # noqa: SLF001 - as above
