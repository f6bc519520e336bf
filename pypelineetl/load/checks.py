"""Run the declared checks of a loaded table in the warehouse, one query for each.

They run before the commit, so a check that fails rolls the load back.
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
"""The condition that finds the rows that fail a check, and the arguments of its placeholders."""

_TIMES = "pypelineetl_alike"
"""The column with the number of rows that have the same values."""


@dataclass(frozen=True)
class Failure:
    """A check that failed."""

    text: str
    """The message: the check, the rows that fail, and the rule."""
    severity: Severity
    """What it does: `error` stops the load, `warn` only adds a note."""


def run_checks(load: Load, etl: ETL) -> Iterator[Failure]:
    """Yield the checks of an ETL that fail, in the order of their declaration.

    A check that cannot be run stops the load, whatever its severity. No other check runs after it.
    """
    table = _Table(load, etl)
    for check in etl.checks:
        try:
            failing = _failing(table, check)
        except PypeLineError as error:
            # Some databases end a transaction in which a statement failed, so the other checks
            # would fail too.
            yield Failure(f"check {check.label} cannot be run: {error.message}", "error")
            return
        if failing:
            yield Failure(f"check {check.label} fails for {failing}: {check.rule}", check.severity)


def count_rows(load: Load, etl: ETL) -> int:
    """Return how many rows a table has, as `row_count` counts them; 0 if it does not exist."""
    if not load.warehouse.catalog.columns(etl.table):
        return 0
    [(rows,)] = load.warehouse.query(f"SELECT COUNT(*) FROM {_Table(load, etl).relation}")
    return int(rows)


@dataclass(frozen=True)
class _Table:
    """The table that is checked, in its warehouse's SQL. Its alias is `loaded`."""

    load: Load
    etl: ETL

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        return self.load.project.columns(self.etl)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row in a message.

        A message shows the values of no other column, because they may be secret.
        """
        factory = self.etl.factory
        if isinstance(self.etl, DimensionETL):
            surrogate_key = str(factory.name("key"))
            return tuple(dict.fromkeys([surrogate_key, *factory.names("lookupatts")]))
        # A fact's grain, then its primary key, then its foreign keys: the shortest that identifies.
        declared = tuple(name for name, column in self.columns.items() if column.is_key)
        return tuple(self.etl.grain) or declared or factory.names("keyrefs")

    @property
    def relation(self) -> str:
        """The table without special members, which the checks need not accept."""
        table, special = self.load.warehouse.quote(self.etl.table), not_special(self.load, self.etl)
        if not special:
            return f"{table} AS loaded"
        return f"(SELECT * FROM {table} WHERE {special}) AS loaded"

    def name(self, column: str) -> str:
        """Return a column with its alias, so that a subquery does not use its own column."""
        return f"loaded.{self.load.warehouse.quote(column)}"

    def exact(self, column: str, expression: str) -> str:
        """Return an expression of a column's values that compares exactly, whatever its collation.

        On MySQL, for example, `loaded.code COLLATE utf8mb4_bin`.
        """
        if not self.load.warehouse.texts.folds(self.columns[column]):
            return expression
        return self.load.warehouse.texts.binary(expression)

    def bound(self, column: str, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return values that a column is compared with, as the driver takes them."""
        adapters = self.load.warehouse.parameter_adapters
        return adapted(adapters, [column] * len(values), tuple(values))


def _failing(table: _Table, check: Check) -> str:
    """Return which rows fail a check, as words that follow `for`; empty where none does."""
    match check:
        case Fresh():
            return _stale(table, check)
        case BadRows():
            return _bad_rows(table, check)
        case RowCount():
            return _wrong_count(table, check)
        case Unique():
            relation = _with_times(table, check.columns)
            return _rows_meeting(table, relation, (f"loaded.{_TIMES} > 1", ()))
        case _:
            return _rows_meeting(table, table.relation, _condition(table, check))


def _condition(table: _Table, check: NotNull | Accepted | Between | Refers) -> Condition:
    match check:
        case NotNull():
            nulls = [f"{table.name(column)} IS NULL" for column in check.columns]
            return " OR ".join(nulls), ()
        case Accepted():
            return _not_accepted(table, check)
        case Between():
            return _outside(table, check)
        case Refers():
            return _dangling(table, check), ()


def _with_times(table: _Table, columns: Sequence[str]) -> str:
    """Return the rows with a value in each of these columns, and how many rows have the same.

    It uses a window function, because MariaDB takes four times as long to group that many texts,
    and MySQL opens a temporary table only once in a query. For the column `code` and the key `id`:

        (SELECT loaded.id, COUNT(*) OVER (PARTITION BY loaded.code) AS pypelineetl_alike
         FROM thing_dim AS loaded WHERE loaded.code IS NOT NULL) AS loaded
    """
    compared, filled = [], []
    # A NULL equals no other value, so a row with a NULL repeats no row.
    for column in columns:
        compared.append(table.exact(column, table.name(column)))
        filled.append(f"{table.name(column)} IS NOT NULL")
    times = f"COUNT(*) OVER (PARTITION BY {', '.join(compared)}) AS {_TIMES}"
    selected = ", ".join([*map(table.name, table.key), times])
    return f"(SELECT {selected} FROM {table.relation} WHERE {' AND '.join(filled)}) AS loaded"


def _not_accepted(table: _Table, check: Accepted) -> Condition:
    [column] = check.columns
    mark = table.exact(column, table.load.warehouse.placeholder)
    marks = ", ".join([mark] * len(check.values))
    condition = f"{table.exact(column, table.name(column))} NOT IN ({marks})"
    values = [table.columns[column].cast(value) for value in check.values]
    return condition, table.bound(column, values)


def _outside(table: _Table, check: Between) -> Condition:
    [column] = check.columns
    declared = table.columns[column]
    conditions, values = [], []
    for sign, bound in (("<", check.least), (">", check.most)):
        if bound is None:
            continue
        conditions.append(f"{table.name(column)} {sign} {table.load.warehouse.placeholder}")
        # SQLite compares moments as texts, so both must have the same form. A number is not cast,
        # because it may be larger than its column can store.
        values.append(declared.cast(bound) if declared.is_moment else bound)
    return " OR ".join(conditions), table.bound(column, values)


def _dangling(table: _Table, check: Refers) -> str:
    """Return the condition that a foreign key belongs to no member of its dimension."""
    quote = table.load.warehouse.quote
    dimension = next(etl for etl in table.load.project.dimensions if etl.name == check.to)
    [column] = map(table.name, check.columns)
    key = f"known.{quote(str(dimension.factory.name('key')))}"
    # Not by NOT IN, which is never true if the subquery returns a NULL.
    known = f"SELECT 1 FROM {quote(dimension.table)} AS known WHERE {key} = {column}"
    return f"{column} IS NOT NULL AND NOT EXISTS ({known})"


def _rows_meeting(table: _Table, relation: str, condition: Condition) -> str:
    """Return how many rows meet a condition, and some of them by their key."""
    where, arguments = condition
    keys = [table.name(column) for column in table.key]
    # The window counts all rows, whatever LIMIT says.
    rows = table.load.warehouse.query(
        f"""
        SELECT {", ".join(["COUNT(*) OVER ()", *keys])}
        FROM {relation}
        WHERE {where}
        {"ORDER BY " + ", ".join(keys) if keys else ""}
        LIMIT {SHOWN}
        """,
        arguments,
    )
    if not rows:
        return ""
    shown = [dict(zip(table.key, row[1:], strict=True)) for row in rows]
    return _described(rows[0][0], shown)


def _bad_rows(table: _Table, check: BadRows) -> str:
    query = table.load.project.warehouse_query(check.sql, table.load.warehouse)
    # The user's SELECT stands on its own lines, because it may end with a comment.
    statement = f"SELECT COUNT(*) OVER (), bad.* FROM (\n{query}\n) AS bad LIMIT {SHOWN}"
    # The first column is the count.
    (_, *names), rows = table.load.warehouse.result(statement)
    if not rows:
        return ""
    shown = []
    for row in rows:
        values = dict(zip(names, row[1:], strict=True))
        shown.append({name: values[name] for name in table.key if name in values})
    return _described(rows[0][0], shown)


def _wrong_count(table: _Table, check: RowCount) -> str:
    [(rows,)] = table.load.warehouse.query(f"SELECT COUNT(*) FROM {table.relation}")
    before = table.load.rows_before
    too_few = check.least is not None and rows < check.least
    too_many = check.most is not None and rows > check.most
    if check.change is not None and before:
        too_different = abs(rows - before) > check.change * before
        # The number before the load shows the reader how far the change goes.
        if too_few or too_many or too_different:
            return f"{_counted(rows)}, where there were {before:,} before"
        return ""
    return _counted(rows) if too_few or too_many else ""


def _stale(table: _Table, check: Fresh) -> str:
    [column] = check.columns
    declared, now = table.columns[column], table.load.now
    [(rows, given)] = table.load.warehouse.query(
        f"SELECT COUNT(*), MAX({table.name(column)}) FROM {table.relation}"
    )
    # SQLite returns a moment as a text.
    newest = declared.cast(given)
    if newest is None:
        return f'{_counted(rows)}, of which none has a "{column}"'
    least = now - check.within
    # A plain day has no time, so it is compared with a day.
    if newest >= (least.date() if declared.is_date else least):
        return ""
    moment = newest if isinstance(newest, datetime) else datetime.combine(newest, time())
    return f"{_counted(rows)}, of which the newest is {now - moment} old"


def _described(number: int, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a number of rows in words, with some of them: `2 rows (id=1, id=7)`."""
    texts = [_shown(row) for row in rows]
    return _counted(number) + (f" ({first_few(texts, number)})" if any(rows) else "")


def _shown(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items())


def _counted(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
