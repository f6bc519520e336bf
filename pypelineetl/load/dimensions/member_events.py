"""Read the events of a dated dimension into DuckDB, and write those that a load adds.

The dimension's own table does not show when its first version really began, nor when the source
confirmed a state. docs/history.md lists the rules that need these dates. `state/member_events.py`
has the table `etl_member_event`.
"""

from collections.abc import Mapping, Sequence

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import request_column
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.warehouse_rows import warehouse_rows
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.load.steps import Insert, Step
from pypelineetl.sql.sql_casts import literal
from pypelineetl.state.member_events import EVENTS, MemberEventTable
from pypelineetl.state.table_names import state_name

LATEST_EVENTS = "pypelineetl_latest_events"
"""The DuckDB table with the date of each version's latest event: `version_key`, `last_event`."""
KNOWN_EVENTS = "pypelineetl_known_events"
"""The DuckDB table with the events of some versions: `version_key`, `effective`, `event`."""
_EVENT_COLUMNS = ("version_key", "effective", "event")
# Each key is a placeholder, and SQLite before 3.32 takes 999 of them in one statement.
_KEYS_PER_STATEMENT = 500


def is_dated(load: Load, etl: DimensionETL) -> bool:
    """Return whether the source dates the states of a dimension, so that loads keep its events.

    That also needs a `fromatt` whose column takes dates, and surrogate keys that are numbers.
    """
    factory = etl.factory
    since, key = factory.name("fromatt"), factory.name("key")
    source_date = factory.read_by("fromfinder") or factory.name("srcdateatt")
    if not (factory.versioning and source_date and since and key):
        return False
    columns = load.project.columns(etl)
    return columns[since].is_moment and columns[key].is_whole


class MemberEvents:
    """The events of one dimension, in the generation of the table that the load writes."""

    def __init__(self, staged: StagedRows, etl: DimensionETL) -> None:
        self._staged = staged
        self._etl = etl
        self._table = MemberEventTable(staged.load.warehouse, staged.load.generation)

    def load_latest(self) -> None:
        """Read the date of each version's latest event into the table LATEST_EVENTS."""
        selected = {"version_key": "version_key", "last_event": "MAX(effective)"}
        self._read(LATEST_EVENTS, selected, "GROUP BY version_key")

    def load_events(self, keys: Sequence[int] | None) -> None:
        """Read events into the table KNOWN_EVENTS.

        Args:
            keys: The surrogate keys of the versions; None for all versions of the dimension.

        """
        condition = ""
        if keys is not None:
            # Without any key: IN () is an error, and IN (NULL) finds no row.
            listed = ", ".join(str(int(key)) for key in keys) or "NULL"
            condition = f"AND version_key IN ({listed})"
        self._read(KNOWN_EVENTS, dict(zip(_EVENT_COLUMNS, _EVENT_COLUMNS, strict=True)), condition)

    def write(self, events: str, rewritten: Sequence[int] = ()) -> None:
        """Insert events.

        Args:
            events: A DuckDB query with the columns `version_key`, `effective` and `event`.
            rewritten: The surrogate keys of versions whose earlier events are deleted first.

        """
        for first in range(0, len(rewritten), _KEYS_PER_STATEMENT):
            self._table.delete(self._etl, rewritten[first : first + _KEYS_PER_STATEMENT])
        self.perform(self.write_step("", "", events))

    def perform(self, step: Step) -> None:
        """Run a step that inserts events. The table is created if need be."""
        self._table.ensure()
        self._staged.load.warehouse.uncommitted.add(EVENTS)
        step.run(self._staged.session)

    def write_step(self, name: str, purpose: str, events: str) -> Insert:
        """Return the step that inserts events.

        Args:
            name: The name of the step.
            purpose: What it is for.
            events: As for `write`.

        """
        state, generation = state_name(self._etl.live_table), self._staged.load.generation
        query = f"""
            SELECT {literal(state)}, version_key, effective, event, {literal(generation)}
            FROM ({events})
        """
        columns, bulk = self._table.table.declared_columns(), self._staged.load.warehouse.bulk
        return Insert(name, purpose, query, bulk, EVENTS, columns)

    def _read(self, table: str, selected: Mapping[str, str], rest: str) -> None:
        """Read the dimension's events into a DuckDB table.

        Args:
            table: The name of the DuckDB table.
            selected: The columns of the DuckDB table, each with its expression in the warehouse.
            rest: SQL that follows the condition.

        """
        columns = {column.name: column for column in self._table.columns()}
        # `last_event` is the largest `effective`, so it has the same type.
        columns["last_event"] = columns["effective"]
        requested = [request_column(name, name, columns[name]) for name in selected]
        expressions = ", ".join(f"{expression} AS {name}" for name, expression in selected.items())
        query = self._table.select(self._etl, expressions, rest)
        session = self._staged.session
        rows = warehouse_rows(self._staged.load, session, EVENTS, query)
        session.keep(table, rows.select(requested, f"{table}_given"))
