"""Look up the foreign keys and lags of facts that are loaded row by row, a batch at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pypelineetl.declare.etls import DimensionETL, FactETL
from pypelineetl.duck.projection import ERROR_COLUMNS, arrays_with_errors
from pypelineetl.duck.rows import Row as Values
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts
from pypelineetl.load.context import Load
from pypelineetl.load.facts.fact_lookups import UNMATCHED, key_lookups
from pypelineetl.load.facts.inferred_members import infer_members

_BATCH = "pypelineetl_keyed"
"""The table of the batch in DuckDB. The column `__row` numbers its rows."""

FoundColumns = dict[str, Any]
"""The foreign keys and lags of one row, by column."""


class BatchKeys:
    """The foreign keys and lags of a fact's rows, which are looked up for each batch."""

    def __init__(
        self, load: Load, session: DuckSession, etl: FactETL, open_tables: ExitStack
    ) -> None:
        self.has_unmatched = False
        """Whether a batch had an unmatched key, where no row may be rejected."""
        self._load = load
        self._session = session
        self._etl = etl
        self._open_tables = open_tables
        self._lookups = key_lookups(session, load.project, load.warehouse, etl)
        self._requested = self._lookups.requested()
        # NULL stands for an unmatched key: the query must go on to find all of them.
        self._expressions = self._lookups.expressions("NULL")
        self._counts = Counter[str]()
        types = {"__row": "BIGINT"}
        for request in self._requested:
            types[request.name] = request.duckdb_type
        types |= ERROR_COLUMNS
        self._batch_columns = list(types)
        session.declare(_BATCH, types)

    def find(
        self, names: Sequence[str], batch: list[Values]
    ) -> Iterator[tuple[str | None, FoundColumns]]:
        """Yield for each row why it must be rejected, or None, and its foreign keys and lags.

        Args:
            names: The columns of the source.
            batch: The rows.

        Raises:
            LoadError: A value cannot be cast, and the ETL allows no rejected rows.

        """
        if not (self._etl.keys or self._etl.lags):
            for _ in batch:
                yield None, {}
            return
        self._fill(names, batch)
        # The joins below find inferred members only if these exist already.
        self._lookups.infer(_BATCH, self._infer)
        # If no row may be rejected, the load fails at its end, with all unmatched keys.
        if not self._etl.most_rejected:
            self._keep_unmatched()
        outcomes = self._lookups.outcomes()
        reason = f"coalesce(__source.__cast_error, {self._lookups.reason()})"
        selected = [reason, *outcomes.values(), *self._expressions.values()]
        rows = self._session.rows(
            f"""
            SELECT {", ".join(selected)}
            FROM {_BATCH} AS __source
            {self._lookups.joins()}
            ORDER BY __source.__row
            """
        )
        for rejected_for, *found in rows:
            counted, keys = found[: len(outcomes)], found[len(outcomes) :]
            self._counts.update(dict(zip(outcomes, counted, strict=True)))
            yield rejected_for, dict(zip(self._expressions, keys, strict=True))

    def counted(self, counts: Counts) -> Counts:
        """Return the counts of a load with those of its keys.

        Raises:
            LoadError: Natural keys match no member. The message names them for each key.

        """
        if self.has_unmatched:
            raise LoadError("; ".join(self._lookups.unmatched_messages()))
        return replace(counts, **self._counts)

    def _fill(self, names: Sequence[str], batch: list[Values]) -> None:
        """Fill DuckDB's table of the batch with what the lookups need of it."""
        columns = dict(zip(names, zip(*batch, strict=True), strict=True))
        numbers = pa.array(range(len(batch)), pa.int64())
        arrays = [numbers, *arrays_with_errors(columns, self._requested)]
        # The table was created once, because its columns never change.
        self._session.run(f"DELETE FROM {_BATCH}")
        self._session.insert(_BATCH, pa.table(arrays, names=self._batch_columns))
        if not self._etl.most_rejected:
            errors = self._session.rows(
                f"SELECT __cast_error FROM {_BATCH} WHERE __cast_error IS NOT NULL"
                " ORDER BY __row LIMIT 1"
            )
            if errors:
                raise LoadError(errors[0][0])

    def _keep_unmatched(self) -> None:
        """Keep the rows with an unmatched key, so that the message can name all such keys."""
        if not self._etl.keys:
            return
        query = self._lookups.unmatched_rows(f"SELECT * FROM {_BATCH}")
        if not self._session.number(f"SELECT count(*) FROM ({query})"):
            return
        if self.has_unmatched:
            self._session.run(f"INSERT INTO {UNMATCHED} {query}")
        else:
            self._session.keep(UNMATCHED, query)
        self.has_unmatched = True

    def _infer(self, dimension: DimensionETL, missing: Sequence[tuple[Any, ...]]) -> list[Any]:
        self._counts["inferred"] += len(missing)
        return infer_members(self._load, dimension, missing, self._open_tables)
