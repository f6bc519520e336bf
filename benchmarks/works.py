"""The works: what to load, declared once for the engine, and as SQL for the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from pygrametl.tables import CachedDimension, FactTable, SlowlyChangingDimension

from benchmarks.places import PRODUCTS, USERS, Place
from pypelineetl import DimensionETL, FactETL, date_key, factory, member, read_project, rows
from pypelineetl.project.project import Project

USER_ATTRIBUTES = [
    "user_id",
    "username",
    "email",
    "first_name",
    "last_name",
    "city",
    "state",
    "country",
    "school",
    "born",
    "credit",
    "score",
]
_USER_COLUMNS = """
    user_id INT, username VARCHAR(40), email VARCHAR(60), first_name VARCHAR(30),
      last_name VARCHAR(30),
    city VARCHAR(30), state VARCHAR(20), country VARCHAR(20), school VARCHAR(50), born DATE,
      credit DECIMAL(10,2),
    score INT
"""
USERS_QUERY = f"SELECT {', '.join(USER_ATTRIBUTES)} FROM users ORDER BY user_id"
SALES_QUERY = """
    SELECT l.order_id, l.line_number, l.product_id, l.seller_id, o.buyer_id, o.store_id,
      o.payment_id, o.ordered_at,
           l.quantity, l.unit_price, l.discount
    FROM order_lines l
    JOIN orders o ON o.id = l.order_id
"""
SALE_KEYREFS = [
    "order_id",
    "line_number",
    "product_fk",
    "seller_fk",
    "buyer_fk",
    "store_fk",
    "payment_fk",
    "date_fk",
    "local_date_fk",
    "ordered_at",
]
SALE_MEASURES = ["quantity", "unit_price", "discount"]
VERSIONED = {
    "attributes": [*USER_ATTRIBUTES, "valid_from", "valid_to", "version"],
    "lookupatts": ["user_id"],
    "fromatt": "valid_from",
    "toatt": "valid_to",
    "versionatt": "version",
    "type1atts": ["email", "username"],
}
NEW_ROWS = 20_000  # of W4
FIRST_DAY, DAYS = date(2011, 12, 30), 2_195


def numbered(count: int, first: int) -> Any:
    """Return the members of a dimension that has only keys.

    Natural keys begin at 1, surrogate keys at `first`.
    """
    return pa.table({"id": range(first, first + count), "number": range(1, count + 1)})


def days() -> Iterator[dict[str, Any]]:
    """Yield the days of the date dimension, with keys of the form yyyymmdd."""
    for number in range(DAYS):
        day = FIRST_DAY + timedelta(days=number)
        yield {"id": int(f"{day:%Y%m%d}"), "day": day}


def _numbered(name: str, count: int, first: int) -> DimensionETL:
    table = f"{name}_dim"
    made = factory(
        CachedDimension, name=table, key="id", attributes=["number"], lookupatts=["number"]
    )
    create = f"CREATE TABLE {table} (id INT PRIMARY KEY, number INT, KEY by_number (number))"
    return DimensionETL(
        name, source=rows(numbered, count=count, first=first), create=create, factory=made
    )


DIMENSIONS = (
    _numbered("product", PRODUCTS, 5),
    _numbered("user", USERS, 7),
    _numbered("store", 500, 9),
    _numbered("payment", 10, 11),
    DimensionETL(
        "date",
        source=rows(days),
        create="CREATE TABLE date_dim (id INT PRIMARY KEY, day DATE, KEY by_day (day))",
        factory=factory(
            CachedDimension, name="date_dim", key="id", attributes=["day"], lookupatts=["day"]
        ),
    ),
)
_SALE: dict[str, Any] = {
    "create": (
        """
        CREATE TABLE sale_fact (
          order_id INT, line_number INT, product_fk INT, seller_fk INT, buyer_fk INT, store_fk INT,
            payment_fk INT,
          date_fk INT, local_date_fk INT, ordered_at DATETIME, quantity INT,
            unit_price DECIMAL(10,2),
          discount DECIMAL(10,2)
        )
    """
    ),
    "factory": factory(FactTable, name="sale_fact", keyrefs=SALE_KEYREFS, measures=SALE_MEASURES),
    "keys": {
        "product_fk": member("product", number="product_id"),
        "seller_fk": member("user", number="seller_id"),
        "buyer_fk": member("user", number="buyer_id"),
        "store_fk": member("store", number="store_id"),
        "payment_fk": member("payment", number="payment_id"),
        "date_fk": date_key("ordered_at"),
        "local_date_fk": date_key("ordered_at", tz="US/Eastern"),
    },
}
_MEMBER = DimensionETL(
    "member",
    source=USERS_QUERY,
    create=f"CREATE TABLE member_dim (id INT PRIMARY KEY, {_USER_COLUMNS})",
    factory=factory(
        CachedDimension,
        name="member_dim",
        key="id",
        attributes=USER_ATTRIBUTES,
        lookupatts=["user_id"],
    ),
)
_VERSION = DimensionETL(
    "version",
    source=USERS_QUERY,
    create=f"""
        CREATE TABLE version_dim (
          id INT PRIMARY KEY, {_USER_COLUMNS}, valid_from DATE, valid_to DATE, version INT,
            KEY by_user (user_id)
        )
    """,
    factory=factory(SlowlyChangingDimension, name="version_dim", key="id", **VERSIONED),
)


@dataclass(frozen=True)
class First:
    """The first rows of a work.

    They are the number of rows, their query, and the condition that selects them in the loaded
    table.
    """

    rows: int
    query: str
    condition: str


@dataclass(frozen=True)
class Work:
    """One work: its ETL, its source query and its control sums.

    `rebuilds` is true if the work begins with an empty table.
    """

    name: str
    etl: DimensionETL | FactETL
    rebuilds: bool
    query: str
    control: str
    """The sums over the loaded table, in which all contestants must agree."""

    def rows(self, place: Place) -> int:
        """Return the number of source rows that the work loads."""
        if self.name == "W1":
            return place.rows
        if self.name == "W4":
            return min(NEW_ROWS, place.rows)
        # W3 and W3N come after `change_users`, which adds one user for each two hundred.
        return USERS if self.name == "W2" else USERS + USERS // 200

    def first(self, rows: int, place: Place) -> First:
        """Return the first `rows` of the source.

        The lines of a fact need not be in order.
        """
        if self.name not in {"W1", "W4"}:
            return First(rows, self.query, f"user_id <= {rows}")
        before = _before_newest(place) if self.name == "W4" else 0
        last = before + rows // 2
        word = "AND" if self.name == "W4" else "WHERE"
        return First(
            rows,
            f"{self.query} {word} l.order_id <= {last}",
            f"order_id > {before} AND order_id <= {last}",
        )


# The foreign keys and the measures.
_SALE_SUMS = ", ".join(f"SUM({name})" for name in SALE_KEYREFS[2:9] + SALE_MEASURES)
_USER_SUMS = "SUM(user_id), SUM(score), SUM(credit), COUNT(school)"


def _before_newest(place: Place) -> int:
    """Return the last order that is loaded before W4; each order has two lines."""
    return max(0, place.rows - NEW_ROWS) // 2


def work_of(name: str, place: Place) -> Work:
    """Return a work by its name, for the rows of a place."""
    if name in {"W1", "W4"}:
        query = SALES_QUERY + (
            f"WHERE l.order_id > {_before_newest(place)}" if name == "W4" else ""
        )
        grain = ("order_id", "line_number") if name == "W4" else ()
        return Work(
            name,
            FactETL("sale", source=query, grain=grain, **_SALE),
            name == "W1",
            query,
            _SALE_SUMS,
        )
    if name == "W2":
        return Work(
            name, _MEMBER, rebuilds=True, query=USERS_QUERY, control=_USER_SUMS + ", SUM(id)"
        )
    current = ", SUM(CASE WHEN valid_to IS NULL THEN 1 ELSE 0 END), SUM(version)"
    return Work(name, _VERSION, rebuilds=False, query=USERS_QUERY, control=_USER_SUMS + current)


WORKS = ("W1", "W2", "W3", "W3N", "W4")


def project_of(place: Place, *etls: DimensionETL | FactETL) -> Project:
    """Return the project of these ETLs, with the dimensions of the star."""
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": place.source},
        WAREHOUSE_URL=place.warehouse,
        LOG_HOME=Path(),
        DIMENSIONS=[*DIMENSIONS, *(etl for etl in etls if etl.kind == "dimension")],
        FACTS=[etl for etl in etls if etl.kind == "fact"],
    )
    return read_project(config)
