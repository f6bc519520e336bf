"""run.log: the runner's events as lines of text, each written when it happens.

Several processes may write the same file: each line goes out in one write to a file opened for appending, which the
operating system does not mix with another's.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pypelineetl import events
from pypelineetl.errors import ConfigError
from pypelineetl.events import Event

# The original's own lines, word for word.
_STEPS: Mapping[type, str] = {
    events.TableDropping: "Dropping table {etl.table}",
    events.TableDropped: "Dropped table {etl.table}",
    events.TableCreating: "Creating table {etl.table}.",
    events.TableCreated: "Table {etl.table} created.",
    events.SourceQueried: "Executing source query for {etl.kind} {etl.table}",
    events.LoadStarted: "Loading data",
    events.EtlFinished: "Loaded {counts.read} rows into table {etl.table} (elapsed time: {elapsed})",
}


class RunLog:
    """A listener that appends to a log file; a context manager that closes it.

    Raises ConfigError if the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            message = f"config.py: LOG_HOME: cannot write {path}: {error.strerror}; name a folder that can be written"
            raise ConfigError(message) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._file)

    def __call__(self, event: Event) -> None:
        """Write the lines of an event; some have none."""
        # The name is the one a script's own logger has, whichever process writes: a refresh reads the same everywhere.
        for level, text in _lines(event):
            os.write(self._file, f"{level}:__main__:{text}\n".encode())


def _lines(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the level and text of each line an event has."""
    match event:
        case events.RunStarted():
            tables = ", ".join(etl.table for etl in event.etls)
            yield "INFO", f"Run started at {_now()}: {tables or 'source tests only'}"
        case events.SourceTested():
            source = f"Source of {event.etl.kind} {event.etl.table}"
            yield from (("ERROR", f"{source} failed its test: {fault}") for fault in event.faults)
            yield from (("WARNING", f"{source}: {warning}") for warning in event.warnings)
            if not event.faults:
                yield "INFO", f"{source} passed its test"
        case events.EtlFailed():
            failed = f"{event.etl.kind} {event.etl.table} failed, and its table holds what it held before"
            yield "ERROR", "\n".join(filter(None, [f"{failed}: {event.error}", event.details.rstrip()]))
        case events.EtlNoted():
            yield "WARNING", f"{event.etl.kind} {event.etl.table}: {event.note}"
        case events.EtlSkipped():
            yield "ERROR", f"{event.etl.kind} {event.etl.table} did not run: {event.reason}"
        case events.RunFinished():
            if event.error:
                yield "ERROR", event.error
            ended = "succeeded" if event.succeeded else "failed"
            yield "INFO", f"Run {ended} at {_now()} (elapsed time: {event.elapsed})"
        case _ if type(event) in _STEPS:
            yield "INFO", _STEPS[type(event)].format(**vars(event))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
