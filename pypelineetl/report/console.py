"""A run on the console: a progress bar for each ETL, plain lines in a file, and a final table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pypelineetl import events
from pypelineetl.events import Event
from pypelineetl.report.terminal import shown

if TYPE_CHECKING:
    from pypelineetl.declare.etls import ETL

# The width in a file or a pipe. Only a terminal has a width of its own.
_FILE_WIDTH = 120


class Display:
    """A listener that shows a run on the console.

    As a context manager, it draws the progress bars while the block runs.

    Args:
        width: The width of a line in characters; by default that of the terminal.
    """

    def __init__(self, width: int | None = None) -> None:
        console = self._console = Console(width=width)
        if width is None and not console.is_terminal:
            console.width = _FILE_WIDTH
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[rows]:>12,} rows"),
            TimeElapsedColumn(),
            console=console,
        )
        self._live: AbstractContextManager[object] = (
            self._bars if console.is_terminal else nullcontext()
        )
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
        """Show an event. The steps within an ETL are in run.log only."""

    @__call__.register
    def _(self, event: events.SourceTested) -> None:
        self._tested.append(event)
        self._line(f"{event.etl.label}: source {'FAILED' if event.faults else 'ok'}")
        for text in (*event.faults, *event.warnings):
            self._line(f"    {text}")

    @__call__.register
    def _(self, event: events.EtlStarted) -> None:
        self._started.add(event.etl)
        if self._console.is_terminal:
            self._tasks[event.etl.label] = self._bars.add_task(
                escape(event.etl.label), total=None, rows=0
            )

    @__call__.register
    def _(self, event: events.RowsLoaded) -> None:
        if self._console.is_terminal:
            self._bars.update(self._tasks[event.etl.label], rows=event.rows)

    @__call__.register
    def _(self, event: events.TableDropped) -> None:
        if event.etl not in self._started:
            self._line(f"{event.etl.label}: table {event.etl.table} deleted")

    @__call__.register
    def _(self, event: events.EtlNoted) -> None:
        self._line(f"{event.etl.label}: {event.note}")

    @__call__.register
    def _(self, event: events.EtlFinished) -> None:
        self._ended.append(event)
        if self._console.is_terminal:
            task = self._tasks[event.etl.label]
            self._bars.update(
                task, total=event.counts.read, completed=event.counts.read, rows=event.counts.read
            )
        else:
            self._line(
                f"{event.etl.label}: {event.counts.read:,} rows in {_seconds(event.elapsed)} s"
            )

    @__call__.register
    def _(self, event: events.EtlFailed) -> None:
        self._ended.append(event)
        if self._console.is_terminal:
            self._bars.stop_task(self._tasks[event.etl.label])
        where = " (the traceback is in run.log)" if event.details else ""
        self._line(f"{event.etl.label}: FAILED: {event.error}{where}")

    @__call__.register
    def _(self, event: events.EtlSkipped) -> None:
        self._ended.append(event)
        self._line(f"{event.etl.label}: did not run: {event.reason}")

    @__call__.register
    def _(self, event: events.RunWaiting) -> None:
        self._line(f"waiting: {event.why}")

    @__call__.register
    def _(self, event: events.RunRetried) -> None:
        self._line(event.why)

    @__call__.register
    def _(self, event: events.RunRecovered) -> None:
        self._line(event.what)

    @__call__.register
    def _(self, event: events.RunFinished) -> None:
        # Stop the bars first, or they would be drawn below the table.
        self._bars.stop()
        if event.error:
            self._line(f"FAILED: {event.error}")
        if self._ended:
            self._close(event)
        # A source test failed, so no ETL was loaded.
        elif failed := sum(bool(tested.faults) for tested in self._tested):
            self._line(f"{failed} of {len(self._tested)} source tests failed; nothing was changed.")

    def _line(self, text: str) -> None:
        # Not wrapped, because a message in several lines is hard to search for.
        self._console.print(Text(shown(text)), soft_wrap=True)

    def _close(self, run: events.RunFinished) -> None:
        """Print the final table, or a line for each ETL if the table is wider than the console.

        Rich would cut numbers to make a table fit.
        """
        counted = [ended.counts for ended in self._ended if isinstance(ended, events.EtlFinished)]
        numbers = {
            title: number
            for title, number in _NUMBERS.items()
            if title in _ALWAYS or any(number(counts) for counts in counted)
        }
        rows = {ended.etl.label: _cells(ended, numbers.values()) for ended in self._ended}
        status = f"run {'succeeded' if run.succeeded else 'FAILED'} in {_seconds(run.elapsed)} s"
        table = _table([*numbers, "seconds"], rows, status)
        unbound = self._console.options.update(width=_UNBOUND)
        if Measurement.get(self._console, unbound, table).minimum <= self._console.width:
            self._console.print(table)
            return
        for name, (outcome, *cells) in rows.items():
            # A failed ETL has no cells.
            titles = [*numbers, "seconds"]
            figures = [f"{title} {cell}" for title, cell in zip(titles, cells, strict=False)]
            self._line(f"{name}: {', '.join([outcome, *figures])}")
        self._line(status)


# Wider than any table, to measure how wide one is without the limit of the console.
_UNBOUND = 10_000
# These columns are always shown, and the others only if one of the ETLs has such rows.
_ALWAYS = ("rows", "new", "updated", "unchanged")
_NUMBERS: Mapping[str, Callable[[events.Counts], int]] = {
    "rows": lambda counts: counts.read,
    # A new version is an inserted row as well, but it has a column of its own.
    "new": lambda counts: counts.inserted - counts.versions,
    "versions": lambda counts: counts.versions,
    "updated": lambda counts: counts.updated,
    "unchanged": lambda counts: counts.unchanged,
    "rejected": lambda counts: counts.rejected,
    "deleted": lambda counts: counts.closed,
    "rekeyed": lambda counts: counts.rekeyed,
    "inferred": lambda counts: counts.inferred,
    "unknown": lambda counts: counts.unknown,
}


def _table(titles: Sequence[str], rows: Mapping[str, Sequence[str]], caption: str) -> Table:
    table = Table("ETL", "status", box=SIMPLE_HEAD, caption=caption)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(escape(name), *cells)
    return table


def _cells(
    ended: events.EtlFinished | events.EtlFailed | events.EtlSkipped,
    numbers: Iterable[Callable[[events.Counts], int]],
) -> tuple[str, ...]:
    if not isinstance(ended, events.EtlFinished):
        return ("FAILED" if isinstance(ended, events.EtlFailed) else "did not run",)
    return ("ok", *(f"{number(ended.counts):,}" for number in numbers), _seconds(ended.elapsed))


def _seconds(elapsed: timedelta) -> str:
    return f"{elapsed.total_seconds():.2f}"
