"""What the warehouse remembers of its loads, in tables of its own: rejected rows, watermarks, surrogate keys given.

They are written in the transaction of the load they tell of, so that they are never ahead of the data or behind it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pypelineetl import ddl
from pypelineetl.columns import Column, columns_of
from pypelineetl.databases.base import Database
from pypelineetl.databases.holding import adapted
from pypelineetl.declare import ETL, Watermark
from pypelineetl.errors import LoadError
from pypelineetl.values import MYSQL, moment

REJECTS = "etl_reject"
_WATERMARKS = "etl_watermark"
_KEYS = "etl_surrogate_key"
_TABLES: Mapping[str, str] = {
    REJECTS: f"""
        CREATE TABLE {REJECTS} (
          etl VARCHAR(130) NOT NULL, rejected_at DATETIME NOT NULL, reason LONGTEXT NOT NULL, given LONGTEXT NOT NULL,
          generation VARCHAR(8) NOT NULL, KEY by_etl (etl)
        )
    """,
    _WATERMARKS: f"""
        CREATE TABLE {_WATERMARKS} (
          etl VARCHAR(130) NOT NULL, source_column VARCHAR(130) NOT NULL, reached VARCHAR(60) NOT NULL,
          generation VARCHAR(8) NOT NULL, PRIMARY KEY (etl, source_column, generation)
        )
    """,
    _KEYS: f"CREATE TABLE {_KEYS} (etl VARCHAR(130) NOT NULL PRIMARY KEY, largest BIGINT NOT NULL)",
}


@dataclass(frozen=True)
class Reject:
    """A row that was not loaded: of which ETL, since when (UTC), why, and its values by source column, as texts."""

    etl: str
    rejected_at: datetime
    reason: str
    given: Mapping[str, str | None]


LIVE, PREVIOUS = "", "previous"
"""The generation that everyone sees, and the one before it if it is kept; others are being built."""
_OF_A_GENERATION = (REJECTS, _WATERMARKS)


class History:
    """What one warehouse remembers; its tables are made when something is first written to them.

    Of what is rejected and how far a source is read, each generation of a table has its own rows.
    """

    def __init__(self, warehouse: Database, generation: str = LIVE) -> None:
        self._warehouse = warehouse
        self._generation = generation

    def reject_columns(self) -> list[Column]:
        """Return the columns of the table of rejects, which is made if need be."""
        self._ensure(REJECTS)
        return list(columns_of(_TABLES[REJECTS], written=MYSQL).values())

    def prepare(self, etl: ETL, *, rebuilds: bool) -> None:
        """Make the tables that a load of an ETL may write, before it writes anything: on MySQL that commits."""
        wanted = {REJECTS: etl.most_rejected > 0, _WATERMARKS: etl.watermark is not None, _KEYS: rebuilds}
        for table in (table for table, is_wanted in wanted.items() if is_wanted):
            self._ensure(table)

    def rejects(self, etl: ETL | None = None) -> list[Reject]:
        """Return the rows that wait for being loaded, of one ETL or of all, the oldest first."""
        if not self._warehouse.columns(REJECTS):
            return []
        names = self._warehouse.quoted(("etl", "rejected_at", "reason", "given"))
        where = self._is("generation", *(["etl"] if etl else []))
        found = self._warehouse.query(
            f"SELECT {names} FROM {self._warehouse.quote(REJECTS)} WHERE {where} ORDER BY 1, 2, 4",
            (self._generation, *([name_of(etl)] if etl else [])),
        )
        return [Reject(name, _at(rejected_at), reason, json.loads(given)) for name, rejected_at, reason, given in found]

    def forget_rejects(self, etl: ETL) -> None:
        """Forget an ETL's rejected rows: its whole source is about to be read again."""
        if self._warehouse.columns(REJECTS):
            self._forget(REJECTS, name_of(etl), self._generation)

    def watermarks(self, etl: ETL) -> Mapping[str, str]:
        """Return how far an ETL has read its source, by column; nothing if it never has."""
        if not self._warehouse.columns(_WATERMARKS):
            return {}
        names = self._warehouse.quoted(("source_column", "reached"))
        query = f"SELECT {names} FROM {self._warehouse.quote(_WATERMARKS)} WHERE {self._is('etl', 'generation')}"
        return dict(self._warehouse.query(query, (name_of(etl), self._generation)))

    def reach(self, etl: ETL, watermarks: Mapping[str, str]) -> None:
        """Remember how far an ETL has read its source."""
        for column, reached in watermarks.items():
            key = {"etl": name_of(etl), "source_column": column, "generation": self._generation}
            self._put(_WATERMARKS, key, "reached", reached)

    def adopt(self, etl: str, generation: str, *, keep: str = "") -> None:
        """Take what another generation remembers of an ETL; what this one does is forgotten, or kept as `keep`."""
        for table in filter(self._warehouse.columns, _OF_A_GENERATION):
            changed = f"UPDATE {self._warehouse.quote(table)} SET {self._is('generation')}"
            where = f"WHERE {self._is('etl', 'generation')}"
            if keep:
                self._forget(table, etl, keep)
                self._change(f"{changed} {where}", keep, etl, self._generation)
            else:
                self._forget(table, etl, self._generation)
            self._change(f"{changed} {where}", self._generation, etl, generation)

    def forget_generation(self) -> None:
        """Forget all that this generation remembers."""
        for table in filter(self._warehouse.columns, _OF_A_GENERATION):
            where = self._is("generation")
            self._change(f"DELETE FROM {self._warehouse.quote(table)} WHERE {where}", self._generation)

    def _forget(self, table: str, etl: str, generation: str) -> None:
        name, where = self._warehouse.quote(table), self._is("etl", "generation")
        # A DELETE that finds nothing would still lock what is beside it on MySQL, where other loads may write.
        if self._warehouse.query(f"SELECT 1 FROM {name} WHERE {where} LIMIT 1", (etl, generation)):
            self._change(f"DELETE FROM {name} WHERE {where}", etl, generation)

    def largest_key(self, etl: ETL) -> int:
        """Return the largest surrogate key of a rebuilt table's earlier generations, 0 if there is none."""
        if not self._warehouse.columns(_KEYS):
            return 0
        query = f"SELECT MAX({self._warehouse.quote('largest')}) FROM {self._warehouse.quote(_KEYS)}"
        [(largest,)] = self._warehouse.query(f"{query} WHERE {self._is('etl')}", (name_of(etl),))
        return largest or 0

    def keep_largest_key(self, etl: ETL, largest: int) -> None:
        """Remember the largest surrogate key of a table that is about to be rebuilt, so that none is given twice."""
        self._put(_KEYS, {"etl": name_of(etl)}, "largest", largest)

    def forget_keys(self) -> None:
        """Forget which surrogate keys were given."""
        if self._warehouse.columns(_KEYS):
            self._warehouse.empty(_KEYS)

    def _ensure(self, table: str) -> None:
        statements = ddl.create_statements(_TABLES[table], written=MYSQL, target=self._warehouse.dialect)
        self._warehouse.ensure(table, statements)

    def _is(self, *names: str) -> str:
        return " AND ".join(f"{self._warehouse.quote(name)} = {self._warehouse.placeholder}" for name in names)

    def _put(self, table: str, key: Mapping[str, str], name: str, value: Any) -> None:
        """Set a row's value, or add the row. Locking no more than that row, loads side by side do not meet."""
        quote, mark = self._warehouse.quote, self._warehouse.placeholder
        where = f"WHERE {self._is(*key)}"
        if self._warehouse.query(f"SELECT 1 FROM {quote(table)} {where}", tuple(key.values())):
            self._change(f"UPDATE {quote(table)} SET {quote(name)} = {mark} {where}", value, *key.values())
            return
        names, marks = self._warehouse.quoted([*key, name]), ", ".join([mark] * (len(key) + 1))
        self._change(f"INSERT INTO {quote(table)} ({names}) VALUES ({marks})", *key.values(), value)

    def _change(self, statement: str, *values: Any) -> None:
        names = [str(at) for at in range(len(values))]
        self._warehouse.query(statement, adapted(self._warehouse.adapters, names, values))


def name_of(etl: ETL) -> str:
    """Return what an ETL is called in these tables, such as `fact product_sale`."""
    return f"{etl.kind} {etl.name}"


def beginning(watermark: Watermark, reached: str) -> str:
    """Return from where on a column is read that has been read so far: an overlap below that.

    Raises LoadError if the overlap is a length of time and the column holds no moments, or the other way round.
    """
    if not watermark.overlap:
        return reached
    if isinstance(watermark.overlap, timedelta):
        try:
            return (moment(reached) - watermark.overlap).isoformat(sep=" ")  # type: ignore[call-arg] # dates too
        except ValueError as error:
            message = f'the overlap of its watermark is a length of time, and it has read up to "{reached}"'
            raise LoadError(message) from error
    if not reached.lstrip("-").isdigit():
        message = f'the overlap of its watermark is a number, and it has read up to "{reached}"'
        raise LoadError(message)
    return str(int(reached) - watermark.overlap)


def _at(value: Any) -> datetime:
    found = moment(value)
    assert isinstance(found, datetime)  # noqa: S101 - we wrote it ourselves
    return found


def told(rejects: list[Reject]) -> Iterator[str]:
    """Yield a line for each rejected row."""
    for reject in rejects:
        values = ", ".join(f"{name}={value}" for name, value in reject.given.items())
        yield f"{reject.etl}  {reject.rejected_at:%Y-%m-%d %H:%M:%S}  {reject.reason}  ({values})"
