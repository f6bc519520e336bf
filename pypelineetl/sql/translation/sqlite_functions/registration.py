"""Register the Python functions on a connection of SQLite."""

import sqlite3
from functools import wraps
from typing import Any

from pypelineetl.sql.translation.sqlite_functions import moments, numbers, texts
from pypelineetl.sql.translation.sqlite_functions.aggregates import GroupConcat, Total
from pypelineetl.sql.translation.sqlite_functions.tables import Function


def register(connection: sqlite3.Connection) -> list[str]:
    """Register the functions on a connection, and return the list of the last error.

    A function that fails puts its message into the list, as its only item.
    """
    errors: list[str] = []

    def with_reported_errors(function: Function) -> Function:
        @wraps(function)
        def called(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:
                # SQLite reports only that a function failed. The list keeps
                # why.
                errors[:] = [str(error)]
                raise

        return called

    tables = {**moments.FUNCTIONS, **numbers.FUNCTIONS, **texts.FUNCTIONS}
    for name, (function, count) in tables.items():
        connection.create_function(
            f"mysql_{name}", count, with_reported_errors(function), deterministic=True
        )
    connection.create_aggregate("mysql_group_concat", -1, GroupConcat)  # type: ignore[arg-type] # finalize gives None
    # A window function also needs `inverse`, so that SQLite can move its
    # frame.
    connection.create_window_function("mysql_total", 1, Total)
    return errors
