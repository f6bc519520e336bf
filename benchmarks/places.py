"""The places of the works: a source and a warehouse, with the same rows on every machine.

DuckDB generates the rows, and the bulk loader of each database loads them.
"""

import contextlib
import csv
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import servers
import sqlalchemy as sa
from servers import Server

PAIRS = ("mysql", "postgresql", "sqlite_duckdb")
USERS = 200_000
PRODUCTS = 20_000

# The queries with which DuckDB generates the source. There are half as many orders as {rows}, the
# order lines.
_ROWS = {
    "users": (
        f"""
        SELECT i::INT AS user_id, 'user_' || i AS username, 'user_' || i || '@example.org' AS email,
               'First' || (i % 5000) AS first_name, 'Last' || (i % 7000) AS last_name,
                 'City ' || (i % 997) AS city,
               'State ' || (i % 50) AS state, 'Country ' || (i % 20) AS country,
               CASE WHEN i % 7 = 0 THEN NULL ELSE 'School of number ' || (i % 1700) END AS school,
               DATE '1970-01-01' + (i % 12000)::INT AS born, ((i * 37 % 100000) / 100)::DECIMAL(10,
                 2) AS credit,
               (i % 100)::INT AS score
        FROM range(1, {USERS} + 1) AS numbers (i)
    """
    ),
    "orders": (
        f"""
        SELECT i::INT AS id, (i * 7919 % {USERS} + 1)::INT AS buyer_id,
          (i % 500 + 1)::INT AS store_id,
               (i % 10 + 1)::INT AS payment_id,
               TIMESTAMP '2012-01-01' + INTERVAL (i * 137 % 130000000) SECOND AS ordered_at
        FROM range(1, {{rows}} // 2 + 1) AS numbers (i)
    """
    ),
    "order_lines": (
        f"""
        SELECT (i // 2 + 1)::INT AS order_id, (i % 2 + 1)::INT AS line_number,
               (i * 31 % {PRODUCTS} + 1)::INT AS product_id,
                 (i * 17 % {USERS} + 1)::INT AS seller_id,
               (i % 5 + 1)::INT AS quantity, ((i % 9999) / 100)::DECIMAL(10, 2) AS unit_price,
               ((i % 100) / 100)::DECIMAL(10, 2) AS discount
        FROM range(0, {{rows}}) AS numbers (i)
    """
    ),
}
_COLUMNS = {
    "users": (
        """
        user_id INT PRIMARY KEY, username VARCHAR(40), email VARCHAR(60), first_name VARCHAR(30),
          last_name VARCHAR(30),
        city VARCHAR(30), state VARCHAR(20), country VARCHAR(20), school VARCHAR(50), born DATE,
          credit DECIMAL(10,2),
        score INT
    """
    ),
    "orders": "id INT PRIMARY KEY, buyer_id INT, store_id INT, payment_id INT, ordered_at {moment}",
    "order_lines": (
        """
        order_id INT, line_number INT, product_id INT, seller_id INT, quantity INT,
          unit_price DECIMAL(10,2),
        discount DECIMAL(10,2), PRIMARY KEY (order_id, line_number)
    """
    ),
}


@dataclass(frozen=True)
class Place:
    """A source and a warehouse of one pair, as SQLAlchemy URLs.

    `rows` is the number of order lines in the source.
    """

    pair: str
    source: str
    warehouse: str
    rows: int
    version: str

    @property
    def is_file(self) -> bool:
        """Whether both databases are files."""
        return self.pair == "sqlite_duckdb"


@contextlib.contextmanager
def open_place(pair: str, rows: int) -> Iterator[Place]:
    """Start the server of a pair in a temporary folder, and fill the source.

    At the end of the block, server and folder are removed.
    """
    with TemporaryDirectory(prefix="pypelineetl-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        if pair == "sqlite_duckdb":
            versions = f"SQLite {sqlite3.sqlite_version}"
            place = Place(
                pair,
                f"sqlite:///{folder}/source.db",
                f"duckdb:///{folder}/warehouse.duckdb",
                rows,
                versions,
            )
            _fill(place, folder)
            yield place
            return
        server = start_server(pair, folder)
        try:
            databases = servers.mariadb_database if pair == "mysql" else servers.postgresql_database
            with databases(server) as source, databases(server) as warehouse:
                place = Place(
                    pair, source, warehouse, rows, f"{server.name} {server.version.split()[0]}"
                )
                _fill(place, folder)
                yield place
        finally:
            server.stop()


def change_users(place: Place) -> None:
    """Change one user in a hundred, and add one for each two hundred.

    Half of the changes begin a new version.
    """
    columns = (
        "username, email, first_name, last_name, city, state, country, school, born, credit, score"
    )
    with sa.create_engine(place.source, poolclass=sa.NullPool).begin() as connection:

        def run(statement: str) -> None:
            connection.execute(sa.text(statement))

        run("UPDATE users SET city = 'Moved' WHERE user_id % 200 = 1")
        run("UPDATE users SET email = 'corrected@example.org' WHERE user_id % 200 = 2")
        run(
            # The ids of new users are beyond those of the generated ones.
            f"INSERT INTO users (user_id, {columns}) SELECT user_id + 1000000, {columns} FROM users"
            " WHERE user_id % 200 = 3 AND user_id < 1000000"
        )


def start_server(pair: str, folder: Path) -> Server:
    """Start the server of a pair, with enough memory for a benchmark."""
    if pair == "mysql":
        options = (
            "--innodb-buffer-pool-size=2G",
            "--innodb-log-file-size=512M",
            "--max-allowed-packet=64M",
        )
        return servers.start_mariadb(folder, *options)
    return servers.start_postgresql(folder)


def _fill(place: Place, folder: Path) -> None:
    engine = sa.create_engine(place.source, poolclass=sa.NullPool, connect_args=_local(place.pair))
    moment = "TIMESTAMP" if place.pair == "postgresql" else "DATETIME"
    for table, query in _ROWS.items():
        path = folder / f"{table}.csv"
        with duckdb.connect() as maker:
            target = (
                f"COPY ({query.format(rows=place.rows)}) TO '{path}' (HEADER false, NULLSTR '\\N',"
                " QUOTE '')"
            )
            maker.execute(target)
        path.chmod(0o644)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE TABLE {table} ({_COLUMNS[table].format(moment=moment)})"
            )
            load_file(place.pair, connection.connection.driver_connection, table, path)
        path.unlink()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(
            "ANALYZE TABLE users, orders, order_lines" if place.pair == "mysql" else "ANALYZE"
        )


@contextlib.contextmanager
def driver_at(pair: str, url: str) -> Iterator[Any]:
    """Give a driver's connection to the source of a pair, and commit at the end.

    The connection may load files of this machine.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=_local(pair))
    with engine.begin() as connection:
        yield connection.connection.driver_connection


def _local(pair: str) -> dict[str, Any]:
    return {"local_infile": True} if pair == "mysql" else {}


def load_file(pair: str, driver: Any, table: str, path: Path) -> None:
    """Load a CSV file with the bulk loader of a database, through a connection of its driver."""
    if pair == "mysql":
        quoted = "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"'"
        driver.cursor().execute(
            f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {table} CHARACTER SET utf8mb4 {quoted}"
        )
        return
    if pair == "postgresql":
        with (
            path.open("rb") as rows,
            driver.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv, NULL '\\N')") as copy,
        ):
            while block := rows.read(2**20):
                copy.write(block)
        return
    with path.open(newline="") as lines:
        rows_given = (
            [None if value == "\\N" else value for value in row] for row in csv.reader(lines)
        )
        # The first row shows how many columns the table has.
        first = next(rows_given)
        marks = ", ".join("?" * len(first))
        driver.execute(f"INSERT INTO {table} VALUES ({marks})", first)
        driver.executemany(f"INSERT INTO {table} VALUES ({marks})", rows_given)
