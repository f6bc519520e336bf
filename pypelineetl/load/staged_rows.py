"""Stage the source's and the warehouse's rows of one table in DuckDB, and write changes back.

In DuckDB a column has its own name, in quotes. `duck/names.py` has the rules of the names that a
load adds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.duck.names import column_names, quoted
from pypelineetl.duck.projection import ColumnRequest, Projection, request_column
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load
from pypelineetl.load.steps import AUDIT_KEY, Insert, Update
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import duckdb_type
from pypelineetl.state.surrogate_keys import LargestKeys

GIVEN = "pypelineetl_given"
"""The view of the source's rows in DuckDB, with the columns that the load requests."""
SOURCE_ROWS = "pypelineetl_rows"
"""The table of the source's rows in DuckDB. The column `__row` numbers them in their order."""
CURRENT = "pypelineetl_existing"
"""The table of the warehouse's rows in DuckDB."""

# Up to this many members are read by their keys. For more, one scan of the table is faster than a
# statement with a condition for each.
_MOST_READ_BY_KEY = 500


def special_keys(etl: ETL) -> str:
    """Return the surrogate keys of a dimension's special members, such as `-1, 0`.

    Empty for a dimension without special members, and for a fact.
    """
    if not isinstance(etl, DimensionETL):
        return ""
    key = str(etl.factory.name("key"))
    return ", ".join(str(int(member[key])) for member in etl.special)


def not_special(load: Load, etl: ETL) -> str:
    """Return the warehouse's condition that a member is not special, such as `id NOT IN (-1, 0)`.

    Empty for a dimension without special members, and for a fact.
    """
    keys = special_keys(etl)
    key = str(etl.factory.name("key"))
    return f"{load.warehouse.quote(key)} NOT IN ({keys})" if keys else ""


@dataclass(frozen=True)
class StagedRows:
    """The rows of one table that is being loaded, in DuckDB."""

    load: Load
    """The context of the load."""
    session: DuckSession
    """The DuckDB session that has the rows."""
    etl: ETL
    """The ETL whose table it is."""

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The table's columns by name, as the DDL declares them."""
        return dict(self.load.project.columns(self.etl))

    @cached_property
    def names(self) -> dict[str, str]:
        """The name in DuckDB of each column of the factory, without quotes."""
        return column_names(self.etl.factory.columns)

    def quote(self, name: str) -> str:
        """Return a column in DuckDB's SQL, such as `"sale_id"`."""
        return quoted(self.names[name])

    def quoted(self, names: Iterable[str], prefix: str = "") -> str:
        """Return columns in DuckDB's SQL, such as `r."sale_id", r."price"`."""
        return ", ".join(prefix + self.quote(name) for name in names)

    def request(self, name: str) -> ColumnRequest:
        """Return the request for a source column that has the name of a column of the table."""
        return request_column(self.names[name], name, self.columns[name])

    def any_null(self, names: Iterable[str]) -> str:
        """Return the condition that one of these columns is NULL.

        For example `"sale_id" IS NULL OR "shop_id" IS NULL`.
        """
        return " OR ".join(f"{self.quote(name)} IS NULL" for name in names)

    def equal(self, names: Iterable[str], left: str, right: str) -> str:
        """Return the condition that two rows have the same values in these columns, without NULL.

        For example `r."sale_id" = e."sale_id"`.
        """
        conditions = []
        for name in names:
            column = self.quote(name)
            conditions.append(f"{left}.{column} = {right}.{column}")
        return " AND ".join(conditions) or "true"

    def changed(self, names: Iterable[str], left: str, right: str) -> str:
        """Return the condition that two rows differ in one of these columns. NULL equals NULL.

        For example `r."price" IS DISTINCT FROM e."price"`.
        """
        conditions = []
        for name in names:
            column = self.quote(name)
            conditions.append(f"{left}.{column} IS DISTINCT FROM {right}.{column}")
        return " OR ".join(conditions) or "false"

    @contextmanager
    def read_concurrently(self, read: Callable[["StagedRows"], None]) -> Iterator[None]:
        """Read from the warehouse in a thread, while the block reads the source.

        If the warehouse does not support that, it is read after the block.

        Args:
            read: Reads from the warehouse into DuckDB.

        """
        # DuckDB and SQLite are read through the one connection of the load.
        if not self.load.warehouse.scanner.is_concurrent:
            yield
            read(self)
            return
        with self.session.beside() as session, ThreadPoolExecutor(1) as thread:
            reading = thread.submit(read, replace(self, session=session))
            yield
            reading.result()

    def load_current(self, names: Sequence[str], where: str = "") -> None:
        """Read these columns of the warehouse's rows into CURRENT, without special members.

        Args:
            names: The columns to read.
            where: The warehouse's condition of the rows; without it, all of them.

        """
        warehouse = self.load.warehouse
        conditions = [
            condition for condition in (where, not_special(self.load, self.etl)) if condition
        ]
        rows = f"FROM {warehouse.quote(self.etl.table)}"
        if conditions:
            rows += f" WHERE {' AND '.join(conditions)}"
        requested = [self.request(name) for name in names]
        # A new table is empty. To attach it to DuckDB would cost more than this query.
        if not warehouse.query(f"SELECT 1 {rows} LIMIT 1"):
            types = {request.name: request.duckdb_type for request in requested}
            self.session.declare(CURRENT, types)
            return
        given = self._scan(f"SELECT {warehouse.quoted(names)} {rows}")
        self.session.keep(CURRENT, given.select(requested, f"{CURRENT}_given"))

    def load_current_for(self, names: Sequence[str], by: Sequence[str], where: str) -> None:
        """Read more rows into CURRENT: those that SOURCE_ROWS refers to and CURRENT lacks.

        Args:
            names: The columns to read, as `load_current` read them.
            by: The columns that rows of both tables have in common.
            where: The warehouse's condition of the further rows.

        """
        keys = f"SELECT {self.quoted(by)} FROM {SOURCE_ROWS}"
        lacking = f"SELECT * FROM ({keys}) ANTI JOIN {CURRENT} USING ({self.quoted(by)})"
        warehouse = self.load.warehouse
        # One row more than the limit shows that there are too many.
        wanted = self.session.rows(f"{lacking} LIMIT {_MOST_READ_BY_KEY + 1}")
        rows = f"FROM {warehouse.quote(self.etl.table)} WHERE {where}"
        if not wanted or not warehouse.query(f"SELECT 1 {rows} LIMIT 1"):
            return
        query = f"SELECT {warehouse.quoted(names)} {rows}"
        if len(wanted) <= _MOST_READ_BY_KEY:
            found = self._read_by_key(query, by, wanted)
            given = Projection(self.session, None, lambda: Stream(tuple(names), iter(found)))
        else:
            given = self._scan(query)
        requested = [self.request(name) for name in names]
        self.session.run(f"INSERT INTO {CURRENT} {given.select(requested, f'{CURRENT}_more')}")

    def largest(self, name: str) -> int:
        """Return the largest surrogate key that the table has or had; 0 if there is none.

        Args:
            name: The column of the surrogate key.

        """
        warehouse = self.load.warehouse
        [(found,)] = warehouse.query(
            f"SELECT MAX({warehouse.quote(name)}) FROM {warehouse.quote(self.etl.table)}"
        )
        # A key of a deleted member is never given again, not even after a rebuild.
        return max(found or 0, LargestKeys(warehouse).of(self.etl), 0)

    def set_largest_key(self, name: str) -> None:
        """Set the variable LARGEST_KEY, which steps read, to the largest surrogate key.

        Args:
            name: The column of the surrogate key.

        """
        self.session.run(f"SET VARIABLE pypelineetl_largest_key = {self.largest(name)}")

    def insert(self, query: str) -> int:
        """Insert a query's rows into the warehouse's table, and return how many they are.

        Args:
            query: A query in DuckDB, with all columns of the factory in their order.

        """
        return self.insert_step("", "", query).number(self.session)

    def insert_step(self, name: str, purpose: str, query: str) -> Insert:
        """Return the step that inserts a query's rows into the warehouse's table.

        Args:
            name: The name of the step.
            purpose: What it is for.
            query: As for `insert`.

        """
        audited, constants = self._audited(self.etl.factory.columns)
        if constants:
            query = f"SELECT *{constants} FROM ({query})"
        return Insert(name, purpose, query, self.load.warehouse.bulk, self.etl.table, audited)

    def update(
        self, keys: Sequence[str], values: Sequence[str], query: str, where: str = ""
    ) -> None:
        """Update rows of the warehouse's table.

        Args:
            keys: The columns that identify a row.
            values: The columns to set.
            query: A query in DuckDB of the keys, then the values.
            where: A further condition of the warehouse's rows, with qualified column names.

        """
        if values:
            self.update_step("", "", keys, values, query, where).run(self.session)

    def update_step(  # noqa: PLR0913, PLR0917 - as `update`, with the two texts of a step
        self,
        name: str,
        purpose: str,
        keys: Sequence[str],
        values: Sequence[str],
        query: str,
        where: str = "",
    ) -> Update:
        """Return the step that updates rows of the warehouse's table, with `update`'s arguments."""
        # The audit column of the changed rows gets the key of this run.
        audited, constants = self._audited(values)
        return Update(
            name,
            purpose,
            query,
            self.load.warehouse.bulk,
            self.etl.table,
            [self.columns[key] for key in keys],
            audited,
            constants,
            where,
        )

    def _scan(self, query: str) -> Projection:
        """Return a warehouse query that DuckDB reads itself where it can, the driver otherwise."""
        warehouse = self.load.warehouse
        url = self.load.project.warehouse_url
        scanned = warehouse.scan_table(self.session, url, self.etl.table, query)
        return Projection(self.session, scanned, lambda: warehouse.stream(query))

    def _read_by_key(
        self, query: str, by: Sequence[str], keys: Sequence[tuple[object, ...]]
    ) -> list[list[tuple[object, ...]]]:
        """Return the rows of a warehouse query that have these keys, as at most one batch."""
        warehouse = self.load.warehouse
        one = " AND ".join(f"{warehouse.quote(name)} = {warehouse.placeholder}" for name in by)
        query += f" AND ({' OR '.join([f'({one})'] * len(keys))})"
        values: list[object] = []
        for key in keys:
            values += key
        adapters = warehouse.parameter_adapters
        rows = warehouse.query(query, adapted(adapters, list(by) * len(keys), tuple(values)))
        return [rows] if rows else []

    def _audited(self, names: Iterable[str]) -> tuple[list[Column], str]:
        """Return columns with the audit column, and its value in SQL after a comma.

        The value is empty if the table has no audit column.
        """
        audited = self.load.audited(self.etl)
        columns = [self.columns[name] for name in (*names, *audited)]
        constants = ""
        for name in audited:
            constants += f", CAST({AUDIT_KEY} AS {duckdb_type(self.columns[name])})"
        return columns, constants
