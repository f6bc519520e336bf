"""run.log: the runner's events as lines of text, each written when it happens.

Several processes may write the same file: each line goes out in one write to a file opened for appending, which the
operating system does not mix with another's.
"""

import os
from datetime import UTC, datetime
from functools import singledispatchmethod
from pathlib import Path
from typing import Self

from pypelineetl import events
from pypelineetl.events import Event


class RunLog:
    """A listener that appends to a log file; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._file)

    @singledispatchmethod
    def __call__(self, event: Event) -> None:
        """Write the lines of an event; most events that are not named below have none."""

    @__call__.register
    def _(self, event: events.RunStarted) -> None:
        names = ", ".join(etl.table for etl in event.etls) or "source tests only"
        self._write("INFO", f"Run started at {_now()}: {names}")

    @__call__.register
    def _(self, event: events.SourceTested) -> None:
        if not event.faults:
            self._write("INFO", f"Source of {event.etl.kind} {event.etl.table} passed its test")
        for fault in event.faults:
            self._write("ERROR", f"Source of {event.etl.kind} {event.etl.table} failed its test: {fault}")
        for warning in event.warnings:
            self._write("WARNING", f"Source of {event.etl.kind} {event.etl.table}: {warning}")

    @__call__.register
    def _(self, event: events.TableDropping) -> None:
        self._write("INFO", f"Dropping table {event.etl.table}")

    @__call__.register
    def _(self, event: events.TableDropped) -> None:
        self._write("INFO", f"Dropped table {event.etl.table}")

    @__call__.register
    def _(self, event: events.TableCreating) -> None:
        self._write("INFO", f"Creating table {event.etl.table}.")

    @__call__.register
    def _(self, event: events.TableCreated) -> None:
        self._write("INFO", f"Table {event.etl.table} created.")

    @__call__.register
    def _(self, event: events.SourceQueried) -> None:
        self._write("INFO", f"Executing source query for {event.etl.kind} {event.etl.table}")

    @__call__.register
    def _(self, event: events.LoadStarted) -> None:  # noqa: ARG002 - dispatched on
        self._write("INFO", "Loading data")

    @__call__.register
    def _(self, event: events.EtlFinished) -> None:
        loaded = f"Loaded {event.counts.read} rows into table {event.etl.table}"
        self._write("INFO", f"{loaded} (elapsed time: {event.elapsed})")

    @__call__.register
    def _(self, event: events.EtlFailed) -> None:
        failed = f"{event.etl.kind} {event.etl.table} failed, and its table holds what it held before: {event.error}"
        self._write("ERROR", "\n".join(filter(None, [failed, event.details.rstrip()])))

    @__call__.register
    def _(self, event: events.EtlSkipped) -> None:
        self._write("ERROR", f"{event.etl.kind} {event.etl.table} did not run: {event.reason}")

    @__call__.register
    def _(self, event: events.RunFinished) -> None:
        ended = "succeeded" if event.succeeded else "failed"
        self._write("INFO", f"Run {ended} at {_now()} (elapsed time: {event.elapsed})")

    def _write(self, level: str, text: str) -> None:
        # The name is the one a script's own logger has, whichever process writes: a refresh reads the same everywhere.
        os.write(self._file, f"{level}:__main__:{text}\n".encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
