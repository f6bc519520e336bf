"""The connection a pygrametl object writes through: its SQL to our databases, its single INSERTs
gathered into batches.

It has the methods of pygrametl's ConnectionWrapper that pygrametl's tables call. It differs in what
that class does to the whole process: it never makes itself the default connection, and committing
is not its business.
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

_BATCH_ROWS = 10_000
_ARGUMENT = re.compile(r"%\((.+?)\)s")

Arguments = Mapping[str, Any]


class Target:
    """The target connection of an ETL's pygrametl object.

    Values read are brought to the types of the table's columns, as values written are. Rows written
    get the load's audit key, if the table has a column for it, of which pygrametl knows nothing.
    """

    def __init__(self, load: Load, etl: ETL) -> None:
        self.inserts = 0
        self.updates = 0
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
        """Run a statement with `%(name)s` arguments.

        An INSERT waits for a full batch or another statement.
        """
        statement, names = _translated(stmt, self._database.placeholder)
        mapping, given = namemapping or {}, arguments or {}
        values = adapted(
            self._database.parameter_adapters,
            names,
            tuple(given[mapping.get(name, name)] for name in names),
        )
        verb = stmt.lstrip()[:6].upper()
        if self._audited:
            statement, values = self._with_audit_key(statement, values)
        if verb == "INSERT":
            self._gather(statement, values)
            return
        self.updates += verb == "UPDATE"
        self.flush()
        self._names, rows = self._database.result(statement, values)
        self._rows = map(self._converted, rows)

    def executemany(
        self,
        stmt: str,
        params: Sequence[Arguments],
        translate: bool = True,  # noqa: FBT001, FBT002, ARG002 - pygrametl's signature
    ) -> None:
        """Run an INSERT for many rows."""
        for arguments in params:
            self.execute(stmt, arguments)

    def flush(self) -> None:
        """Write the INSERTs that wait."""
        rows, self._waiting = self._waiting, []
        if rows:
            self._database.insert_many(self._insert, rows)

    def fetchonetuple(self) -> Row:
        """Return the next row of the last query; a row of None if there is no more."""
        return next(self._rows, (None,) * len(self._names))

    def fetchone(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the next row as a dict; one with only None in it if there is no more."""
        return dict(zip(names or self._names, self.fetchonetuple(), strict=True))

    def fetchmanytuples(self, cnt: int) -> list[Row]:
        """Return the next `cnt` rows."""
        return list(islice(self._rows, cnt))

    def fetchalltuples(self) -> Iterator[Row]:
        """Return the rows that remain."""
        return self._rows

    def rowfactory(self, names: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Return the rows that remain, as dicts."""
        shown = names or self._names
        return (dict(zip(shown, row, strict=True)) for row in self._rows)

    def _with_audit_key(self, statement: str, values: Row) -> tuple[str, Row]:
        """Return a statement that writes rows so that they have the audit key.

        Any other as it is.
        """
        [(name, key)] = self._audited.items()
        column, mark = self._database.quote(name), self._database.placeholder
        if statement.startswith(update := f"UPDATE {self._table} SET "):
            return f"{update}{column} = {mark}, {statement.removeprefix(update)}", (key, *values)
        columns, given, marks = statement.rpartition(") VALUES (")
        if given and statement.startswith(f"INSERT INTO {self._table}"):
            return f"{columns}, {column}{given}{mark}, {marks}", (*values, key)
        return statement, values

    def _gather(self, statement: str, values: Row) -> None:
        self.inserts += 1
        if statement != self._insert or len(self._waiting) >= _BATCH_ROWS:
            self.flush()
        self._insert = statement
        self._waiting.append(values)

    def _converted(self, row: Row) -> Row:
        return tuple(
            self._columns[name].cast(value) if name in self._columns else value
            for name, value in zip(self._names, row, strict=True)
        )


@lru_cache(maxsize=1_000)
def _translated(stmt: str, placeholder: str) -> tuple[str, tuple[str, ...]]:
    return _ARGUMENT.sub(placeholder, stmt), tuple(_ARGUMENT.findall(stmt))
