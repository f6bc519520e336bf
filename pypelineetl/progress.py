"""What a person sees of a run: a bar for each ETL on a terminal, plain lines elsewhere, and a closing table."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import singledispatchmethod
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pypelineetl import events
from pypelineetl.declare import ETL
from pypelineetl.events import Event

_FILE_WIDTH = 120


class Display:
    """A listener that shows a run on a console; a context manager that prints the closing table at its end."""

    def __init__(self) -> None:
        console = self._console = Console()
        if not console.is_terminal:
            console.width = _FILE_WIDTH
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[rows]:>12,} rows"),
            TimeElapsedColumn(),
            console=console,
        )
        self._live: AbstractContextManager[object] = self._bars if console.is_terminal else nullcontext()
        self._started: set[ETL] = set()
        self._tasks: dict[str, TaskID] = {}
        self._ended: list[events.EtlFinished | events.EtlFailed | events.EtlSkipped] = []
        self._tested: list[events.SourceTested] = []

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(*exception)  # type: ignore[arg-type] # the three arguments of every __exit__

    @singledispatchmethod
    def __call__(self, event: Event) -> None:
        """Show an event; the steps within an ETL are the log's to tell."""

    @__call__.register
    def _(self, event: events.SourceTested) -> None:
        self._tested.append(event)
        self._line(f"{_name(event.etl)}: source {'FAILED' if event.faults else 'ok'}")
        for text in (*event.faults, *event.warnings):
            self._line(f"    {text}")

    @__call__.register
    def _(self, event: events.EtlStarted) -> None:
        self._started.add(event.etl)
        if self._console.is_terminal:
            self._tasks[_name(event.etl)] = self._bars.add_task(_name(event.etl), total=None, rows=0)

    @__call__.register
    def _(self, event: events.RowsLoaded) -> None:
        if self._console.is_terminal:
            self._bars.update(self._tasks[_name(event.etl)], rows=event.rows)

    @__call__.register
    def _(self, event: events.TableDropped) -> None:
        if event.etl not in self._started:
            self._line(f"{_name(event.etl)}: table {event.etl.table} deleted")

    @__call__.register
    def _(self, event: events.EtlNoted) -> None:
        self._line(f"{_name(event.etl)}: {event.note}")

    @__call__.register
    def _(self, event: events.EtlFinished) -> None:
        self._ended.append(event)
        if self._console.is_terminal:
            task = self._tasks[_name(event.etl)]
            self._bars.update(task, total=event.counts.read, completed=event.counts.read, rows=event.counts.read)
        else:
            self._line(f"{_name(event.etl)}: {event.counts.read:,} rows in {_seconds(event.elapsed)} s")

    @__call__.register
    def _(self, event: events.EtlFailed) -> None:
        self._ended.append(event)
        if self._console.is_terminal:
            self._bars.stop_task(self._tasks[_name(event.etl)])
        where = " (the traceback is in run.log)" if event.details else ""
        self._line(f"{_name(event.etl)}: FAILED: {event.error}{where}")

    @__call__.register
    def _(self, event: events.EtlSkipped) -> None:
        self._ended.append(event)
        self._line(f"{_name(event.etl)}: did not run: {event.reason}")

    @__call__.register
    def _(self, event: events.RunWaiting) -> None:
        self._line(f"waiting: {event.why}")

    @__call__.register
    def _(self, event: events.RunRecovered) -> None:
        self._line(event.what)

    @__call__.register
    def _(self, event: events.RunFinished) -> None:
        # The bars end here, or they would be drawn below the table.
        self._bars.stop()
        if event.error:
            self._line(f"FAILED: {event.error}")
        if self._ended:
            self._console.print(self._table(event))
        elif failed := sum(bool(tested.faults) for tested in self._tested):
            self._line(f"{failed} of {len(self._tested)} source tests failed; nothing was changed.")

    def _line(self, text: str) -> None:
        # Not wrapped: a message cut by the width of a terminal nobody sees is hard to search for.
        self._console.print(escape(text), soft_wrap=True, highlight=False)

    def _table(self, run: events.RunFinished) -> Table:
        counted = [ended.counts for ended in self._ended if isinstance(ended, events.EtlFinished)]
        shown = {
            title: number
            for title, number in _NUMBERS.items()
            if title in _ALWAYS or any(number(counts) for counts in counted)
        }
        table = Table("ETL", "status", box=SIMPLE_HEAD)
        table.columns[0].no_wrap = True
        for title in (*shown, "seconds"):
            table.add_column(title, justify="right")
        for ended in self._ended:
            table.add_row(_name(ended.etl), *_cells(ended, shown.values()))
        status = "succeeded" if run.succeeded else "FAILED"
        table.caption = f"run {status} in {_seconds(run.elapsed)} s"
        return table


_ALWAYS = ("rows", "new", "updated", "unchanged")
_NUMBERS: Mapping[str, Callable[[events.Counts], int]] = {
    "rows": lambda counts: counts.read,
    "new": lambda counts: counts.inserted - counts.versions,
    "versions": lambda counts: counts.versions,
    "updated": lambda counts: counts.updated,
    "unchanged": lambda counts: counts.unchanged,
    "rejected": lambda counts: counts.rejected,
    "gone": lambda counts: counts.closed,
    "rekeyed": lambda counts: counts.rekeyed,
    "inferred": lambda counts: counts.inferred,
    "unknown": lambda counts: counts.unknown,
}


def _cells(
    ended: events.EtlFinished | events.EtlFailed | events.EtlSkipped,
    numbers: Iterable[Callable[[events.Counts], int]],
) -> tuple[str, ...]:
    if not isinstance(ended, events.EtlFinished):
        return ("FAILED" if isinstance(ended, events.EtlFailed) else "did not run",)
    return ("ok", *(f"{number(ended.counts):,}" for number in numbers), _seconds(ended.elapsed))


def _name(etl: ETL) -> str:
    return f"{etl.kind} {etl.name}"


def _seconds(elapsed: timedelta) -> str:
    return f"{elapsed.total_seconds():.2f}"
