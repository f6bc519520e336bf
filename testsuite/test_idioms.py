"""SQL in MySQL's dialect gives the same rows on every database, or is refused.

A real MariaDB gives the expected rows, and `idioms.txt` has the idioms. The rows of the tables t
and o are edge cases: NULL, negative numbers, zero, halves that are rounded, empty texts, non-ASCII
letters, ends of months and years, midnight.
"""

import random
import re
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import duckdb
import pytest
from expressions import any_expression

from pypelineetl import DatabaseError, DialectError
from pypelineetl.databases import open_database, parse_url
from pypelineetl.databases.base import Database
from pypelineetl.databases.sqlite import SQLite
from pypelineetl.duck.session import DuckSession, open_duck_session
from pypelineetl.errors import PypeLineError
from pypelineetl.sql import attached, dialect
from pypelineetl.sql.translation import formats, functions
from pypelineetl.sql.translation.calls.aggregates import AGGREGATES
from pypelineetl.sql.translation.calls.windows import WINDOW_FUNCTIONS
from pypelineetl.sql.translation.handlers import FUNCTION_CALLS
from pypelineetl.sql.translation.listing import listing

ROOT = Path(__file__).parent.parent
IDIOMS = ROOT / "testsuite" / "idioms.txt"
COLUMNS = {
    "t": (
        "id INT NOT NULL PRIMARY KEY, n INT, m INT, s VARCHAR(60), u VARCHAR(60), x DECIMAL(12,3),"
        " f {double}, d DATE, dt {datetime}, b {boolean}, c CHAR(6), j JSON, ns VARCHAR(60)"
    ),
    "o": "id INT NOT NULL PRIMARY KEY, t_id INT, st VARCHAR(10), amt DECIMAL(10,2), at_ {datetime}",
}
TYPES = {
    "mysql": {"double": "DOUBLE", "datetime": "DATETIME", "boolean": "TINYINT(1)"},
    "postgres": {"double": "DOUBLE PRECISION", "datetime": "TIMESTAMP", "boolean": "BOOLEAN"},
    "duckdb": {"double": "DOUBLE", "datetime": "TIMESTAMP", "boolean": "BOOLEAN"},
    "sqlite": {"double": "DOUBLE", "datetime": "DATETIME", "boolean": "BOOLEAN"},
}
NAMES = ("n", "m", "s", "u", "x", "f", "d", "dt", "b", "c", "j", "ns")
BY_HAND: list[dict[str, Any]] = [
    {
        "n": 7,
        "s": "abc7",
        "u": "Zoë日",
        "x": "2.565",
        "f": 0.5,
        "d": "2024-02-05",
        "dt": "2024-02-05 23:30:15",
    }
    | {"b": 1, "c": "ab", "j": '{"a": 1, "b": "x", "c": null, "d": [1,2]}', "ns": "10"},
    {
        "n": -7,
        "m": 2,
        "s": "ABC7",
        "u": "É",
        "x": "-2.565",
        "f": -0.5,
        "d": "2024-02-29",
        "dt": "2024-02-29 00:00:00",
    }
    | {"b": 0, "c": "ab ", "j": '{"a": 1.50, "b": "10", "e": true}', "ns": "9"},
    {
        "n": 0,
        "m": 3,
        "s": "",
        "u": "ß",
        "x": "0.000",
        "f": 1e20,
        "d": "2023-12-31",
        "dt": "2023-12-31 12:00:00",
    }
    | {"b": 1, "c": "", "j": "{}", "ns": ""},
    {},
    {"n": 10, "m": 5, "s": "a%b_c\\d", "u": "it's", "x": "1234567.891", "f": 2.5, "d": "2025-01-01"}
    | {"dt": "2025-01-01 08:05:09", "b": 0, "c": "x", "j": "[10, 20]", "ns": "1e3"},
    {"n": 2147483647, "m": -2, "s": "abc ", "u": "abc", "x": "99.995", "f": 3.5, "d": "1969-12-31"}
    | {"dt": "1969-12-31 23:59:59", "b": 1, "c": "X", "j": '"str"', "ns": " 12abc"},
]
ORDERS = [
    (1, 1, "new", "10.00", "2024-02-05 10:00:00"),
    (2, 1, "Paid", "2.50", "2024-02-05 11:00:00"),
    (3, 2, "NEW", "7.25", "2024-03-01 00:00:00"),
    (4, 9, None, "1.00", None),
    (5, 3, "paid", None, "2024-12-31 23:59:59"),
    (6, 6, "paid", "6.00", "2025-01-01 00:00:00"),
]
EDGES = {
    "x": (
        "0.005 -0.005 0.015 2.5 -2.5 0.045 -0.045 1.005 999999999.999 -999999999.999 0.001 -0.001"
        " 10 100.1 7.125 33.333 -33.335 0.5 -0.5 1.5 -1.5 0.049 0.050"
    ),
    "f": (
        "0.0 1e-10 -1e-10 123456.789 1e15 -1e15 0.1 0.2 0.30000000000000004 0.3333333333333333"
        " 2.675 1000000000.5"
    ),
    "d": (
        "2024-01-31 2023-02-28 2024-02-29 2024-03-31 2024-10-27 2024-11-30 2000-02-29 1900-03-01"
        " 1582-10-10 1000-01-01 9999-12-31 2100-02-28 1970-01-01 2038-01-19 2024-06-01 2024-05-31"
        " 0999-05-05"
    ),
}
TEXTS = [
    "  lead",
    "trail  ",
    "tab\there",
    "quo'te",
    '"dq"',
    "back\\slash",
    "😀 emoji",
    "née",
    "STRASSE",
    "straße",
]
TEXTS += [
    "ΣΑΣ",
    "İstanbul",
    "Ærø",
    "a.b.c.d",
    "..",
    "a,,b",
    "-12",
    "+5x",
    "0012",
    "%",
    "_",
    "100%_\\",
    "line\nbreak",
]
TEXTS += ["ŽLUŤOUČKÝ", "київ", "日本語テキスト", "-", "x" * 40, " ", "12.5", ".5"]
PLACES = ("postgres", "duckdb", "sqlite")
SCANNED = "sqlite by duckdb"


def _section(name: str) -> list[str]:
    _, _, rest = IDIOMS.read_text().partition(f"[{name}]\n")
    lines, _, _ = rest.partition("\n\n")
    return [line for line in lines.splitlines() if not line.startswith("#")]


def _rows() -> Iterator[dict[str, Any]]:
    """Yield the rows of t.

    They are the rows by hand, days around each year's end, ends of months, numbers, and texts.
    """
    chosen = random.Random(7)
    yield from BY_HAND
    for year in range(2005, 2030):
        for day in (
            "01-01",
            "01-02",
            "01-03",
            "01-04",
            "01-07",
            "01-08",
            "12-28",
            "12-29",
            "12-30",
            "12-31",
        ):
            time = f"{chosen.randrange(24):02}:{chosen.randrange(60):02}:{chosen.randrange(60):02}"
            yield {
                "d": f"{year}-{day}",
                "dt": f"{year}-{day} {time}",
                "n": chosen.randrange(-40, 40),
                "m": year % 9,
            }
    for day in EDGES["d"].split():
        for time in ("00:00:00", "02:30:00", "11:59:59", "12:00:00", "12:30:00", "23:59:59"):
            number = chosen.randrange(-2_000_000_000, 2_000_000_000)
            yield {
                "d": day,
                "dt": f"{day} {time}",
                "n": number,
                "m": chosen.randrange(-3, 5),
                "b": number % 2,
            }
    for decimal in EDGES["x"].split():
        yield {
            "x": decimal,
            "f": float(decimal),
            "n": chosen.randrange(-(10**6), 10**6),
            "m": chosen.randrange(-7, 17),
        }
    for double in EDGES["f"].split():
        yield {"f": float(double), "x": "1.000", "n": 1, "m": 3}
    for text in TEXTS:
        yield {"s": text, "u": text[::-1], "ns": text, "n": len(text), "m": 2}


_EXPECTED: dict[str, list[tuple[Any, ...]]] = {}
"""What MariaDB has answered, by the query."""


@dataclass(frozen=True)
class Asked:
    """A MariaDB and another database with the same tables."""

    mariadb: Database
    other: Database
    url: str
    session: DuckSession | None = None
    """The DuckDB session that reads SQLite's tables, if DuckDB computes the query."""

    def expected(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what MariaDB answers. It answers once for all databases: the rows are the same."""
        if sql not in _EXPECTED:
            _EXPECTED[sql] = _answers(self.mariadb, sql)
        return _EXPECTED[sql]

    def translation(self, sql: str) -> tuple[str, tuple[str, ...]]:
        """Return the query for the other database, and the texts that it compares."""
        target = self.other.dialect
        found = dialect.translate(
            sql, sql_dialect="mysql", target=target, schema=self.other.catalog.column_types
        )
        return found.sql, found.folded

    def found(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what the other database answers; its query is prepared as a load prepares it."""
        if self.session:
            return self._computed_by_duckdb(sql)
        query, _ = self.translation(sql)
        if self.other.dialect == "duckdb":
            [(name,)] = self.other.query("SELECT current_database()")
            query = attached.add_catalog(query, dialect="duckdb", catalog=name)
        return _answers(self.other, query)

    def _computed_by_duckdb(self, sql: str) -> list[tuple[Any, ...]]:
        assert self.session
        query, _ = self.translation(sql)
        scanned = SQLite.scanner.scan(self.session, parse_url(self.url), query, sql)
        if scanned is None:
            raise DialectError("SQLite computes it itself")  # noqa: EM101, TRY003 - only this test sees it
        rows = self.session.connection.execute(f"SELECT * FROM {scanned.relation}").fetchall()
        return [tuple(map(_plain, row)) for row in rows]


@pytest.fixture(scope="module", params=[*PLACES, SCANNED])
def asked(
    request: pytest.FixtureRequest, mariadb: Any, postgresql: Any, tmp_path_factory: Any
) -> Iterator[Asked]:
    """MariaDB and one other database, with the same rows in both."""
    import servers  # noqa: PLC0415 - a module of the tests

    folder = tmp_path_factory.mktemp("idioms")
    with (
        servers.mariadb_database(mariadb) as truth_url,
        servers.postgresql_database(postgresql) as postgresql_url,
    ):
        urls = {
            "postgres": postgresql_url,
            "duckdb": f"duckdb:///{folder}/idioms.duckdb",
            "sqlite": f"sqlite:///{folder}/idioms.db",
            SCANNED: f"sqlite:///{folder}/scanned.db",
        }
        with (
            open_database(parse_url(truth_url), read_only=False) as truth,
            open_database(parse_url(urls[request.param]), read_only=False) as other,
        ):
            for each in (truth, other):
                with each.transaction():
                    _fill(each)
            with open_duck_session(None) if request.param == SCANNED else nullcontext() as session:
                yield Asked(truth, other, urls[request.param], session)


def _fill(database: Database) -> None:
    spoken = database.dialect
    for table, columns in COLUMNS.items():
        database.execute(f"CREATE TABLE {table} ({columns.format(**TYPES[spoken])})")
    filled = [
        (number, *(_held(name, row.get(name), spoken) for name in NAMES))
        for number, row in _numbered()
    ]
    for table, rows in (("t", filled), ("o", ORDERS)):
        places = ", ".join([database.placeholder] * len(rows[0]))
        for row in rows:
            database.query(f"INSERT INTO {table} VALUES ({places})", row)


def _numbered() -> Iterator[tuple[int, dict[str, Any]]]:
    yield from enumerate(_rows(), start=1)


def _held(name: str, value: Any, spoken: str) -> Any:
    if name == "b" and value is not None and spoken == "postgres":
        return bool(value)
    if name == "c" and value is not None and spoken == "duckdb":
        # DuckDB has no CHAR(n): its texts keep the blanks at their end.
        return value.rstrip(" ")
    return value


def _answers(database: Database, sql: str) -> list[tuple[Any, ...]]:
    # A query that fails must not end the next ones.
    with database.transaction():
        return [tuple(map(_plain, row)) for row in database.query(sql)]


def _plain(value: Any) -> Any:
    """Return a value in one form for all databases: numbers as numbers, everything else as text."""
    if isinstance(value, int | Decimal):
        return Decimal(value) + 0
    return value if value is None or isinstance(value, float) else str(value)


def _are_alike(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float | Decimal):
        # The last digits of a floating-point number depend on the order in which others were added.
        return f"{found + 0:.12g}" == f"{expected + 0:.12g}"
    if isinstance(expected, Decimal) and isinstance(found, float | str):
        # SQLite has a decimal as a number, or as a text if it has too many digits for one.
        with suppress(InvalidOperation):
            return Decimal(str(found)) == expected
    return bool(found == expected)


def _query(idiom: str) -> str:
    return (
        idiom
        if idiom.startswith(("SELECT", "WITH", "(SELECT"))
        else f"SELECT id, {idiom} AS v FROM t ORDER BY id"
    )


def _sorting(row: tuple[Any, ...]) -> list[str]:
    """Return a sort key that orders the rows of each database alike, whatever its number type."""
    shown = []
    for value in row:
        try:
            shown.append(f"{float(value):.9g}")
        except (TypeError, ValueError):
            shown.append(str(value))
    return shown


def _is_ordered(sql: str) -> bool:
    """Return whether a query has an ORDER BY outside all parentheses."""
    before, _, _ = sql.rpartition("ORDER BY")
    return bool(before) and before.count("(") == before.count(")")


def _difference(asked: Asked, idiom: str) -> str:
    """Return the difference between two answers, or an empty text if they are the same."""
    sql = _query(idiom)
    expected, found = asked.expected(sql), asked.found(sql)
    if not _is_ordered(sql):
        expected, found = sorted(expected, key=_sorting), sorted(found, key=_sorting)
    if len(expected) != len(found):
        return f"{idiom}: {len(found)} rows, and not {len(expected)}"
    for one, other in zip(expected, found, strict=True):
        if not all(map(_are_alike, other, one)):
            return f"{idiom}: {other}, and not {one}"
    return ""


def _answer(asked: Asked, idiom: str) -> str | None:
    """Return the difference between two answers, or an empty text if they are the same.

    Return None if DuckDB cannot compute the query and SQLite does.
    """
    if asked.session is None:
        return _difference(asked, idiom)
    try:
        return _difference(asked, idiom)
    except (DialectError, duckdb.Error):
        return None


def test_what_is_let_through_gives_the_same_rows(asked: Asked) -> None:
    """Each idiom of the section "equal" gives the same rows on each database as on MariaDB."""
    idioms = _section("equal")
    assert len(idioms) > 250
    answers = [_answer(asked, idiom) for idiom in idioms]
    assert [difference for difference in answers if difference] == []
    # Where DuckDB cannot compute with SQLite's tables, SQLite itself does.
    assert answers.count(None) <= (len(answers) // 4 if asked.session else 0)


def test_what_mysql_cuts_is_an_error_elsewhere(asked: Asked) -> None:
    """Where MySQL truncates a value that is too large, another database may fail instead.

    An answer that it does give must be the same.
    """
    for idiom in _section("loud"):
        try:
            found = _difference(asked, idiom)
        except (DatabaseError, duckdb.Error) as error:
            found = "" if re.search("range|overflow|onver", str(error)) else str(error)
        assert found == "", idiom


def test_texts_are_ordered_as_the_database_does(asked: Asked) -> None:
    """A query that sorts by texts gives the same rows on each database.

    Their order depends on the database's collation, so it is not compared.
    """
    for idiom in _section("ordered"):
        assert sorted(asked.expected(idiom)) == sorted(asked.found(idiom)), idiom


def test_texts_that_are_compared_are_reported(asked: Asked) -> None:
    """The translation of a query reports the texts that it compares.

    Which texts are equal depends on the database's collation.
    """
    for idiom in _section("reported"):
        _, folded = asked.translation(_query(idiom))
        assert folded, idiom


def test_what_is_not_proved_is_refused_with_its_place(asked: Asked) -> None:
    """SQL without a proven translation is refused, even if the other database would run it."""
    for idiom in _section("refused"):
        with pytest.raises(DialectError, match="has no translation"):
            asked.translation(_query(idiom))


@pytest.mark.parametrize("seed", range(4))
def test_any_expression_gives_the_same_or_is_refused(asked: Asked, seed: int) -> None:
    """Random nested expressions give the same rows as on MariaDB, or an error."""
    drawn = random.Random(seed)
    answers = []
    for _ in range(60):
        # Refused SQL, or a value out of the other database's range, is not a wrong answer.
        with suppress(PypeLineError, duckdb.Error):
            answers.append(_difference(asked, any_expression(drawn)))
    assert [difference for difference in answers if difference] == []
    # If almost every expression was refused, the test would prove nothing.
    assert len(answers) > 40


COMMON = [
    "SELECT id, id + 1 AS v, -n AS w FROM t WHERE n IS NOT NULL AND NOT m IS NULL",
    "SELECT id FROM t WHERE n NOT IN (7, 10) OR n NOT BETWEEN -5 AND 5",
    (
        "SELECT id FROM t WHERE n IN (SELECT t_id FROM o) OR EXISTS (SELECT 1 FROM o WHERE o.t_id ="
        " t.id)"
    ),
    (
        "SELECT id, CASE WHEN n > 0 THEN n ELSE m END AS v, COALESCE(m, n, 0) AS w, NULLIF(n, 7) AS"
        " z FROM t"
    ),
    (
        "SELECT m, COUNT(*) AS c, COUNT(DISTINCT n) AS k, SUM(n) AS s, MIN(n) AS l, MAX(d) AS h"
        " FROM t GROUP BY m"
    ),
    "SELECT m, SUM(n) AS s FROM t GROUP BY m HAVING SUM(n) > 10 AND m IS NOT NULL",
    (
        "SELECT t.id, o.id AS oid FROM t LEFT JOIN o ON o.t_id = t.id AND o.id <> 2 WHERE o.id IS"
        " NOT NULL OR t.id < 9"
    ),
    "SELECT id FROM t WHERE n >= 0 UNION ALL SELECT t_id FROM o",
    (
        "WITH q AS (SELECT m, MAX(n) AS n FROM t GROUP BY m) SELECT t.id, q.n FROM t JOIN q ON q.m"
        " = t.m AND q.n = t.n"
    ),
    "SELECT DISTINCT m FROM t",
]


@pytest.mark.parametrize("written", ["postgres", "duckdb", "sqlite"])
def test_what_each_dialect_has_gives_the_same_rows(asked: Asked, written: str) -> None:
    """SQL that all dialects share gives the same rows, from each dialect to each database.

    MySQL is one of the targets.
    """
    for database in (asked.mariadb, asked.other):
        for sql in COMMON:
            target, schema = database.dialect, database.catalog.column_types
            query = dialect.translate(sql, sql_dialect=written, target=target, schema=schema).sql
            expected = sorted(asked.expected(sql), key=_sorting)
            found = sorted(_answers(database, query), key=_sorting)
            assert len(found) == len(expected), (sql, query)
            assert all(all(map(_are_alike, *rows)) for rows in zip(found, expected, strict=True)), (
                sql,
                query,
            )


@pytest.mark.parametrize("target", PLACES)
def test_what_is_let_through_is_not_refused_before_types_are_known(target: str) -> None:
    """Supported SQL is not refused before the column types are known.

    config.py is checked before the source is connected, so there are no types to check then.
    """
    for section in ("equal", "loud", "ordered", "reported"):
        for idiom in _section(section):
            dialect.translate(_query(idiom), sql_dialect="mysql", target=target, schema=None)


def test_each_function_that_is_let_through_is_proved() -> None:
    """Each function and date format that the documentation lists is used by an idiom."""
    called = (
        {name for name, _ in (*functions.BY_NAME, *FUNCTION_CALLS)} | WINDOW_FUNCTIONS | AGGREGATES
    )
    idioms = "\n".join([*_section("equal"), *_section("reported")])
    assert sorted(name for name in called if not re.search(rf"\b{name}\b", idioms)) == []
    letters = {
        found
        for pattern in re.findall(r"DATE_FORMAT\(.*?, '(.*?)'", idioms)
        for found in re.findall("%(.)", pattern)
    }
    assert sorted(formats.SPECIFIERS - letters) == []


def test_the_list_of_the_docs_is_what_is_let_through() -> None:
    """docs/databases.md contains what `python -m pypelineetl.sql.translation.listing` prints."""
    assert listing() in (ROOT / "docs" / "databases.md").read_text()
