"""A contestant that shows the limit: a client's output goes straight into the bulk loader.

The target is a table with the same columns. No key is looked up, and no value is checked.
"""

import sqlite3
import subprocess
from contextlib import closing
from typing import Any

from sqlalchemy import URL, make_url

from benchmarks.by_hand import connect
from benchmarks.places import Place
from benchmarks.works import Work


def load(work: Work, place: Place, connection: Any) -> None:
    """Load the rows of the source query into a new table `piped`."""
    query = " ".join(work.query.split())
    if place.is_file:
        for table in ("order_lines", "orders", "users"):
            query = query.replace(f"FROM {table}", f"FROM shop.{table}").replace(
                f"JOIN {table}", f"JOIN shop.{table}"
            )
        connection.execute(f"CREATE OR REPLACE TABLE piped AS {query}")
        return
    reading, writing = (
        _client(place, make_url(place.source)),
        _client(place, make_url(place.warehouse)),
    )
    if place.pair == "mysql":
        given = [*reading, "--quick", "--batch", "--skip-column-names", "--execute", query]
        taken = [
            *writing,
            "--local-infile=1",
            "--execute",
            "LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE piped",
        ]
    else:
        given = [*reading, "--command", f"COPY ({query}) TO STDOUT"]
        taken = [*writing, "--command", "COPY piped FROM STDIN"]
    with subprocess.Popen(given, stdout=subprocess.PIPE) as client:
        subprocess.run(taken, stdin=client.stdout, check=True, stdout=subprocess.DEVNULL)


def read(work: Work, place: Place) -> None:
    """Read the rows of the source query, and drop them."""
    query = " ".join(work.query.split())
    if place.is_file:
        with closing(sqlite3.connect(str(make_url(place.source).database))) as connection:
            for _ in connection.execute(query):
                pass
        return
    reading = _client(place, make_url(place.source))
    options = ["--quick", "--batch", "--execute", query]
    if place.pair == "postgresql":
        options = ["--command", f"COPY ({query}) TO STDOUT"]
    subprocess.run([*reading, *options], check=True, stdout=subprocess.DEVNULL)


def prepare(work: Work, place: Place) -> Any:
    """Create the table for the pipe, and return the connection that `load` needs, if any."""
    connection = connect(place) if place.is_file else None
    if place.is_file:
        return connection
    moment = "DATETIME" if place.pair == "mysql" else "TIMESTAMP"
    # For each work, the types of the columns of its source query.
    names = {
        "W1": (
            f"a INT, b INT, c INT, d INT, e INT, f INT, g INT, h {moment}, i INT, j DECIMAL(10,2),"
            " k DECIMAL(10,2)"
        ),
        "W2": (
            "a INT, b VARCHAR(40), c VARCHAR(60), d VARCHAR(30), e VARCHAR(30), f VARCHAR(30), g"
            " VARCHAR(20), h VARCHAR(20), i VARCHAR(50), j DATE, k DECIMAL(10,2), l INT"
        ),
    }
    columns = names["W1" if work.name in {"W1", "W4"} else "W2"]
    client = _client(place, make_url(place.warehouse))
    flag = "--execute" if place.pair == "mysql" else "--command"
    for statement in ("DROP TABLE IF EXISTS piped", f"CREATE TABLE piped ({columns})"):
        subprocess.run([*client, flag, statement], check=True, stdout=subprocess.DEVNULL)
    return None


def _client(place: Place, url: URL) -> list[str]:
    if place.pair == "mysql":
        access = [
            f"--host={url.host}",
            f"--port={url.port}",
            f"--user={url.username}",
            f"--password={url.password}",
        ]
        return ["mysql", *access, str(url.database)]
    return [
        "psql",
        "--quiet",
        "--no-psqlrc",
        url.set(drivername="postgresql").render_as_string(hide_password=False),
    ]
