"""The rows of one table as sets at the bench: those the source gives, those the warehouse has, and
writing them.

The table's columns are a0, a1, … at the bench, in the order of the factory, so that no name needs
quoting there.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.duck.projection import ColumnRequest, Projection, request_column
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load, null_message
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import duckdb_type
from pypelineetl.state.surrogate_keys import LargestKeys

SOURCE_ROWS = "pypelineetl_rows"
"""The source's rows at the bench, numbered by `ord` in their order."""
ROWS = SOURCE_ROWS
_REPEATED = "pypelineetl_repeated"
_ASKED_FOR = 500  # members asked for by name; of more, all rows are brought
_CHANGES = "pypelineetl_changes"
CURRENT = "pypelineetl_existing"
"""The warehouse's rows at the bench."""


def readable_alias(prefix: str, name: str) -> str:
    """Return a column's name in DuckDB: the prefix, and what of the name needs no quoting.

    The prefix has a number, so that names that differ in case or in blanks alone stay apart.

    >>> readable_alias("c3", "Unit price")
    'c3_unit_price'
    """
    words = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")
    return f"{prefix}_{words}" if words else prefix


def not_special(load: Load, etl: ETL) -> str:
    """Return the warehouse's condition that a member is none of its dimension's special members.

    Nothing for a fact.
    """
    special = etl.special if isinstance(etl, DimensionETL) else ()
    key = str(etl.factory.name("key"))
    keys = ", ".join(str(int(member[key])) for member in special)
    return f"{load.warehouse.quote(key)} NOT IN ({keys})" if keys else ""


@dataclass(frozen=True)
class StagedRows:
    """One table that is being loaded at a bench."""

    load: Load
    session: DuckSession
    etl: ETL

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The table's columns by name, as the DDL declares them."""
        return dict(self.load.project.columns(self.etl))

    def alias(self, name: str) -> str:
        """Return the bench's name of a column."""
        return readable_alias(f"c{self.etl.factory.columns.index(name)}", name)

    def aliases(self, names: Iterable[str], prefix: str = "") -> str:
        """Return the bench's names of columns, separated by commas."""
        return ", ".join(prefix + self.alias(name) for name in names)

    def request(self, name: str) -> ColumnRequest:
        """Want a column of the table from the column of its name."""
        return request_column(self.alias(name), name, self.columns[name])

    def number_rows(self, rows: str) -> int:
        """Keep a query's rows at the bench, and return how many there are."""
        self.session.keep(SOURCE_ROWS, f"SELECT row_number() OVER () AS ord, * FROM ({rows})")
        return self.session.number(f"SELECT count(*) FROM {SOURCE_ROWS}")

    def refuse_null(self, names: Sequence[str], rows: str = SOURCE_ROWS) -> None:
        """Raise LoadError if the rows have a NULL in these columns, by which they are told
        apart.
        """
        found = self.session.rows(
            f"SELECT {self.aliases(names)} FROM {rows} WHERE {self.any_null(names)} ORDER BY ord"
            " LIMIT 1"
        )
        if found:
            raise LoadError(
                null_message(
                    [name for name, value in zip(names, found[0], strict=True) if value is None]
                )
            )

    def any_null(self, names: Iterable[str]) -> str:
        """Return the condition that one of these columns is NULL."""
        return " OR ".join(f"{self.alias(name)} IS NULL" for name in names)

    def equal(self, names: Iterable[str], left: str, right: str) -> str:
        """Return the condition that two rows agree in these columns, none of which is NULL."""
        return (
            " AND ".join(
                f"{left}.{self.alias(name)} = {right}.{self.alias(name)}" for name in names
            )
            or "true"
        )

    def changed(self, names: Iterable[str], left: str, right: str) -> str:
        """Return the condition that two rows do not agree in one of these columns.

        NULL agrees with NULL.
        """
        return (
            " OR ".join(
                f"{left}.{self.alias(name)} IS DISTINCT FROM {right}.{self.alias(name)}"
                for name in names
            )
            or "false"
        )

    @contextmanager
    def read_concurrently(self, bring: Callable[["StagedRows"], None]) -> Iterator[None]:
        """Have something brought from the warehouse while the block reads the source.

        Both are there after it.
        """
        if not self.load.warehouse.concurrent_reads:
            yield
            bring(self)
            return
        with self.session.beside() as session, ThreadPoolExecutor(1) as thread:
            brought = thread.submit(bring, replace(self, session=session))
            yield
            brought.result()

    def load_current(self, names: Sequence[str], where: str = "") -> None:
        """Bring these columns of the warehouse's rows to the bench.

        Those of special members are left out.
        """
        warehouse = self.load.warehouse
        where = " AND ".join(filter(None, [where, not_special(self.load, self.etl)]))
        requested = [self.request(name) for name in names]
        table = warehouse.quote(self.etl.table)
        if not warehouse.query(
            f"SELECT 1 FROM {table}{f' WHERE {where}' if where else ''} LIMIT 1"
        ):
            self.session.declare(
                CURRENT, {request.name: request.duckdb_type for request in requested}
            )
            return
        query = f"SELECT {warehouse.quoted(names)} FROM {table}" + (
            f" WHERE {where}" if where else ""
        )
        scanned = warehouse.scanned_here(
            self.session, self.load.project.warehouse_url, self.etl.table, query
        )
        given = Projection(self.session, scanned, lambda: warehouse.stream(query))
        self.session.keep(CURRENT, given.select(requested, f"{CURRENT}_given"))

    def load_current_for(self, names: Sequence[str], by: Sequence[str], where: str) -> None:
        """Bring further rows, but only those that the source's rows ask for by these columns and
        that are not there.
        """
        keys = f"SELECT {self.aliases(by)} FROM {SOURCE_ROWS}"
        missing = f"SELECT * FROM ({keys}) ANTI JOIN {CURRENT} USING ({self.aliases(by)})"
        warehouse = self.load.warehouse
        asked = self.session.rows(f"{missing} LIMIT {_ASKED_FOR + 1}")
        table = warehouse.quote(self.etl.table)
        if not asked or not warehouse.query(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1"):
            return
        requested = [self.request(name) for name in names]
        query = f"SELECT {warehouse.quoted(names)} FROM {table} WHERE {where}"
        if len(asked) <= _ASKED_FOR:
            one = " AND ".join(f"{warehouse.quote(name)} = {warehouse.placeholder}" for name in by)
            query += f" AND ({' OR '.join([f'({one})'] * len(asked))})"
            values = adapted(
                warehouse.parameter_adapters,
                list(by) * len(asked),
                tuple(value for row in asked for value in row),
            )
            rows = warehouse.query(query, values)
            given = Projection(
                self.session, None, lambda: Stream(tuple(names), iter([rows] if rows else []))
            )
        else:
            scanned = warehouse.scanned_here(
                self.session, self.load.project.warehouse_url, self.etl.table, query
            )
            given = Projection(self.session, scanned, lambda: warehouse.stream(query))
        self.session.run(f"INSERT INTO {CURRENT} {given.select(requested, f'{CURRENT}_more')}")

    def repeated(self, names: Sequence[str], alias: str) -> str:
        """Return the condition that a row shares its values in these columns with others.

        Nothing where none does.
        """
        by = self.aliases(names)
        self.session.keep(
            _REPEATED, f"SELECT {by} FROM {SOURCE_ROWS} GROUP BY {by} HAVING count(*) > 1"
        )
        if not self.session.number(f"SELECT count(*) FROM {_REPEATED}"):
            return ""
        return f"({self.aliases(names, f'{alias}.')}) IN (SELECT ({by}) FROM {_REPEATED})"

    def largest(self, name: str) -> int:
        """Return the largest whole number in a column of the warehouse's table, 0 if there is
        none.
        """
        warehouse = self.load.warehouse
        [(found,)] = warehouse.query(
            f"SELECT MAX({warehouse.quote(name)}) FROM {warehouse.quote(self.etl.table)}"
        )
        return max(found or 0, LargestKeys(warehouse).of(self.etl), 0)

    def insert(self, query: str) -> int:
        """Insert a query's rows, all columns of the factory in its order, into the warehouse's
        table.
        """
        columns, query = self._audited(self.etl.factory.columns, query)
        return self.load.warehouse.bulk_insert(self.etl.table, columns, self.session, query)

    def update(
        self, keys: Sequence[str], values: Sequence[str], query: str, where: str = ""
    ) -> None:
        """Set these values in the warehouse's rows that have these keys, as a query gives them,
        keys first.

        With `where`, only in rows that meet this condition of the warehouse, which names columns
        with their table.
        """
        self.session.keep(f"{_CHANGES}", query)
        if values and self.session.number(f"SELECT count(*) FROM {_CHANGES}"):
            changed, changes = self._audited(values, f"SELECT * FROM {_CHANGES}")
            self.load.warehouse.bulk_update(
                self.etl.table,
                [self.columns[name] for name in keys],
                changed,
                self.session,
                changes,
                where=where,
            )

    def _audited(self, names: Iterable[str], query: str) -> tuple[list[Column], str]:
        """Return columns, and a query whose last ones they are, with the audit column after them if
        there is one.
        """
        audited = self.load.audited(self.etl)
        constants = "".join(
            f", CAST({key} AS {duckdb_type(self.columns[name])})" for name, key in audited.items()
        )
        columns = [self.columns[name] for name in (*names, *audited)]
        return columns, f"SELECT *{constants} FROM ({query})" if constants else query

    # The names that dimensions/histories.py still uses.
    at, names, same, differs = alias, aliases, equal, changed
