"""What can go wrong, as one tree.

    PypeLineError
    ├── ConfigError       config.py or a module it names is wrong; carries every fault found, not the first
    ├── UsageError        a command or task argument is wrong; nothing was started
    ├── DialectError      SQL that cannot be read, is not allowed here, or cannot be translated
    ├── DatabaseError     a database cannot be reached, or refused a statement
    │   ├── BusyError     another run has what this one needs; the message names it
    │   └── TransientError  a connection was lost, or others stood in the way: it may go well when tried again
    ├── SourceError       the source gives other columns than the ETL needs, or stopped half way
    │   └── SourceLostError  the source's connection was lost; it is a TransientError as well
    ├── LoadError         a row cannot be loaded: a value, a natural key, a count that does not add up
    └── RefreshError      one or more ETLs of a refresh failed

Every message says what was given, the rule, and what to do. An error raised inside an ETL is given that ETL's
name by the runner; `etl` is empty elsewhere.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PypeLineError(Exception):
    """The base of every error PypeLineETL raises on purpose."""

    def __init__(self, message: str, etl: str = "") -> None:
        # All arguments reach Exception, so that Celery can rebuild the error from them alone.
        super().__init__(*filter(None, (message, etl)))
        self.message = message
        self.etl = etl

    def __str__(self) -> str:
        return f"{self.etl}: {self.message}" if self.etl else self.message


class ConfigError(PypeLineError):
    """The configuration is wrong; the message lists every fault, one a line."""


class UsageError(PypeLineError):
    """A command line or task argument is wrong."""


class DialectError(PypeLineError):
    """SQL that cannot be read, is not allowed where it stands, or has no translation."""


class DatabaseError(PypeLineError):
    """A database cannot be reached or refused a statement."""


class BusyError(DatabaseError):
    """Another run has what this one needs."""


class TransientError(DatabaseError):
    """A fault of a database that may be gone when the same is tried again."""


class SourceError(PypeLineError):
    """The source does not give what the ETL needs."""


class SourceLostError(SourceError, TransientError):
    """The connection to a source was lost half way."""


class LoadError(PypeLineError):
    """A row cannot be loaded as the ETL declares it."""


class RefreshError(PypeLineError):
    """One or more ETLs of a refresh failed."""


def in_words(error: BaseException) -> str:
    """Return an error as it is told: with its type, unless it is one of ours or no error, like a wish to stop."""
    if isinstance(error, PypeLineError):
        return error.message
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error) or type(error).__name__


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ` Did you mean "x"?` for the name nearest to the given one, or nothing."""
    by_folded = {name.casefold(): name for name in known}
    near = get_close_matches(given.casefold(), by_folded, n=1, cutoff=0.6)
    return f' Did you mean "{by_folded[near[0]]}"?' if near else ""


def quoted(names: Iterable[str]) -> str:
    """Return the names in double quotes, separated by commas."""
    return ", ".join(f'"{name}"' for name in names)
