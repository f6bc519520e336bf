"""The events of a dated dimension's versions, in the library's own table: read for a load, and
written by it.

The table of the dimension alone does not tell when its first version really began, nor when the
source confirmed a state; docs/history.md says what needs it.
"""

from collections.abc import Mapping, Sequence

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection, request_column
from pypelineetl.load.context import Load
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.sql.sql_casts import literal
from pypelineetl.state.member_events import EVENTS, MemberEventTable
from pypelineetl.state.table_names import state_name

TOLD = "pypelineetl_told"
"""The latest event of each version, as columns `version_key` and `told`, in DuckDB."""
LOGGED = "pypelineetl_logged"
"""The events of some versions, as columns `version_key`, `effective` and `event`, in DuckDB."""
_KEYS_PER_STATEMENT = 500


def is_dated(load: Load, etl: DimensionETL) -> bool:
    """Return whether the source dates the states of a type-2 dimension, so that its events are
    kept.
    """
    factory, since = etl.factory, etl.factory.name("fromatt")
    dated = factory.read_by("fromfinder") or factory.name("srcdateatt")
    columns = load.project.columns(etl)
    key = factory.name("key")
    has_moments = bool(since and columns[since].is_moment)
    return bool(factory.versioning and dated and has_moments and key and columns[key].is_whole)


class MemberEvents:
    """The events of one dimension's versions, those of the generation that a load writes."""

    def __init__(self, staged: StagedRows, etl: DimensionETL) -> None:
        self._staged = staged
        self._etl = etl
        self._table = MemberEventTable(staged.load.warehouse, staged.load.generation)

    def load_latest(self) -> None:
        """Bring the latest event of each version to DuckDB."""
        selected = {"version_key": "version_key", "told": "MAX(effective)"}
        self._bring(TOLD, selected, "GROUP BY version_key")

    def bring(self, keys: Sequence[int] | None) -> None:
        """Bring the events of these versions to DuckDB, those of all versions if there are no keys
        given.
        """
        some = (
            ""
            if keys is None
            else f" AND version_key IN ({', '.join(str(int(key)) for key in keys) or 'NULL'})"
        )
        self._bring(LOGGED, {name: name for name in ("version_key", "effective", "event")}, some)

    def write(self, events: str, rewritten: Sequence[int] = ()) -> None:
        """Add the events that a query of DuckDB gives: version_key, effective, event.

        Those that the versions with a key in `rewritten` had are removed before.
        """
        warehouse = self._staged.load.warehouse
        columns = self._table.columns()
        for first in range(0, len(rewritten), _KEYS_PER_STATEMENT):
            self._table.delete(self._etl, rewritten[first : first + _KEYS_PER_STATEMENT])
        name, generation = (
            literal(state_name(self._etl.live_table)),
            literal(self._staged.load.generation),
        )
        query = f"SELECT {name}, version_key, effective, event, {generation} FROM ({events})"
        warehouse.uncommitted.add(EVENTS)
        warehouse.bulk_insert(EVENTS, columns, self._staged.session, query)

    def _bring(self, name: str, selected: Mapping[str, str], rest: str) -> None:
        """Bring the results of expressions, by their names in DuckDB.

        `rest` is what follows in the statement.
        """
        columns = {column.name: column for column in self._table.columns()}
        columns["told"] = columns["effective"]
        requested = [request_column(each, each, columns[each]) for each in selected]
        expressions = ", ".join(f"{expression} AS {each}" for each, expression in selected.items())
        query = self._table.select(self._etl, expressions, rest)
        staged, warehouse = self._staged, self._staged.load.warehouse
        scanned = warehouse.scanned_here(
            staged.session, staged.load.project.warehouse_url, EVENTS, query
        )
        given = Projection(staged.session, scanned, lambda: warehouse.stream(query))
        staged.session.keep(name, given.select(requested, f"{name}_given"))
