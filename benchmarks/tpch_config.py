"""The config module of a star over TPC-H: lineitem is the fact.

Parts, suppliers, orders and days are its dimensions. benchmarks/tpch.py sets the environment that
this module reads, and runs it as `run.py` runs config.py.
"""

import os
from datetime import date
from pathlib import Path

from pygrametl.tables import CachedDimension, FactTable

from pypelineetl import DimensionETL, FactETL, date_key, dates, factory, member

SOURCE_URLS = {"tpch": os.environ["TPCH_SOURCE_URL"]}
WAREHOUSE_URL = os.environ["TPCH_WAREHOUSE_URL"]
LOG_HOME = Path(os.environ["TPCH_LOG_HOME"])
MEMORY_LIMIT = os.environ.get("TPCH_MEMORY_LIMIT") or None

_LINES = os.environ.get("TPCH_LINES", "lineitem")
"""The table of the lines, in the order of their key or in random order."""
_GRAIN = ("order_number", "line_number") if os.environ.get("TPCH_GRAIN") else ()

_LINE_COLUMNS = [
    "order_number",
    "line_number",
    "part_fk",
    "supplier_fk",
    "order_fk",
    "ship_date_fk",
    "receipt_date_fk",
]
_MEASURES = [
    "quantity",
    "extended_price",
    "discount",
    "tax",
    "return_flag",
    "line_status",
    "ship_mode",
    "ship_instruction",
    "comment",
]


def _dimension(name: str, query: str, columns: str) -> DimensionETL:
    """Return a dimension whose natural key is the first column of the query."""
    names = [column.split()[0] for column in columns.split(";")]
    declared = ", ".join(column.strip() for column in columns.split(";"))
    table = f"{name}_dim"
    return DimensionETL(
        name,
        source=f"{query} ORDER BY {names[0]}",
        create=f"CREATE TABLE {table} (id INT PRIMARY KEY, {declared})",
        factory=factory(
            CachedDimension, name=table, key="id", attributes=names, lookupatts=names[:1]
        ),
    )


DIMENSIONS = [
    _dimension(
        "part",
        """
        SELECT p_partkey AS part_number, p_name AS name, p_mfgr AS maker, p_brand AS brand,
          p_type AS kind,
               p_size AS size, p_container AS container, p_retailprice AS retail_price
        FROM part
        """,
        "part_number INT NOT NULL; name VARCHAR(55); maker VARCHAR(25); brand VARCHAR(10); kind"
        " VARCHAR(25);size INT; container VARCHAR(10); retail_price DECIMAL(15,2)",
    ),
    _dimension(
        "supplier",
        """
        SELECT s_suppkey AS supplier_number, s_name AS name, s_address AS address, s_phone AS phone,
               s_acctbal AS balance
        FROM supplier
        """,
        "supplier_number INT NOT NULL; name VARCHAR(25); address VARCHAR(40); phone"
        " VARCHAR(15);balance DECIMAL(15,2)",
    ),
    # A large dimension: it has a quarter as many members as the fact has lines.
    _dimension(
        "order",
        """
        SELECT o.o_orderkey AS order_number, o.o_orderstatus AS status, o.o_orderdate AS ordered_on,
               o.o_orderpriority AS priority, o.o_totalprice AS total_price, c.c_name AS customer,
               c.c_mktsegment AS segment
        FROM orders o
        JOIN customer c ON c.c_custkey = o.o_custkey
        """,
        "order_number INT NOT NULL; status VARCHAR(1); ordered_on DATE; priority VARCHAR(15);"
        "total_price DECIMAL(15,2); customer VARCHAR(25); segment VARCHAR(10)",
    ),
    DimensionETL(
        "date",
        source=dates(date(1992, 1, 1), date(1998, 12, 31)),
        create=(
            "CREATE TABLE date_dim (id INT PRIMARY KEY, full_date DATE NOT NULL, year INT, month"
            " INT)"
        ),
        factory=factory(
            CachedDimension,
            name="date_dim",
            key="id",
            attributes=["full_date", "year", "month"],
            lookupatts=["full_date"],
        ),
    ),
]

FACTS = [
    FactETL(
        "line",
        source=f"""
            SELECT l_orderkey AS order_number, l_linenumber AS line_number, l_partkey, l_suppkey,
              l_shipdate,
                   l_receiptdate, l_quantity AS quantity, l_extendedprice AS extended_price,
                   l_discount AS discount, l_tax AS tax, l_returnflag AS return_flag,
                   l_linestatus AS line_status, l_shipmode AS ship_mode,
                     l_shipinstruct AS ship_instruction,
                   l_comment AS comment
            FROM {_LINES}
        """,
        create="""
            CREATE TABLE line_fact (
              order_number INT NOT NULL, line_number INT NOT NULL, part_fk INT NOT NULL,
                supplier_fk INT NOT NULL,
              order_fk INT NOT NULL, ship_date_fk INT NOT NULL, receipt_date_fk INT NOT NULL,
              quantity DECIMAL(15,2), extended_price DECIMAL(15,2), discount DECIMAL(15,2),
                tax DECIMAL(15,2),
              return_flag VARCHAR(1), line_status VARCHAR(1), ship_mode VARCHAR(10),
                ship_instruction VARCHAR(25),
              comment VARCHAR(44), PRIMARY KEY (order_number, line_number)
            )
        """,
        factory=factory(FactTable, name="line_fact", keyrefs=_LINE_COLUMNS, measures=_MEASURES),
        keys={
            "part_fk": member("part", part_number="l_partkey"),
            "supplier_fk": member("supplier", supplier_number="l_suppkey"),
            "order_fk": member("order", order_number="order_number"),
            "ship_date_fk": date_key("l_shipdate"),
            "receipt_date_fk": date_key("l_receiptdate"),
        },
        grain=_GRAIN,
    ),
]
