"""Decide which rejected rows of earlier loads still wait, when a load has read its source.

A row that is rejected again counts once. A row stops waiting when a row of its key is loaded.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.duck.arrow_types import arrow_type
from pypelineetl.duck.projection import as_json
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import duckdb_type
from pypelineetl.state.load_state import LoadState, Reject

_WAITING = "pypelineetl_waiting"
"""The DuckDB table of the keys of waiting rows."""

Key = tuple[Any, ...]
"""The values of a row's key; empty if the row has no key that can be cast."""


def key_columns(etl: ETL) -> tuple[str, ...]:
    """Return the source columns that identify a rejected row; empty if only all of them do."""
    if isinstance(etl, DimensionETL):
        return etl.factory.natural_key
    # A rejected row has no foreign keys, because the load had not looked them up yet.
    return etl.row_key if set(etl.row_key) <= set(etl.own) else ()


class WaitingRejects:
    """The rejected rows of one ETL that wait when a load begins."""

    def __init__(self, project: Project, etl: ETL, warehouse: Database, generation: str) -> None:
        self._state = LoadState(warehouse, generation)
        self._etl = etl
        self._columns = project.columns(etl)
        self._key_columns = key_columns(etl)
        self._rejects = self._state.rejects(etl) if etl.most_rejected else []
        self._keys = [self._cast_key(reject) for reject in self._rejects]
        self._accepted: set[Key] = set()
        self.superseded = 0
        """How many rows have stopped waiting, because a row of their key was loaded."""

    def accept(self, staged: StagedRows, rows: str) -> None:
        """Record the keys of the rows in a table of DuckDB as loaded."""
        keys = [key for key in self._keys if key]
        if not keys:
            return
        types = {}
        for name in self._key_columns:
            types[staged.names[name]] = duckdb_type(staged.columns[name])
        staged.session.declare(_WAITING, types)
        arrays = []
        for values, column_type in zip(zip(*keys, strict=True), types.values(), strict=True):
            arrays.append(pa.array(values, arrow_type(column_type)))
        staged.session.insert(_WAITING, pa.table(arrays, names=list(types)))
        # DuckDB compares the keys, because the loaded rows are never in Python.
        names = staged.quoted(self._key_columns)
        loaded = staged.session.rows(
            f"SELECT {names} FROM {_WAITING} SEMI JOIN {rows} USING ({names})"
        )
        self._accepted.update(loaded)

    def accept_keys(self, keys: Iterable[Key]) -> None:
        """Record the keys of rows as loaded."""
        if self._rejects:
            waiting = {key for key in self._keys if key}
            self._accepted |= waiting.intersection(keys)

    def settle(self, session: DuckSession, rejected: str) -> int:
        """Delete the waiting rows that this load has loaded, or has rejected again.

        Args:
            session: The DuckDB session of the load.
            rejected: The table of the rows that the load has rejected.

        Returns:
            How many of the rows that the load has rejected waited already.

        """
        if not self._rejects:
            return 0
        found = session.rows(f"SELECT __given FROM {rejected}")
        rejected_now = [self._text_key(json.loads(given)) for (given,) in found]
        rejected_again = set(rejected_now)
        kept, waited = [], set()
        for reject, key in zip(self._rejects, self._keys, strict=True):
            text = self._text_key(reject.given)
            waited.add(text)
            is_loaded = bool(key) and key in self._accepted
            self.superseded += is_loaded
            if not is_loaded and text not in rejected_again:
                kept.append(reject)
        # Most loads change nothing here, so they need not write.
        if len(kept) < len(self._rejects):
            self._state.replace_rejects(self._etl, kept)
        return sum(text in waited for text in rejected_now)

    def _cast_key(self, reject: Reject) -> Key:
        """Return the key of a waiting row in the types of its columns; empty if it has none."""
        # A rejected row keeps its values as texts.
        given = reject.given
        try:
            key = tuple(self._columns[name].cast(given.get(name)) for name in self._key_columns)
        except LoadError:
            return ()
        return () if None in key else key

    def _text_key(self, given: Mapping[str, Any]) -> str:
        """Return what identifies a rejected row as text: its key, or all of its values."""
        if not self._key_columns:
            return as_json(given)
        return as_json({name: given.get(name) for name in self._key_columns})
