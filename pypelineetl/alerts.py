"""Telling people: that a run failed, that the next one went well again, and that one did not happen at all.

What is told goes to the URLs in `ALERTS`, by Apprise. A message that cannot be delivered changes nothing else.
"""

import logging
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from pypelineetl import events
from pypelineetl.events import Event
from pypelineetl.history import name_of
from pypelineetl.project import Project
from pypelineetl.runs import SUCCEEDED, Ledger, Record

_LOOKED_AT = 2_000  # records of the ledger


class Alerts:
    """A listener to the events of a run that tells of its failure, or that it went well again.

    `undelivered` are the messages that reached nobody.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._faults: list[str] = []
        self.undelivered: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        """Gather what went wrong, and tell it when the run is over."""
        match event:
            case events.SourceTested(faults=faults):
                self._faults += [f"source of {name_of(event.etl)}: {fault}" for fault in faults]
            case events.EtlFailed():
                self._faults.append(f"{name_of(event.etl)} failed: {event.error}")
            case events.EtlSkipped():
                self._faults.append(f"{name_of(event.etl)} did not run: {event.reason}")
            case events.RunFinished(succeeded=True):
                self.went_well()
            case events.RunFinished():
                self.failed("\n".join(filter(None, [*self._faults, event.error])))

    def failed(self, why: str) -> None:
        """Tell that a run failed."""
        self._tell("ETL run failed", why)

    def went_well(self) -> None:
        """Tell that a run went well, if the one before it did not."""
        if not self._project.alerts:
            return
        with self._project.open_warehouse() as warehouse:
            runs = _runs(Ledger(warehouse).records(limit=_LOOKED_AT))
        failed = [run for run in runs[1:] if not _succeeded(run)]
        if len(runs) > 1 and failed and failed[0] is runs[1]:
            since = f"{runs[1][0].started:%Y-%m-%d %H:%M} UTC"
            self._tell("ETL runs go well again", f"The run before, of {since}, had failed; this one succeeded.")

    def late(self) -> str:
        """Tell, once, that the whole star was last loaded longer ago than it should be; return that, if it is so."""
        expected = self._project.late_after
        if expected is None:
            return ""
        with self._project.open_warehouse() as warehouse:
            ledger = Ledger(warehouse)
            wanted = {name_of(etl) for etl in self._project.etls if etl.active}
            whole = [
                run
                for run in _runs(ledger.records(limit=_LOOKED_AT))
                if _succeeded(run) and wanted <= {record.etl for record in run}
            ]
            last = max((record.ended for record in whole[0] if record.ended), default=None) if whole else None
            if last and datetime.now(UTC).replace(tzinfo=None) - last <= expected:
                return ""
            when = f"was last loaded at {last:%Y-%m-%d %H:%M} UTC" if last else "was never loaded as a whole"
            why = f"The warehouse {when}, and is to be loaded every {_hours(expected)} hours."
            if ledger.note_late(whole[0][0].run_id if whole else "none"):
                self._tell("ETL run did not happen", why)
        return why

    def _tell(self, title: str, body: str) -> None:
        if not self._project.alerts:
            return
        from apprise import Apprise  # noqa: PLC0415 - costs a third of a second, and most runs have nothing to tell

        # It would tell of its troubles on the screen, by the URL.
        logging.getLogger("apprise").addHandler(logging.NullHandler())
        told = Apprise()
        for url in self._project.alerts:
            told.add(url)
        if not told.notify(title=f"{title} ({socket.gethostname()})", body=body):
            self.undelivered.append(f"{title}: the alert could not be delivered everywhere")


def _runs(records: Sequence[Record]) -> list[list[Record]]:
    """Return records by run, the latest first; those of runs side by side come mixed."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.run_id, []).append(record)
    return list(runs.values())


def _succeeded(run: Sequence[Record]) -> bool:
    return all(record.status == SUCCEEDED for record in run)


def _hours(length: timedelta) -> str:
    return f"{length.total_seconds() / 3600:g}"
