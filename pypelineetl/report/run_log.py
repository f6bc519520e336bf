"""run.log: the events of a run as lines of text, each written when it happens.

Several processes may write to one file. Each line is a single write to a file that is opened for
appending, and the operating system does not mix two such writes.
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
    # The lines of the original, word for word.
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
    # The lines that the original does not have.
    events.EtlNoted: ("WARNING", "{event.etl.kind} {event.etl.table}: {event.note}"),
    events.EtlSkipped: ("ERROR", "{event.etl.kind} {event.etl.table} did not run: {event.reason}"),
    events.RunWaiting: ("WARNING", "Waiting: {event.why}"),
    events.RunRecovered: ("WARNING", "Recovered: {event.what}"),
    events.RunRetried: ("WARNING", "Run {event.why}"),
    events.Published: ("INFO", "Published {event.tables} (elapsed time: {event.elapsed})"),
}


class RunLog:
    """A listener that appends the events of a run to a log file.

    As a context manager, it closes the file at the end of the block.

    Args:
        path: The file. It and its folder are created if they do not exist.

    Raises:
        ConfigError: The file cannot be opened.
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
        self._has_lost_lines = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._file)

    def error(self, text: str) -> None:
        """Write an error that is not an event of a run. Lines after the first are indented."""
        self._write("ERROR", text)

    def __call__(self, event: Event) -> None:
        """Write the lines of an event. Some events have none."""
        details = event.details.rstrip() if isinstance(event, events.EtlFailed) else ""
        for level, text in _lines(event):
            lines = [shown(text), details] if details else [shown(text)]
            self._write(level, "\n".join(lines))

    def _write(self, level: str, text: str) -> None:
        # In the original, the logger has the name of the script, __main__. Workers write this name
        # too, so that the log of a refresh is the same everywhere.
        line = f"{level}:__main__:{shown_lines(text)}\n".encode()
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._report_lost(error.strerror or str(error))
        else:
            # A full disk may accept the beginning of a line.
            if written < len(line):
                self._report_lost("the disk is full")

    def _report_lost(self, why: str) -> None:
        """Report lost lines on stderr, once.

        A full disk must neither end a run nor suppress an alert.
        """
        if not self._has_lost_lines:
            self._has_lost_lines = True
            sys.stderr.write(f"run.log cannot be written ({why}); the run goes on without it\n")


def _lines(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the level and the text of each line of an event."""
    match event:
        case events.RunStarted():
            tables = ", ".join(etl.table for etl in event.etls)
            yield "INFO", f"Run started at {_now()}: {tables or 'source tests only'}"
        case events.SourceTested():
            source = f"Source of {event.etl.kind} {event.etl.table}"
            for problem in event.faults:
                yield "ERROR", f"{source} failed its test: {problem}"
            for warning in event.warnings:
                yield "WARNING", f"{source}: {warning}"
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
