"""A query of the workbench as a stream of CSV, written while a database's bulk loader reads it."""

import os
import threading
from types import TracebackType
from typing import Self

import duckdb

from pypelineetl.duck.session import DuckSession, translated_errors


class CsvPipe:
    """The reading end of a pipe into which the bench writes a query's rows as CSV; a context
    manager.

    `path` is what a loader may open, `descriptor` what it may read. Leaving the block waits for the
    bench, and raises what stopped it: without that a loader would take the end of the pipe for the
    end of the rows.
    """

    def __init__(self, session: DuckSession, query: str, options: str) -> None:
        self.rows = 0
        self._session = session
        self._query = query
        self._options = options
        self._error: Exception | None = None
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
            # The loader is gone, so nobody needs the rows that are still to come.
            self._session.connection.interrupt()
        os.close(self.descriptor)
        self._thread.join()
        stopped_by_us = error is not None and isinstance(
            self._error, duckdb.InterruptException | duckdb.IOException
        )
        if self._error is not None and not stopped_by_us:
            with translated_errors(self._session.connection):
                raise self._error

    def _write(self) -> None:
        target = f"/dev/fd/{self._end}"
        try:
            [(self.rows,)] = self._session.connection.execute(
                f"COPY ({self._query}) TO '{target}' (FORMAT csv, HEADER false, USE_TMP_FILE false,"
                f" {self._options})"
            ).fetchall()
        except Exception as error:  # noqa: BLE001 - whatever it is: its end alone would pass for that of the rows
            self._error = error
        finally:
            os.close(self._end)
