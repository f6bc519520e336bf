"""The connection through which a pygrametl object reads and writes, with INSERTs in batches.

`TargetConnection` replaces pygrametl's ConnectionWrapper, with those of its methods that
pygrametl's tables call. It differs where ConnectionWrapper does not suit a library:

- ConnectionWrapper makes itself the default connection of the whole process. TargetConnection
  does not, so several loads can run in one process.
- pygrametl sends one INSERT per row. TargetConnection collects equal INSERTs into batches.
- pygrametl returns values as the driver gives them. TargetConnection casts them to the types of
  the table's columns, so that a comparison with source values finds no false change.
- pygrametl writes the columns of the factory only. TargetConnection adds the audit column.
- ConnectionWrapper can commit. TargetConnection cannot: only `run/` commits.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import ETL
from pypelineetl.duck.rows import Row
from pypelineetl.load.context import Load

# The default of pygrametl's own BatchFactTable; rows of 1 KB take 10 MB.
_BATCH_ROWS = 10_000
# pygrametl writes all its statements with arguments of this form.
_ARGUMENT = re.compile(r"%\((.+?)\)s")
# pygrametl prepares each statement once per table. Only a user's own code makes more of them.
_CACHED_STATEMENTS = 1_000

Arguments = Mapping[str, Any]
"""Arguments of a statement, by name."""


class TargetConnection:
    """The connection through which the pygrametl object of one ETL reads and writes.

    Args:
        load: The load, with the open warehouse.
        etl: The ETL whose table is loaded.

    """

    def __init__(self, load: Load, etl: ETL) -> None:
        self.inserts = 0
        """How many INSERTs pygrametl has sent."""
        self.updates = 0
        """How many UPDATEs pygrametl has sent."""
        self._database = load.warehouse
        self._columns = load.project.columns(etl)
        self._table = load.warehouse.quote(etl.table)
        self._audited = load.audited(etl)
        self._waiting: list[Row] = []
        self._insert = ""
        self._names: tuple[str, ...] = ()
        self._rows: Iterator[Row] = iter(())

    def execute(
        self,
        stmt: str,
        arguments: Arguments | None = None,
        namemapping: Mapping[str, str] | None = None,
        translate: bool = True,  # noqa: FBT001, FBT002, ARG002 - pygrametl's signature
    ) -> None:
        """Run a statement. An INSERT waits for a full batch, or for another statement.

        Args:
            stmt: The statement, with arguments of the form `%(name)s`.
            arguments: The arguments by name, or by the name that `namemapping` gives.
            namemapping: The names in `arguments` of arguments that have another name there.
            translate: Not used. With it, pygrametl marks statements that need no translation.

        """
        statement, names = _translated(stmt, self._database.placeholder)
        mapping, given = namemapping or {}, arguments or {}
        values = tuple(given[mapping.get(name, name)] for name in names)
        values = adapted(self._database.parameter_adapters, names, values)
        verb = stmt.lstrip()[:6].upper()
        if self._audited:
            statement, values = self._with_audit_key(statement, values)
        if verb == "INSERT":
            self._add_to_batch(statement, values)
            return
        if verb == "UPDATE":
            self.updates += 1
        # A query must see the rows that wait, and an UPDATE must find them.
        self.flush()
        self._names, rows = self._database.result(statement, values)
        self._rows = map(self._cast, rows)

    def executemany(
        self,
        stmt: str,
        params: Sequence[Arguments],
        translate: bool = True,  # noqa: FBT001, FBT002, ARG002 - pygrametl's signature
    ) -> None:
        """Run an INSERT for many rows, as `execute` does for one."""
        # `execute` collects the rows into batches.
        for arguments in params:
            self.execute(stmt, arguments)

    def flush(self) -> None:
        """Write the INSERTs that wait."""
        rows, self._waiting = self._waiting, []
        if rows:
            self._database.insert_many(self._insert, rows)

    def fetchonetuple(self) -> Row:
        """Return the next row of the last query; a row of None after the last row.

        pygrametl expects None for the key of a member that a lookup does not find.
        """
        return next(self._rows, (None,) * len(self._names))

    def fetchone(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the next row as a dict; a dict of None after the last row.

        Args:
            names: The keys of the dict; None for the names of the columns.

        """
        return dict(zip(names or self._names, self.fetchonetuple(), strict=True))

    def fetchmanytuples(self, cnt: int) -> list[Row]:
        """Return at most `cnt` next rows."""
        return list(islice(self._rows, cnt))

    def fetchalltuples(self) -> Iterator[Row]:
        """Return the rows that remain."""
        return self._rows

    def rowfactory(self, names: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Return the rows that remain as dicts, with keys as in `fetchone`."""
        keys = names or self._names
        return (dict(zip(keys, row, strict=True)) for row in self._rows)

    def _with_audit_key(self, statement: str, values: Row) -> tuple[str, Row]:
        """Return an INSERT or UPDATE of the ETL's table that writes the audit key as well.

        pygrametl knows the columns of the factory only, and its own statements always have the
        two forms that are matched here. Other statements stay as they are, such as those of a
        user's own class.

            INSERT INTO "city" ("key", "name") VALUES (?, ?)
            INSERT INTO "city" ("key", "name", "audit_key") VALUES (?, ?, ?)

            UPDATE "city" SET "name" = ? WHERE "key" = ?
            UPDATE "city" SET "audit_key" = ?, "name" = ? WHERE "key" = ?
        """
        [(name, key)] = self._audited.items()
        column, mark = self._database.quote(name), self._database.placeholder
        update = f"UPDATE {self._table} SET "
        if statement.startswith(update):
            return f"{update}{column} = {mark}, {statement.removeprefix(update)}", (key, *values)
        columns, middle, marks = statement.rpartition(") VALUES (")
        if middle and statement.startswith(f"INSERT INTO {self._table}"):
            return f"{columns}, {column}{middle}{mark}, {marks}", (*values, key)
        return statement, values

    def _add_to_batch(self, statement: str, values: Row) -> None:
        """Add an INSERT to the batch. Write the batch first if it is full, or another statement."""
        self.inserts += 1
        if statement != self._insert or len(self._waiting) >= _BATCH_ROWS:
            self.flush()
        self._insert = statement
        self._waiting.append(values)

    def _cast(self, row: Row) -> Row:
        """Return a row of the warehouse with its values in the types of the table's columns."""
        values = []
        for name, value in zip(self._names, row, strict=True):
            column = self._columns.get(name)
            values.append(column.cast(value) if column else value)
        return tuple(values)


@lru_cache(maxsize=_CACHED_STATEMENTS)
def _translated(statement: str, placeholder: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with the warehouse's placeholders, and the names of its arguments.

    >>> _translated("SELECT id FROM city WHERE name = %(name)s", "?")
    ('SELECT id FROM city WHERE name = ?', ('name',))
    """
    return _ARGUMENT.sub(placeholder, statement), tuple(_ARGUMENT.findall(statement))
