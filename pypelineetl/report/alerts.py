"""Alerts by Apprise to the URLs in ALERTS: a run failed, succeeds again, or is overdue.

An alert that cannot be delivered does not change the run.
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
    """A listener that sends an alert if a run fails, or succeeds after a failure.

    As a context manager, it also sends an alert if an exception ends the block.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._etls: tuple[str, ...] = ()
        self._problems: list[str] = []
        self.undelivered: list[str] = []
        """The alerts that could not be delivered, as lines for run.log."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Send an alert if a run ends without an event, such as by a signal or its time limit."""
        if error and self._etls:
            self._send_failure(error_text(error))

    def __call__(self, event: Event) -> None:
        """Collect the errors of a run, and send them at its end.

        Source tests without a run send no alert.
        """
        match event:
            case events.RunStarted():
                self._etls = tuple(etl.label for etl in event.etls)
            case events.SourceTested(faults=problems):
                self._problems += [
                    f"source of {event.etl.label}: {problem}" for problem in problems
                ]
            case events.RunRecovered():
                self._problems.append(event.what)
            case events.RunRetried():
                self._problems.append(event.why)
            case events.EtlFailed():
                self._problems.append(f"{event.etl.label} failed: {event.error}")
            case events.EtlSkipped():
                self._problems.append(f"{event.etl.label} did not run: {event.reason}")
            # A run without ETLs only tested sources.
            case events.RunFinished() if self._etls:
                if event.succeeded:
                    self.went_well(self._etls)
                else:
                    self._send_failure(event.error)
                self._etls = ()

    def failed(self, reason: str) -> None:
        """Send an alert that a run failed. Lines of the reason after the first are indented."""
        self._send("ETL run failed", shown_lines(reason))

    def _send_failure(self, error: str) -> None:
        lines = filter(None, [*self._problems, error])
        self._send("ETL run failed", "\n".join(map(shown, lines)))

    def went_well(self, etls: Iterable[str]) -> None:
        """Send an alert if some ETLs of a successful run had failed the time before.

        Args:
            etls: The ETLs as `etl_run` has them, such as `fact sale`.
        """
        # Without ALERTS, the warehouse need not be asked.
        if not self._project.alerts:
            return
        try:
            with self._project.open_warehouse() as warehouse:
                # The last load of each is that of this run.
                before = [(name, RunHistory(warehouse).before_last(name)) for name in etls]
        except DatabaseError as error:
            self.undelivered.append(f"whether this run is a recovery is not known: {error.message}")
            return
        failed = [
            f"{name}, {record.status} at {_minute(record.started)}"
            for name, record in before
            if record and record.status != SUCCEEDED
        ]
        if failed:
            self._send("ETL runs go well again", "\n".join(["These are loaded again:", *failed]))

    def late(self) -> str | None:
        """Send an alert if ETLs were not loaded within LATE_AFTER_HOURS.

        An alert about an ETL is sent once. If the warehouse cannot be reached, each call sends an
        alert, because the warehouse cannot store that one was sent.

        Returns:
            The text of the alert; None if no ETL is overdue.
        """
        expected = self._project.late_after
        if expected is None:
            return None
        try:
            with self._project.open_warehouse() as warehouse:
                lines, is_new = self._late(warehouse, warehouse.clock() - expected)
        except DatabaseError as error:
            lines, is_new = (
                [shown(f"Whether the warehouse was loaded cannot be known: {error.message}")],
                True,
            )
        if not lines:
            return None
        why = "\n".join([*lines, f"The longest time allowed is {_hours(expected)} hours."])
        if is_new:
            self._send("ETL run did not happen", why)
        return why

    def _late(self, warehouse: Database, since: datetime) -> tuple[list[str], bool]:
        """Return a line for each ETL not loaded since a time, and whether one of them is new."""
        lines, is_new = [], False
        loads = RunHistory(warehouse).last_loads()
        for name in (etl.label for etl in self._project.etls if etl.active):
            last = loads.get(name)
            if last is None or last < since:
                lines.append(
                    f"{name} was {f'last loaded at {_minute(last)}' if last else 'never loaded'}"
                )
                # `late` comes first, as it must store each ETL even if an earlier one is new.
                is_new = RunStatus(warehouse).late(name, last) or is_new
        return lines, is_new

    def _send(self, title: str, body: str) -> None:
        if not self._project.alerts:
            return
        from apprise import Apprise, NotifyFormat  # noqa: PLC0415 - slow to import, and seldom needed

        # Without a handler, Apprise's errors would go to the screen, with the URL and its password.
        logging.getLogger("apprise").addHandler(logging.NullHandler())
        apprise = Apprise()
        for url in self._project.alerts:
            apprise.add(url)
        # For a service that takes HTML, Apprise escapes a body of the format TEXT.
        if not apprise.notify(
            title=f"{title} ({socket.gethostname()})", body=body, body_format=NotifyFormat.TEXT
        ):
            self.undelivered.append(f"{title}: the alert could not be delivered everywhere")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _hours(length: timedelta) -> str:
    return f"{length.total_seconds() / 3600:g}"
