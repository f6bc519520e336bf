"""Turn DuckDB's errors into the engine's exceptions: what went wrong, in the engine's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from pypelineetl.errors import LoadError, SourceError, SourceLostError
from pypelineetl.shutdown import ShutdownRequested, raise_if_requested
from pypelineetl.sql.sql_casts import ERROR_PREFIX

# A query reports some conditions by DuckDB's function error(). Only the text arrives here, so each
# condition has its own text.
UNMATCHED_KEY = "pypelineetl found an unmatched key"
"""The text of the error with which a query ends at a natural key that no member has."""
UNORDERED = "pypelineetl found rows out of order"
"""The text of the error with which a query ends if rows are not in their declared order."""


class UnmatchedKeyError(Exception):
    """A natural key in a fact's rows matches no member.

    It does not name the key: the code that catches it queries all unmatched keys at once.
    """


class UnorderedError(Exception):
    """Rows did not arrive in the order of their natural keys.

    The load must stage all of them before it writes any.
    """


# DuckDB's scanners have no error class for a lost connection. The words are those of the clients of
# MySQL, MariaDB, PostgreSQL and SQLite.
_LOST_CONNECTION = re.compile(
    r"lost connection|gone away|was killed"
    r"|(closed|terminating|terminated|failed to) connect|can't connect"
    r"|closed the connection|connection (refused|reset|not open)"
    r"|is locked|failed to fetch result row.*:\s*$",
    re.IGNORECASE,
)

_VALUE_ERRORS = (
    duckdb.ConversionException,
    duckdb.TypeMismatchException,
    duckdb.OutOfRangeException,
)
"""The errors for a value that DuckDB cannot compute, though the source database may.

For example, SQLite turns a whole number that is too large into a float.
"""
_INTERRUPTED = "Query interrupted"
_OUT_OF_MEMORY = re.compile(
    "failed to (pin|allocate) |could not allocate|out of memory", re.IGNORECASE
)
# The last one is about a DECIMAL(38) of MySQL, for which the scanner uses a type of 37 digits.
_UNREADABLE_VALUE = re.compile("Mismatch|Invalid unicode|Could not convert string .* to DECIMAL")


class ScanError(Exception):
    """DuckDB cannot read a value of the source; the source's driver may be able to."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether DuckDB ran out of memory; a commit reports it in its message only."""
    return isinstance(error, duckdb.OutOfMemoryException) or bool(_OUT_OF_MEMORY.search(str(error)))


def out_of_memory_message(error: Exception) -> str:
    """Return the message for an error that `is_out_of_memory`, with what the user can do."""
    # DuckDB's advice names its own settings, which the user of the engine cannot change.
    reported = str(error).partition("Possible solutions")[0].split("\n")[0].strip()
    return (
        "the load needs more memory than it may use; raise MEMORY_LIMIT in config.py. A load spills"
        " rows to disk, but the index of each key of a DuckDB table must fit into memory, with"
        f" about 70 bytes a row. DuckDB reports: {reported}"
    )


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Raise the exception of a signal handler that ran while DuckDB computed.

    DuckDB wraps such an exception in its own error.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) == _INTERRUPTED and error.__cause__:
            # Some of DuckDB's threads still compute, and the next statement would wait for them.
            connection.interrupt()
            raise error.__cause__ from None
        raise
    except duckdb.Error as error:
        # If DuckDB was reading rows from Python, the exception is only named in DuckDB's message.
        if ShutdownRequested.__name__ in str(error):
            raise_if_requested()
        raise


@contextmanager
def translated_errors(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Raise the engine's exception for an error of DuckDB.

    Raises:
        UnmatchedKeyError: A natural key matches no member.
        UnorderedError: Rows are not in their declared order.
        LoadError: A value cannot be loaded, or DuckDB ran out of memory.
        ScanError: DuckDB cannot read a value, but the source's driver may be able to.
        SourceLostError: The connection to the source failed.
        SourceError: Reading the source failed in another way.
    """
    try:
        with interruptible(connection):
            yield
    except UnicodeDecodeError as error:
        # DuckDB's message repeats the value, so Python cannot decode the message.
        message = "a text of the source is not valid UTF-8"
        raise ScanError(message) from error
    except duckdb.Error as error:
        raise _translated(error) from error


def _translated(error: duckdb.Error) -> Exception:
    """Return the engine's exception for an error of DuckDB."""
    text = str(error)
    if UNMATCHED_KEY in text:
        return UnmatchedKeyError()
    if UNORDERED in text:
        return UnorderedError()
    _, is_refusal, refusal = text.partition(ERROR_PREFIX)
    if is_refusal:
        return LoadError(refusal.splitlines()[0])
    if isinstance(error, _VALUE_ERRORS) or _UNREADABLE_VALUE.search(text):
        return ScanError(text.splitlines()[0])
    if is_out_of_memory(error):
        return LoadError(out_of_memory_message(error))
    reported = " ".join(text.split())
    kind = SourceLostError if _LOST_CONNECTION.search(reported) else SourceError
    return kind(f"reading the source failed: {reported}")
