"""Rejected rows that wait from earlier loads.

One that is read again counts once, one that is mended waits no more.
"""

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.duck.projection import arrow_type, as_json
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import duckdb_type
from pypelineetl.state.load_state import LoadState, Reject

_WAITING = "pypelineetl_waiting"

Key = tuple[Any, ...]


def key_columns(etl: ETL) -> tuple[str, ...]:
    """Return the columns by which a source row is known again.

    None if only the whole row tells it from others.
    """
    if isinstance(etl, DimensionETL):
        return etl.factory.natural_key
    # A foreign key that the load finds is not among the values of a rejected row.
    return etl.row_key if set(etl.row_key) <= set(etl.own) else ()


class WaitingRejects:
    """The rejected rows of one ETL that wait when a load begins."""

    def __init__(self, project: Project, etl: ETL, warehouse: Database, generation: str) -> None:
        self._history = LoadState(warehouse, generation)
        self._etl = etl
        self._columns = project.columns(etl)
        self._by = key_columns(etl)
        self._rejects = self._history.rejects(etl) if etl.most_rejected else []
        self._keys = [self._key_of(reject) for reject in self._rejects]
        self._accepted: set[Key] = set()
        self.superseded = 0
        """How many rows wait no more, since a row of their key is loaded."""

    def accept(self, staged: StagedRows, rows: str) -> None:
        """Note the keys of the rows in a table of DuckDB that are loaded."""
        keys = [key for key in self._keys if key]
        if not keys:
            return
        kinds = {staged.alias(name): duckdb_type(staged.columns[name]) for name in self._by}
        staged.session.declare(_WAITING, kinds)
        arrays = [
            pa.array(part, arrow_type(kind))
            for part, kind in zip(zip(*keys, strict=True), kinds.values(), strict=True)
        ]
        staged.session.insert(_WAITING, pa.table(arrays, names=list(kinds)))
        names = ", ".join(kinds)
        self._accepted |= set(
            staged.session.rows(f"SELECT {names} FROM {_WAITING} SEMI JOIN {rows} USING ({names})")
        )

    def accept_keys(self, keys: Iterable[Key]) -> None:
        """Note the keys of rows that are loaded."""
        if self._rejects:
            self._accepted |= set(keys).intersection(key for key in self._keys if key)

    def settle(self, session: DuckSession, rejected: str) -> int:
        """Let the rows go that are loaded or rejected anew.

        Return how many of those rejected now waited already.
        """
        if not self._rejects:
            return 0
        now = [self._key_in(given) for (given,) in session.rows(f"SELECT given FROM {rejected}")]
        again = set(now)
        texts = [self._text_key(reject) for reject in self._rejects]
        superseded = [bool(key) and key in self._accepted for key in self._keys]
        is_again = [text in again for text in texts]
        self.superseded = sum(superseded)
        kept = [
            reject
            for reject, is_loaded, is_read in zip(self._rejects, superseded, is_again, strict=True)
            if not (is_loaded or is_read)
        ]
        if len(kept) < len(self._rejects):
            self._history.replace_rejects(self._etl, kept)
        waiting = set(texts)
        return sum(text in waiting for text in now)

    def _key_of(self, reject: Reject) -> Key:
        """Return the key of a row that waits, in the types of its columns.

        Empty if it has none that fits.
        """
        try:
            key = tuple(self._columns[name].cast(reject.given.get(name)) for name in self._by)
        except LoadError:
            return ()
        return () if None in key else key

    def _text_key(self, reject: Reject) -> str:
        return as_json(
            {name: reject.given.get(name) for name in self._by} if self._by else reject.given
        )

    def _key_in(self, given: str) -> str:
        values = _values(given)
        return as_json({name: values.get(name) for name in self._by} if self._by else values)


def _values(given: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(given)
    return values
