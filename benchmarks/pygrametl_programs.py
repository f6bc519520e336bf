"""The contestants that are written with pygrametl: row by row, and with its bulk classes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pygrametl
import pymysql
from pygrametl.tables import (
    BulkFactTable,
    CachedBulkDimension,
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
)
from pymysql.cursors import SSCursor
from sqlalchemy import make_url

from benchmarks.places import Place
from benchmarks.works import SALE_KEYREFS, SALE_MEASURES, USER_ATTRIBUTES, VERSIONED, First, Work

ROW_BY_ROW = {"mysql": 100_000, "postgresql": 100_000, "sqlite_duckdb": 10_000}
"""The most rows that the row-by-row program loads, because a million would take minutes.

Filling its caches is a part of its time. With fewer rows it would be most of it, which would
flatter the other contestants.
"""

_EASTERN = ZoneInfo("US/Eastern")
_LOOKUPS = {
    "product_fk": ("product", "product_id"),
    "seller_fk": ("user", "seller_id"),
    "buyer_fk": ("user", "buyer_id"),
    "store_fk": ("store", "store_id"),
    "payment_fk": ("payment", "payment_id"),
}


def load_by_row(work: Work, place: Place) -> None:
    """Do the work row by row, for the first rows of the source."""
    first = first_rows(work, place)
    _run(replace(work, query=first.query), place, by_bulk=False, rows=first.rows)


def first_rows(work: Work, place: Place) -> First:
    """Return the rows of a work that the row-by-row program loads."""
    return work.first(min(ROW_BY_ROW[place.pair], work.rows(place)), place)


def load_by_bulk(work: Work, place: Place) -> None:
    """Do the work with pygrametl's bulk classes.

    For versions, it has no bulk class. Then the caches are filled before.
    """
    _run(work, place, by_bulk=True, rows=None)


def _run(work: Work, place: Place, *, by_bulk: bool, rows: int | None) -> None:
    with (
        closing(_connect(place, place.source)) as source,
        closing(_connect(place, place.warehouse)) as target,
    ):
        wrapper = _wrapped(place, target)
        given = islice(_rows(place, source, work.query), rows)
        if work.name in {"W1", "W4"}:
            _load_facts(place, target, wrapper, given, by_bulk=by_bulk)
        elif work.name == "W2":
            _load_members(place, target, wrapper, given, by_bulk=by_bulk)
        else:
            _load_versions(wrapper, given, by_bulk=by_bulk)
        wrapper.commit()


def _connect(place: Place, text: str) -> Any:
    url = make_url(text)
    if url.drivername == "sqlite":
        # As a float, no amount would equal that of the warehouse, and each member would get a new
        # version.
        sqlite3.register_converter("DECIMAL", lambda text: Decimal(text.decode()))
        return sqlite3.connect(str(url.database), detect_types=sqlite3.PARSE_DECLTYPES)
    if url.drivername == "duckdb":
        return duckdb.connect(str(url.database))
    access: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
    }
    if place.pair == "mysql":
        return pymysql.connect(**access, database=url.database, local_infile=True)
    return psycopg.connect(**access, dbname=url.database)


def _wrapped(place: Place, target: Any) -> Any:
    if not place.is_file:
        return pygrametl.ConnectionWrapper(target)
    target.begin()
    # In DuckDB, cursor() returns another connection.
    same: Any = SimpleNamespace(cursor=lambda: target, commit=target.commit, close=lambda: None)
    return pygrametl.ConnectionWrapper(same, paramstyle="qmark")


def _rows(place: Place, source: Any, query: str) -> Iterator[dict[str, Any]]:
    cursor = {
        # Other cursors of these two drivers read the whole result into memory first.
        "mysql": lambda: source.cursor(SSCursor),
        "postgresql": lambda: source.cursor(name="rows"),
        "sqlite_duckdb": source.cursor,
    }[place.pair]()
    cursor.execute(query)
    fetch = partial(cursor.fetchmany, 5_000)
    batch = fetch()
    names = [column[0] for column in cursor.description]
    while batch:
        for values in batch:
            yield dict(zip(names, values, strict=True))
        batch = fetch()


def _load_facts(
    place: Place, target: Any, wrapper: Any, rows: Iterator[dict[str, Any]], *, by_bulk: bool
) -> None:
    lookups = {
        name: CachedDimension(
            name=f"{name}_dim",
            key="id",
            attributes=["day" if name == "date" else "number"],
            prefill=True,
            size=0,
            targetconnection=wrapper,
        )
        for name in ("product", "user", "store", "payment", "date")
    }
    if by_bulk:
        bulk = {"bulkloader": partial(_load_file, place, target), **_file_format(place)}
        facts = BulkFactTable(
            name="sale_fact", keyrefs=SALE_KEYREFS, measures=SALE_MEASURES, **bulk
        )
    else:
        facts = FactTable(
            name="sale_fact", keyrefs=SALE_KEYREFS, measures=SALE_MEASURES, targetconnection=wrapper
        )
    for row in rows:
        for column, (dimension, natural_key) in _LOOKUPS.items():
            row[column] = lookups[dimension].lookup({"number": row[natural_key]})
        at = _moment(row["ordered_at"])
        row["date_fk"] = lookups["date"].lookup({"day": at.date()})
        local = at.replace(tzinfo=UTC).astimezone(_EASTERN)
        row["local_date_fk"] = lookups["date"].lookup({"day": local.date()})
        facts.insert(row)
    facts.endload()


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _load_members(
    place: Place, target: Any, wrapper: Any, rows: Iterator[dict[str, Any]], *, by_bulk: bool
) -> None:
    arguments: dict[str, Any] = {
        "name": "member_dim",
        "key": "id",
        "attributes": USER_ATTRIBUTES,
        "lookupatts": ["user_id"],
        "targetconnection": wrapper,
    }
    if by_bulk:
        bulk = {"bulkloader": partial(_load_file, place, target), **_file_format(place)}
        members = CachedBulkDimension(**arguments, **bulk, cachesize=-1, bulksize=500_000)
    else:
        members = CachedDimension(**arguments, prefill=True, size=0)
    for row in rows:
        members.ensure(row)
    members.endload()


def _load_versions(wrapper: Any, rows: Iterator[dict[str, Any]], *, by_bulk: bool) -> None:
    caches: Any = {"cachesize": -1, "prefill": True} if by_bulk else {}
    arguments: Any = {
        **VERSIONED,
        **caches,
        "minfrom": date(1900, 1, 1),
        "targetconnection": wrapper,
    }
    table = SlowlyChangingDimension(name="version_dim", key="id", **arguments)
    for row in rows:
        table.scdensure(row)


def _file_format(place: Place) -> dict[str, Any]:
    null = {"mysql": "\\N", "postgresql": "\\N", "sqlite_duckdb": "\\N"}[place.pair]
    return {
        "fieldsep": "\t",
        "rowsep": "\n",
        "nullsubst": null,
        "usefilename": place.pair != "postgresql",
    }


def _load_file(place: Place, target: Any, name: str, columns: Any, *rest: Any) -> None:
    file, names = rest[-1], ", ".join(columns)
    if place.pair == "mysql":
        target.cursor().execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {name} ({names})")
    elif place.pair == "postgresql":
        with target.cursor().copy(f"COPY {name} ({names}) FROM STDIN") as copy:
            while block := file.read(2**18):
                copy.write(block)
    else:
        read = (
            f"read_csv('{file}', header = false, delim = '\t', nullstr = '\\N', all_varchar = true)"
        )
        target.execute(f"INSERT INTO {name} ({names}) SELECT * FROM {read}")
