"""What the warehouse remembers of its loads, in tables of its own: rejected rows, watermarks, surrogate keys given.

They are written in the transaction of the load they tell of, so that they are never ahead of the data or behind it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pypelineetl.columns import Column, columns_of
from pypelineetl.databases.base import Database
from pypelineetl.declare import ETL, Watermark
from pypelineetl.errors import LoadError
from pypelineetl.owntables import OwnTable, recorded
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


class History:
    """What one warehouse remembers; its tables are made when something is first written to them.

    Of what is rejected and how far a source is read, each generation of a table has its own rows.
    """

    def __init__(self, warehouse: Database, generation: str = LIVE) -> None:
        self._generation = generation
        self._quoted = warehouse.quoted
        self._rejects, self._watermarks, self._keys = (
            OwnTable(warehouse, name, _TABLES[name]) for name in (REJECTS, _WATERMARKS, _KEYS)
        )

    def reject_columns(self) -> list[Column]:
        """Return the columns of the table of rejects, which is made if need be."""
        self._rejects.ensure()
        return list(columns_of(self._rejects.create, written=MYSQL).values())

    def prepare(self, etl: ETL, *, rebuilds: bool) -> None:
        """Make the tables that a load of an ETL may write, before it writes anything: on MySQL that commits."""
        if etl.most_rejected > 0:
            self._rejects.ensure()
        if etl.watermark is not None:
            self._watermarks.ensure()
        if rebuilds:
            self._keys.ensure()

    def rejects(self, etl: ETL | None = None) -> list[Reject]:
        """Return the rows that wait for being loaded, of one ETL or of all, the oldest first."""
        if not self._rejects.is_there:
            return []
        names = self._quoted(("etl", "rejected_at", "reason", "given"))
        where = {"generation": self._generation} | ({"etl": name_of(etl)} if etl else {})
        found = self._rejects.query(names, where, "ORDER BY 1, 2, 4")
        return [
            Reject(name, recorded(rejected_at), reason, json.loads(given)) for name, rejected_at, reason, given in found
        ]

    def forget_rejects(self, etl: ETL) -> None:
        """Forget an ETL's rejected rows: its whole source is about to be read again."""
        if self._rejects.is_there:
            _forget(self._rejects, name_of(etl), self._generation)

    def watermarks(self, etl: ETL) -> Mapping[str, str]:
        """Return how far an ETL has read its source, by column; nothing if it never has."""
        if not self._watermarks.is_there:
            return {}
        where = {"etl": name_of(etl), "generation": self._generation}
        return dict(self._watermarks.query(self._quoted(("source_column", "reached")), where))

    def reach(self, etl: ETL, watermarks: Mapping[str, str]) -> None:
        """Remember how far an ETL has read its source."""
        for column, reached in watermarks.items():
            key = {"etl": name_of(etl), "source_column": column, "generation": self._generation}
            self._watermarks.put(key, {"reached": reached})

    def adopt(self, etl: str, generation: str, *, keep: str = "") -> None:
        """Take what another generation remembers of an ETL; what this one does is forgotten, or kept as `keep`."""
        for table in self._of_a_generation():
            if keep:
                _forget(table, etl, keep)
                table.change({"etl": etl, "generation": self._generation}, {"generation": keep})
            else:
                _forget(table, etl, self._generation)
            table.change({"etl": etl, "generation": generation}, {"generation": self._generation})

    def forget_generation(self) -> None:
        """Forget all that this generation remembers."""
        for table in self._of_a_generation():
            table.remove({"generation": self._generation})

    def largest_key(self, etl: ETL) -> int:
        """Return the largest surrogate key of a rebuilt table's earlier generations, 0 if there is none."""
        if not self._keys.is_there:
            return 0
        [(largest,)] = self._keys.query(f"MAX({self._quoted(['largest'])})", {"etl": name_of(etl)})
        return largest or 0

    def keep_largest_key(self, etl: ETL, largest: int) -> None:
        """Remember the largest surrogate key of a table that is about to be rebuilt, so that none is given twice."""
        self._keys.put({"etl": name_of(etl)}, {"largest": largest})

    def forget_keys(self) -> None:
        """Forget which surrogate keys were given."""
        if self._keys.is_there:
            self._keys.remove({})

    def _of_a_generation(self) -> list[OwnTable]:
        return [table for table in (self._rejects, self._watermarks) if table.is_there]


def _forget(table: OwnTable, etl: str, generation: str) -> None:
    where = {"etl": etl, "generation": generation}
    # A DELETE that finds nothing would still lock what is beside it on MySQL, where other loads may write.
    if table.query("1", where, "LIMIT 1"):
        table.remove(where)


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


def told(rejects: list[Reject]) -> Iterator[str]:
    """Yield a line for each rejected row."""
    for reject in rejects:
        values = ", ".join(f"{name}={value}" for name, value in reject.given.items())
        yield f"{reject.etl}  {reject.rejected_at:%Y-%m-%d %H:%M:%S}  {reject.reason}  ({values})"
