"""Send the rows of a query to a bulk loader as CSV, through a pipe into which DuckDB writes.

At no time are all rows on disk or in memory.
"""

import os
import threading
from types import TracebackType
from typing import Self

import duckdb

from pypelineetl.duck.duck_errors import translated_errors
from pypelineetl.duck.session import DuckSession


class CsvPipe:
    """The reading end of a pipe into which DuckDB writes a query's rows; a context manager.

    The end of the block waits for DuckDB, and raises DuckDB's error if there was one. Otherwise a
    loader could not distinguish an error from the end of the rows.
    """

    descriptor: int
    """The descriptor from which a loader may read."""
    path: str
    """The path that a loader may open instead."""

    def __init__(self, session: DuckSession, query: str, options: str) -> None:
        """Prepare the pipe.

        Args:
            session: The DuckDB session that runs the query.
            query: The query.
            options: The options of DuckDB's COPY for the CSV, such as `NULLSTR 'NULL'`.
        """
        self.rows = 0
        """How many rows DuckDB has written, known after the block."""
        self._session = session
        self._query = query
        self._options = options
        self._error: Exception | None = None
        # DuckDB and the loader work at the same time, each one in its own thread.
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self.descriptor, self._end = os.pipe()
        self.path = f"/dev/fd/{self.descriptor}"
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and self._thread.is_alive():
            # The loader has failed, so DuckDB need not compute the other rows.
            self._session.connection.interrupt()
        os.close(self.descriptor)
        self._thread.join()
        # If the loader has failed, the interrupt or the closed pipe has caused DuckDB's error.
        is_consequence = error is not None and isinstance(
            self._error, duckdb.InterruptException | duckdb.IOException
        )
        if self._error is not None and not is_consequence:
            with translated_errors(self._session.connection):
                raise self._error

    def _write(self) -> None:
        copy = f"""
            COPY ({self._query})
            TO '/dev/fd/{self._end}'
            (FORMAT csv, HEADER false, USE_TMP_FILE false, {self._options})
        """
        try:
            [(self.rows,)] = self._session.connection.execute(copy).fetchall()
        except Exception as error:  # noqa: BLE001 - `__exit__` raises it in the loader's thread
            self._error = error
        finally:
            os.close(self._end)
