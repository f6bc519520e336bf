"""Telling people: that a run failed, that the next one went well again, and that one did not happen
at all.

What is told goes to the URLs in `ALERTS`, by Apprise. A message that cannot be delivered changes
nothing else.
"""

import logging
import socket
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.errors import DatabaseError, error_text
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.report.terminal import shown, shown_lines
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import SUCCEEDED
from pypelineetl.state.run_status import RunStatus


class Alerts:
    """A listener to the events of a run that tells of its failure, or that it went well again.

    `undelivered` are the messages that reached nobody.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._etls: tuple[str, ...] = ()
        self._faults: list[str] = []
        self.undelivered: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Tell of a run that ends by what no event tells, such as a signal or its time limit."""
        if error and self._etls:
            self._tell_of_failure(error_text(error))

    def __call__(self, event: Event) -> None:
        """Gather what went wrong, and tell it when the run is over.

        Tests of sources alone are no run.
        """
        match event:
            case events.RunStarted():
                self._etls = tuple(etl.label for etl in event.etls)
            case events.SourceTested(faults=faults):
                self._faults += [f"source of {event.etl.label}: {fault}" for fault in faults]
            case events.RunRecovered():
                self._faults.append(event.what)
            case events.RunRetried():
                self._faults.append(event.why)
            case events.EtlFailed():
                self._faults.append(f"{event.etl.label} failed: {event.error}")
            case events.EtlSkipped():
                self._faults.append(f"{event.etl.label} did not run: {event.reason}")
            case events.RunFinished() if self._etls:
                if event.succeeded:
                    self.went_well(self._etls)
                else:
                    self._tell_of_failure(event.error)
                self._etls = ()

    def failed(self, why: str) -> None:
        """Tell that a run failed; lines of the reason after the first are indented."""
        self._tell("ETL run failed", shown_lines(why))

    def _tell_of_failure(self, error: str) -> None:
        lines = filter(None, [*self._faults, error])
        self._tell("ETL run failed", "\n".join(map(shown, lines)))

    def went_well(self, etls: Iterable[str]) -> None:
        """Tell of those of the ETLs of a run that went well whose run before had not, whatever
        other runs did.
        """
        if not self._project.alerts:
            return
        try:
            with self._project.open_warehouse() as warehouse:
                before = [(name, RunHistory(warehouse).before_last(name)) for name in etls]
        except DatabaseError as error:
            self.undelivered.append(f"nobody knows whether this run is a recovery: {error.message}")
            return
        failed = [
            f"{name}, {record.status} at {_minute(record.started)}"
            for name, record in before
            if record and record.status != SUCCEEDED
        ]
        if failed:
            self._tell("ETL runs go well again", "\n".join(["These are loaded again:", *failed]))

    def late(self) -> str:
        """Tell, once, of the ETLs that were last loaded longer ago than they should be; return
        that, if there are any.

        A warehouse that cannot be reached is told every time: it cannot remember that it was.
        """
        expected = self._project.late_after
        if expected is None:
            return ""
        try:
            with self._project.open_warehouse() as warehouse:
                lines, is_new = self._late(warehouse, warehouse.clock() - expected)
        except DatabaseError as error:
            lines, is_new = (
                [shown(f"Whether the warehouse was loaded cannot be known: {error.message}")],
                True,
            )
        why = (
            "\n".join([*lines, f"The longest time allowed is {_hours(expected)} hours."])
            if lines
            else ""
        )
        if is_new:
            self._tell("ETL run did not happen", why)
        return why

    def _late(self, warehouse: Database, since: datetime) -> tuple[list[str], bool]:
        """Return what was not loaded since a moment, and whether that was not yet told of one of
        them.
        """
        lines, is_new = [], False
        loads = RunHistory(warehouse).last_loads()
        for name in (etl.label for etl in self._project.etls if etl.active):
            last = loads.get(name)
            if last is None or last < since:
                lines.append(
                    f"{name} was {f'last loaded at {_minute(last)}' if last else 'never loaded'}"
                )
                is_new = RunStatus(warehouse).late(name, last) or is_new
        return lines, is_new

    def _tell(self, title: str, body: str) -> None:
        if not self._project.alerts:
            return
        from apprise import Apprise, NotifyFormat  # noqa: PLC0415 - see above

        # It would tell of its troubles on the screen, by the URL.
        logging.getLogger("apprise").addHandler(logging.NullHandler())
        told = Apprise()
        for url in self._project.alerts:
            told.add(url)
        # As text: where a message is HTML, Apprise then escapes what has a meaning there.
        if not told.notify(
            title=f"{title} ({socket.gethostname()})", body=body, body_format=NotifyFormat.TEXT
        ):
            self.undelivered.append(f"{title}: the alert could not be delivered everywhere")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _hours(length: timedelta) -> str:
    return f"{length.total_seconds() / 3600:g}"
