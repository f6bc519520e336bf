"""A contestant: handwritten SQL for each work, which runs inside one server or file.

No rows pass a client. On MariaDB, source and warehouse are two databases of one server. A database
of PostgreSQL cannot read another one, so the tables of the source are copied into a schema of the
warehouse before the clock starts.
"""

from typing import Any

import duckdb
import psycopg
import pymysql
from sqlalchemy import make_url

from benchmarks.places import Place
from benchmarks.works import USER_ATTRIBUTES, Work
from pypelineetl.databases.scanner import extension

_EASTERN = {
    # The offset in hours, by time. MariaDB's time zones are tables that must be filled first.
    "mysql": (
        """
        CASE WHEN l.ordered_at < '2012-03-11 07:00:00' THEN -5
          WHEN l.ordered_at < '2012-11-04 06:00:00' THEN -4
             WHEN l.ordered_at < '2013-03-10 07:00:00' THEN -5
               WHEN l.ordered_at < '2013-11-03 06:00:00' THEN -4
             WHEN l.ordered_at < '2014-03-09 07:00:00' THEN -5
               WHEN l.ordered_at < '2014-11-02 06:00:00' THEN -4
             WHEN l.ordered_at < '2015-03-08 07:00:00' THEN -5
               WHEN l.ordered_at < '2015-11-01 06:00:00' THEN -4
             WHEN l.ordered_at < '2016-03-13 07:00:00' THEN -5
               WHEN l.ordered_at < '2016-11-06 06:00:00' THEN -4
             ELSE -5 END
    """
    ),
}
_LOCAL_DAY = {
    "mysql": f"DATE(l.ordered_at + INTERVAL {_EASTERN['mysql']} HOUR)",
    "postgresql": "CAST(l.ordered_at AT TIME ZONE 'UTC' AT TIME ZONE 'US/Eastern' AS DATE)",
    "sqlite_duckdb": "CAST(timezone('US/Eastern', timezone('UTC', l.ordered_at)) AS DATE)",
}


def load(work: Work, place: Place, connection: Any) -> None:
    """Do the work by SQL statements."""
    shop = f"`{make_url(place.source).database}`." if place.pair == "mysql" else "shop."
    run = connection.cursor().execute if place.pair == "mysql" else connection.execute
    statements = {
        "W1": _facts,
        "W4": _facts,
        "W2": _members,
        "W3": _versions,
        "W3N": _versions,
    }[work.name](work, place, shop)
    if place.is_file:
        # DuckDB's driver commits each statement unless a transaction has begun.
        run("BEGIN")
    for statement in statements:
        run(statement)
    connection.commit()


def connect(place: Place) -> Any:
    """Return a connection that can read the source and the warehouse, before the clock starts."""
    url = make_url(place.warehouse)
    if place.is_file:
        return _attached(place, str(url.database))
    access: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
    }
    if place.pair == "mysql":
        return pymysql.connect(**access, database=url.database)
    connection = psycopg.connect(**access, dbname=url.database, autocommit=True)
    connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")
    connection.execute("CREATE SCHEMA shop")
    with psycopg.connect(**access, dbname=make_url(place.source).database) as source:
        for table in ("users", "orders", "order_lines"):
            _copy_table(source, connection, table)
    connection.execute("ANALYZE")
    connection.autocommit = False
    return connection


def _attached(place: Place, path: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(path)
    connection.execute(f"LOAD '{extension('sqlite')}'")
    connection.execute(
        f"ATTACH '{make_url(place.source).database}' AS shop (TYPE sqlite, READ_ONLY)"
    )
    return connection


def _copy_table(source: Any, target: Any, table: str) -> None:
    """Copy a table of the source, with its primary key, into the schema `shop`."""
    columns = source.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        f" WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    ).fetchall()
    declared = ", ".join(f"{name} {kind}" for name, kind in columns)
    target.execute(f"CREATE TABLE shop.{table} ({declared})")
    key = "order_id, line_number" if table == "order_lines" else columns[0][0]
    with (
        source.cursor().copy(f"COPY {table} TO STDOUT") as given,
        target.cursor().copy(f"COPY shop.{table} FROM STDIN") as taken,
    ):
        for block in given:
            taken.write(block)
    target.execute(f"ALTER TABLE shop.{table} ADD PRIMARY KEY ({key})")


def _facts(work: Work, place: Place, shop: str) -> list[str]:
    query = work.query.replace("order_lines l", f"{shop}order_lines l").replace(
        "JOIN orders", f"JOIN {shop}orders"
    )
    return [
        f"""
        INSERT INTO sale_fact
        SELECT l.order_id, l.line_number, p.id, s.id, b.id, st.id, pay.id, d.id, ld.id,
          l.ordered_at, l.quantity,
               l.unit_price, l.discount
        FROM ({query}) l
        LEFT JOIN product_dim p ON p.number = l.product_id
        LEFT JOIN user_dim s ON s.number = l.seller_id
        LEFT JOIN user_dim b ON b.number = l.buyer_id
        LEFT JOIN store_dim st ON st.number = l.store_id
        LEFT JOIN payment_dim pay ON pay.number = l.payment_id
        LEFT JOIN date_dim d ON d.day = CAST(l.ordered_at AS DATE)
        LEFT JOIN date_dim ld ON ld.day = {_LOCAL_DAY[place.pair]}
        """
    ]


def _members(_work: Work, _place: Place, shop: str) -> list[str]:
    columns = ", ".join(USER_ATTRIBUTES)
    return [
        f"""
        INSERT INTO member_dim
        SELECT row_number() OVER (ORDER BY user_id), {columns} FROM {shop}users
        """
    ]


def _versions(_work: Work, place: Place, shop: str) -> list[str]:
    """Return the statements of a refresh, as an expert writes them.

    They store the changes in a temporary table, overwrite type-1 attributes, expire current
    versions and insert new ones.
    """
    followed = [name for name in USER_ATTRIBUTES if name not in {"user_id", "email", "username"}]
    same, no = ("<=>", "NOT ") if place.pair == "mysql" else ("IS DISTINCT FROM", "")
    differs = " OR ".join(f"{no}(u.{name} {same} v.{name})" for name in followed)
    overwrites = f"{no}(u.email {same} v.email) OR {no}(u.username {same} v.username)"
    columns = ", ".join(f"u.{name}" for name in USER_ATTRIBUTES)
    if place.pair == "mysql":
        overwrite = (
            "UPDATE version_dim v JOIN changed c USING (user_id) SET v.email = c.email, v.username"
            " = c.username"
        )
        close = (
            "UPDATE version_dim v JOIN changed c ON c.old_id = v.id SET v.valid_to = CURRENT_DATE"
            " WHERE c.begins"
        )
    else:
        overwrite = """
            UPDATE version_dim v SET email = c.email, username = c.username FROM changed c
              WHERE c.user_id = v.user_id
        """
        close = """
            UPDATE version_dim v SET valid_to = CURRENT_DATE FROM changed c
              WHERE c.old_id = v.id AND c.begins
        """
    return [
        "DROP TABLE IF EXISTS changed",
        f"""
        CREATE TEMPORARY TABLE changed AS
        SELECT {columns}, v.id AS old_id, v.version AS old_version, v.id IS NULL
          OR {differs} AS begins
        FROM {shop}users u LEFT JOIN version_dim v ON v.user_id = u.user_id AND v.valid_to IS NULL
        WHERE v.id IS NULL OR {differs} OR {overwrites}
        """,
        overwrite,
        close,
        f"""
        INSERT INTO version_dim
        SELECT m.most + row_number() OVER (ORDER BY user_id), {", ".join(USER_ATTRIBUTES)},
               CASE WHEN old_id IS NULL THEN DATE '1900-01-01' ELSE CURRENT_DATE END, NULL,
                 coalesce(old_version, 0) + 1
        FROM changed CROSS JOIN (SELECT MAX(id) AS most FROM version_dim) m WHERE begins
        """,
    ]
