"""run.log: the runner's events as lines of text, each written when it happens. What a line tells is
on that line.

Several processes may write the same file: each line goes out in one write to a file opened for
appending, which the operating system does not mix with another's.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pypelineetl import events
from pypelineetl.errors import ConfigError
from pypelineetl.events import Event
from pypelineetl.report.terminal import shown, shown_lines

_LINES: Mapping[type, tuple[str, str]] = {
    # The original's own lines, word for word.
    events.TableDropping: ("INFO", "Dropping table {event.etl.table}"),
    events.TableDropped: ("INFO", "Dropped table {event.etl.table}"),
    events.TableCreating: ("INFO", "Creating table {event.etl.table}."),
    events.TableCreated: ("INFO", "Table {event.etl.table} created."),
    events.SourceQueried: ("INFO", "Executing source query for {event.etl.kind} {event.etl.table}"),
    events.LoadStarted: ("INFO", "Loading data"),
    events.EtlFinished: (
        "INFO",
        (
            "Loaded {event.counts.read} rows into table {event.etl.table} (elapsed time:"
            " {event.elapsed})"
        ),
    ),
    # Ours.
    events.EtlNoted: ("WARNING", "{event.etl.kind} {event.etl.table}: {event.note}"),
    events.EtlSkipped: ("ERROR", "{event.etl.kind} {event.etl.table} did not run: {event.reason}"),
    events.RunWaiting: ("WARNING", "Waiting: {event.why}"),
    events.RunRecovered: ("WARNING", "Recovered: {event.what}"),
    events.RunRetried: ("WARNING", "Run {event.why}"),
    events.Published: ("INFO", "Published {event.tables} (elapsed time: {event.elapsed})"),
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
            message = (
                f"config.py: LOG_HOME: cannot write {path}: {error.strerror}; name a folder that"
                " can be written"
            )
            raise ConfigError(message) from error
        self._has_lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._file)

    def error(self, text: str) -> None:
        """Write what is no event of a run; its lines after the first are indented."""
        self._write("ERROR", text)

    def __call__(self, event: Event) -> None:
        """Write the lines of an event; some have none."""
        details = event.details.rstrip() if isinstance(event, events.EtlFailed) else ""
        for level, text in _lines(event):
            self._write(level, "\n".join(filter(None, [shown(text), details])))

    def _write(self, level: str, text: str) -> None:
        # The name is the one a script's own logger has, whichever process writes: a refresh reads
        # the same everywhere.
        line = f"{level}:__main__:{shown_lines(text)}\n".encode()
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._note_lost(error.strerror or str(error))
        else:
            if written < len(line):
                self._note_lost("the disk is full")

    def _note_lost(self, why: str) -> None:
        """Say once that lines are lost.

        A log that cannot be written must not end a run, nor hide an alert.
        """
        if not self._has_lost:
            self._has_lost = True
            sys.stderr.write(f"run.log cannot be written ({why}); the run goes on without it\n")


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
            failed = (
                f"{event.etl.kind} {event.etl.table} failed, and its table holds what it held"
                " before"
            )
            yield "ERROR", f"{failed}: {event.error}"
        case events.RunFinished():
            if event.error:
                yield "ERROR", event.error
            ended = "succeeded" if event.succeeded else "failed"
            yield "INFO", f"Run {ended} at {_now()} (elapsed time: {event.elapsed})"
        case _ if type(event) in _LINES:
            level, text = _LINES[type(event)]
            yield level, text.format(event=event)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
