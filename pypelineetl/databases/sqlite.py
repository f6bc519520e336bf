"""SQLite, through the standard library's sqlite3."""

import sqlite3
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database, Row
from pypelineetl.errors import DatabaseError


class SQLite(Database):
    """A SQLite file. It knows no dates, which are kept as ISO text, and no exact decimals, which become numbers."""

    dialect = "sqlite"
    # SQLite takes a name in double quotes that it does not know for a text.
    quote_character = "`"
    placeholder = "?"
    driver_error: ClassVar[type[Exception]] = sqlite3.Error

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        path = Path(url.database or "").absolute()
        if read_only:
            # Without the mode a missing file would be made here, empty, and every query would fail on its tables.
            if not path.is_file():
                message = "there is no such file"
                raise ValueError(message)
            return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        # autocommit off in the driver's old way would commit before DDL; here the transaction is begun by hand.
        return sqlite3.connect(path, isolation_level=None, timeout=LOCK_WAIT_SECONDS)

    def columns(self, table: str) -> tuple[str, ...]:
        return tuple(name for (name,) in self.query("SELECT name FROM pragma_table_info(?)", (table,)))

    def insert_many(self, statement: str, rows: Sequence[Row]) -> None:
        super().insert_many(statement, [tuple(map(_stored, row)) for row in rows])

    def result(self, statement: str, arguments: Sequence[Any] = ()) -> tuple[tuple[str, ...], list[Row]]:
        return super().result(statement, tuple(map(_stored, arguments)))

    def lock(self, tables: Sequence[str]) -> None:  # noqa: ARG002 - one lock for them all
        """Take the file's one write lock, which is every table's."""
        try:
            self.execute("BEGIN IMMEDIATE")
        except DatabaseError as error:
            message = f"{self.name} is being written by another run; tried for {LOCK_WAIT_SECONDS:.0f} s"
            raise DatabaseError(message) from error


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
