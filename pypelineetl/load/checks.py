"""Asking the warehouse whether a loaded table is what its checks say, one query for each, before it
is committed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from functools import cached_property
from typing import Any

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.checks import (
    SHOWN,
    Accepted,
    BadRows,
    Between,
    Check,
    Fresh,
    NotNull,
    Refers,
    RowCount,
    Severity,
    Unique,
    first_few,
)
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.errors import PypeLineError
from pypelineetl.load.context import Load
from pypelineetl.load.staged_rows import not_special
from pypelineetl.sql.schema import Column

Condition = tuple[str, tuple[Any, ...]]
"""What rows that fail meet, and the values it is to be given."""
_ALIKE = "pypelineetl_alike"


@dataclass(frozen=True)
class Failure:
    """A check that failed: what to tell of it, and whether it stops the load."""

    text: str
    severity: Severity


def run_checks(load: Load, etl: ETL) -> Iterator[Failure]:
    """Yield the checks of an ETL that fail, in their order; the first that cannot be run is the
    last.

    That one stops the load, whatever its severity: a database may undo a transaction in which a
    statement failed.
    """
    table = _Table(load, etl)
    for check in etl.checks:
        try:
            failing = _failing(table, check)
        except PypeLineError as error:
            yield Failure(f"check {check.label} cannot be run: {error.message}", "error")
            return
        if failing:
            yield Failure(f"check {check.label} fails for {failing}: {check.rule}", check.severity)


@dataclass(frozen=True)
class _Table:
    """The table that is checked, as its warehouse's SQL has it."""

    load: Load
    etl: ETL

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        return self.load.project.columns(self.etl)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The columns that tell which row is meant.

        Of no others a message may tell values, which may be secrets.
        """
        factory = self.etl.factory
        if isinstance(self.etl, DimensionETL):
            return tuple(dict.fromkeys([str(factory.name("key")), *factory.names("lookupatts")]))
        declared = tuple(name for name, column in self.columns.items() if column.is_key)
        return tuple(self.etl.grain) or declared or factory.names("keyrefs")

    @property
    def relation(self) -> str:
        table, special = self.load.warehouse.quote(self.etl.table), not_special(self.load, self.etl)
        # Special members stand for what is not there, and need not be what members are.
        return (
            f"(SELECT * FROM {table} WHERE {special}) AS loaded"
            if special
            else f"{table} AS loaded"
        )

    def name(self, column: str) -> str:
        """Return a column by a name that means it in a query within the query too."""
        return f"loaded.{self.load.warehouse.quote(column)}"

    def exact(self, column: str, expression: str) -> str:
        """Return an expression of a column's values so that they are compared exactly."""
        return (
            self.load.warehouse.binary_compare(expression)
            if self.load.warehouse.folds(self.columns[column])
            else expression
        )

    def bound(self, column: str, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return values to compare a column with, as the driver takes them."""
        return adapted(
            self.load.warehouse.parameter_adapters, [column] * len(values), tuple(values)
        )


def _failing(table: _Table, check: Check) -> str:
    """Return which rows fail a check, in words that go after `for`; nothing where none does."""
    match check:
        case Fresh():
            return _stale(table, check)
        case BadRows():
            return _found(table, check)
        case RowCount():
            return _miscounted(table, check)
        case Unique():
            return _meeting(table, _alike(table, check.columns), (f"loaded.{_ALIKE} > 1", ()))
        case _:
            return _meeting(table, table.relation, _condition(table, check))


def _condition(table: _Table, check: NotNull | Accepted | Between | Refers) -> Condition:
    match check:
        case NotNull():
            return " OR ".join(f"{table.name(column)} IS NULL" for column in check.columns), ()
        case Accepted():
            return _unaccepted(table, check)
        case Between():
            return _outside(table, check)
        case Refers():
            return _dangling(table, check), ()


def _alike(table: _Table, columns: Sequence[str]) -> str:
    """Return the rows that have a value in each of these columns, and with each how many have the
    same ones.

    A window, because MariaDB takes four times as long to group as many texts, and to open a
    temporary table twice is refused by MySQL.
    """
    compared = ", ".join(table.exact(column, table.name(column)) for column in columns)
    selected = [*map(table.name, table.key), f"COUNT(*) OVER (PARTITION BY {compared}) AS {_ALIKE}"]
    known = " AND ".join(f"{table.name(column)} IS NOT NULL" for column in columns)
    return f"(SELECT {', '.join(selected)} FROM {table.relation} WHERE {known}) AS loaded"


def _unaccepted(table: _Table, check: Accepted) -> Condition:
    [column] = check.columns
    mark = table.exact(column, table.load.warehouse.placeholder)
    marks = ", ".join([mark] * len(check.values))
    values = [table.columns[column].cast(value) for value in check.values]
    return f"{table.exact(column, table.name(column))} NOT IN ({marks})", table.bound(
        column, values
    )


def _outside(table: _Table, check: Between) -> Condition:
    [column] = check.columns
    is_moment, convert = table.columns[column].is_moment, table.columns[column].cast
    sides = [
        (sign, bound)
        for sign, bound in (("<", check.least), (">", check.most))
        if bound is not None
    ]
    condition = " OR ".join(
        f"{table.name(column)} {sign} {table.load.warehouse.placeholder}" for sign, _ in sides
    )
    # SQLite compares moments as texts, which must be written alike; a number may be more than its
    # column can hold.
    return condition, table.bound(
        column, [convert(bound) if is_moment else bound for _, bound in sides]
    )


def _dangling(table: _Table, check: Refers) -> str:
    quote = table.load.warehouse.quote
    dimension = next(etl for etl in table.load.project.dimensions if etl.name == check.to)
    [column] = map(table.name, check.columns)
    key = f"known.{quote(str(dimension.factory.name('key')))}"
    known = f"SELECT 1 FROM {quote(dimension.table)} AS known WHERE {key} = {column}"
    return f"{column} IS NOT NULL AND NOT EXISTS ({known})"


def _meeting(table: _Table, relation: str, condition: Condition) -> str:
    where, arguments = condition
    keys = [table.name(column) for column in table.key]
    statement = f"""
        SELECT {", ".join(["COUNT(*) OVER ()", *keys])}
        FROM {relation}
        WHERE {where}
        {"ORDER BY " + ", ".join(keys) if keys else ""}
        LIMIT {SHOWN}
    """
    rows = table.load.warehouse.query(statement, arguments)
    return (
        _told(rows[0][0], [dict(zip(table.key, row[1:], strict=True)) for row in rows])
        if rows
        else ""
    )


def _found(table: _Table, check: BadRows) -> str:
    query = table.load.project.warehouse_query(check.sql, table.load.warehouse)
    # On lines of its own: it may end with a comment.
    statement = f"SELECT COUNT(*) OVER (), bad.* FROM (\n{query}\n) AS bad LIMIT {SHOWN}"
    (_, *names), rows = table.load.warehouse.result(statement)
    found = [dict(zip(names, row[1:], strict=True)) for row in rows]
    known = [{name: row[name] for name in table.key if name in row} for row in found]
    return _told(rows[0][0], known) if rows else ""


def _miscounted(table: _Table, check: RowCount) -> str:
    [(rows,)] = table.load.warehouse.query(f"SELECT COUNT(*) FROM {table.relation}")
    before = table.load.rows_before
    is_wrong = (check.least is not None and rows < check.least) or (
        check.most is not None and rows > check.most
    )
    if check.change is not None and before:
        is_wrong = is_wrong or abs(rows - before) > check.change * before
        return f"{_counted(rows)}, where there were {before:,} before" if is_wrong else ""
    return _counted(rows) if is_wrong else ""


def count_rows(load: Load, etl: ETL) -> int:
    """Return how many rows a table has, as the check `row_count` counts them.

    0 if it is not there.
    """
    if not load.warehouse.columns(etl.table):
        return 0
    [(rows,)] = load.warehouse.query(f"SELECT COUNT(*) FROM {_Table(load, etl).relation}")
    return int(rows)


def _told(number: int, rows: Sequence[Mapping[str, Any]]) -> str:
    shown = first_few(
        [" ".join(f"{name}={value}" for name, value in row.items()) for row in rows], number
    )
    return _counted(number) + (f" ({shown})" if any(rows) else "")


def _counted(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"


def _stale(table: _Table, check: Fresh) -> str:
    [column] = check.columns
    [(rows, given)] = table.load.warehouse.query(
        f"SELECT COUNT(*), MAX({table.name(column)}) FROM {table.relation}"
    )
    newest = table.columns[column].cast(given)
    if newest is None:
        return f'{_counted(rows)}, of which none has a "{column}"'
    now, least = table.load.now, table.load.now - check.within
    if newest >= (least.date() if table.columns[column].is_date else least):
        return ""
    age = now - (newest if isinstance(newest, datetime) else datetime.combine(newest, time()))
    return f"{_counted(rows)}, of which the newest is {age} old"
