"""Every type is loaded from each kind of source into each warehouse, exactly or not at all."""

import string
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest
import servers
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pygrametl.tables import FactTable
from sqlalchemy import make_url
from tiers import examples

from pypelineetl import FactETL, events, factory, file, native, process, read_project, rows
from pypelineetl.project.project import Project

pytestmark = pytest.mark.core

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
# Values that every database can hold; each column may also be NULL. EDGES has the values that some
# databases cannot hold.
TYPES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "tiny": ("TINYINT", st.integers(-(2**7), 2**7 - 1)),
    "tiny_unsigned": ("TINYINT UNSIGNED", st.integers(0, 2**8 - 1)),
    "small": ("SMALLINT", st.integers(-(2**15), 2**15 - 1)),
    "small_unsigned": ("SMALLINT UNSIGNED", st.integers(0, 2**16 - 1)),
    "medium": ("MEDIUMINT", st.integers(-(2**23), 2**23 - 1)),
    "medium_unsigned": ("MEDIUMINT UNSIGNED", st.integers(0, 2**24 - 1)),
    "whole": ("INT(11)", st.integers(-(2**31), 2**31 - 1)),
    "whole_unsigned": ("INT UNSIGNED", st.integers(0, 2**32 - 1)),
    "big": ("BIGINT", st.integers(-(2**63), 2**63 - 1)),
    "big_unsigned": ("BIGINT UNSIGNED", st.integers(0, 2**63 - 1)),
    "money": ("DECIMAL(10,2)", st.decimals(-99999999, 99999999, places=2)),
    "ratio": ("DECIMAL(15,15)", st.decimals(0, Decimal("0.9"), places=15)),
    "long_decimal": ("DECIMAL(38,0)", st.integers(-(2**63), 2**63 - 1).map(Decimal)),
    "single": ("FLOAT", st.sampled_from([0.0, 1.5, -2.25, 1024.0])),
    "double_float": ("DOUBLE", st.floats(-1e300, 1e300, allow_subnormal=False)),
    "truth": ("BOOLEAN", st.booleans()),
    "flag": ("TINYINT(1)", st.integers(0, 1)),
    "bits": ("BIT(8)", st.integers(0, 255)),
    "one_bit": ("BIT(1)", st.integers(0, 1)),
    "in_year": ("YEAR", st.integers(1901, 2155)),
    "on_day": ("DATE", st.dates(date(1000, 1, 1), date(9999, 12, 31))),
    "at_time": ("TIME(6)", st.times()),
    "at_moment": ("DATETIME(6)", st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30))),
    "at_second": (
        "DATETIME",
        st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30)).map(
            lambda at: at.replace(microsecond=0)
        ),
    ),
    "with_zone": ("TIMESTAMP(6) NULL", st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 30))),
    "fixed_text": ("CHAR(20)", TEXT.map(lambda text: text.rstrip(" "))),
    "short_text": ("VARCHAR(20)", TEXT),
    "long_text": ("LONGTEXT", TEXT),
    "one_of": ("ENUM('red','it''s','1')", st.sampled_from(["red", "it's", "1"])),
    "fixed_binary": ("BINARY(3)", st.binary(min_size=3, max_size=3)),
    "short_binary": ("VARBINARY(20)", st.binary(max_size=20)),
    "long_binary": ("LONGBLOB", st.binary(max_size=50)),
    "document": ("JSON", st.sampled_from(['{"a": [1, 2.5, null]}', "[]", '"é😀"', "123", "true"])),
    "identity": ("CHAR(36)", st.uuids().map(str)),
}
COLUMNS = ["number", *TYPES]
DDL = (
    "CREATE TABLE t (number INT NOT NULL,"
    f" {', '.join(f'{name} {kind}' for name, (kind, _) in TYPES.items())})"
)
Row = dict[str, Any]
some_rows = st.lists(
    st.fixed_dictionaries({name: st.none() | strategy for name, (_, strategy) in TYPES.items()}),
    min_size=1,
    max_size=4,
)


def project(source: str, warehouse: str, etl: FactETL) -> Project:
    """Return a project of one ETL."""
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": source},
        WAREHOUSE_URL=warehouse,
        LOG_HOME=Path(),
        DIMENSIONS=[],
        FACTS=[etl],
    )
    return read_project(config)


def trip(
    source: str, warehouse: str, given_source: Any, ddl: str = DDL, columns: list[str] = COLUMNS
) -> str:
    """Rebuild one table, and return the error, which is empty after a success."""
    made = factory(FactTable, name="t", keyrefs=columns[:1], measures=columns[1:])
    etl = FactETL("t", source=given_source, create=ddl, factory=made, keys={})
    last = list(process(project(source, warehouse, etl), etl, rebuild=True))[-1]
    if isinstance(last, events.EtlFailed):
        assert not last.details, last.details
        return last.error
    return ""


def content(warehouse: str, ddl: str = DDL, columns: list[str] = COLUMNS) -> list[Row]:
    """Return the table's rows, cast to the types of the DDL."""
    made = factory(FactTable, name="t", keyrefs=columns[:1], measures=columns[1:])
    etl = FactETL("t", source=rows(list), create=ddl, factory=made, keys={})
    opened = project("sqlite:///none", warehouse, etl)
    kinds = opened.columns(etl)
    with opened.open_warehouse() as database:
        names = ", ".join(database.quote(name) for name in columns)
        found = database.query(f"SELECT {names} FROM {database.quote('t')} ORDER BY 1")
    return [
        {name: kinds[name].cast(value) for name, value in zip(columns, row, strict=True)}
        for row in found
    ]


def numbered(given_rows: list[Row]) -> list[Row]:
    """Return the rows, each with a number to find it by."""
    return [{"number": number, **row} for number, row in enumerate(given_rows)]


@pytest.fixture(params=["mysql", "postgresql", "duckdb", "sqlite"])
def from_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A source of each kind; on a server, it is another database than the warehouse."""
    if request.param in {"duckdb", "sqlite"}:
        return f"{request.param}:///{tmp_path}/from.{request.param}"
    return str(request.getfixturevalue(f"other_{request.param}_url"))


@pytest.mark.every_case
@settings(
    phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes on servers
    max_examples=examples(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(given_rows=some_rows)
def test_every_type_makes_every_trip(
    from_url: str, warehouse_url: str, given_rows: list[Row]
) -> None:
    """Random rows are the same after a load into a source and from it into a warehouse."""
    expected = numbered(given_rows)
    assert trip("sqlite:///none", from_url, rows(lambda: expected)) == ""
    assert differences(content(from_url), expected) == []
    assert trip(from_url, warehouse_url, "SELECT * FROM t") == ""
    assert differences(content(warehouse_url), expected) == []


def test_the_sample_has_every_pair_of_databases() -> None:
    """`make test` loads every type from every kind of source into every kind of warehouse."""
    markers = {marker.name for marker in test_every_type_makes_every_trip.pytestmark}
    assert "every_case" in markers


def differences(found: list[Row], expected: list[Row]) -> list[tuple[str, Any, Any]]:
    """Return each column whose values differ, with both values."""
    assert len(found) == len(expected)
    pairs = zip(found, expected, strict=True)
    return [
        (name, ours[name], theirs[name])
        for ours, theirs in pairs
        for name in theirs
        if ours[name] != theirs[name]
    ]


# A type, a value, and the warehouses that hold the value exactly. The others must refuse it; none
# may change it.
ALL = {"mysql", "postgresql", "duckdb", "sqlite"}
EDGES: list[tuple[str, Any, set[str]]] = [
    ("BIGINT UNSIGNED", 2**64 - 1, {"mysql", "postgresql", "duckdb"}),
    ("BIGINT", 2**63, set()),
    ("TINYINT", -129, set()),
    ("INT", 1.5, set()),
    ("DECIMAL(38,0)", Decimal("9" * 38), {"mysql", "postgresql", "duckdb"}),
    (
        "DECIMAL(38,10)",
        Decimal("1234567890123456789012345678.0123456789"),
        {"mysql", "postgresql", "duckdb"},
    ),
    ("DECIMAL(10,2)", Decimal("0.005"), set()),
    ("DECIMAL(10,2) UNSIGNED", Decimal(-1), set()),
    ("DOUBLE", float("inf"), {"postgresql", "duckdb"}),
    ("FLOAT", 1e39, set()),
    ("FLOAT", 1e-320, set()),
    ("FLOAT", 1e-40, set()),
    ("FLOAT", 2.0**-127, set()),
    ("FLOAT", 2.0**-126, ALL),
    ("FLOAT", "1e-400", set()),
    ("DOUBLE", 1e-320, ALL),
    ("DOUBLE", Decimal("1e-400"), set()),
    ("DOUBLE", Decimal("1e-310"), set()),
    ("DOUBLE", Decimal("1e400"), set()),
    ("DOUBLE", "1e400", set()),
    ("DOUBLE", 10**400, set()),
    ("VARCHAR(3)", "four", set()),
    ("VARCHAR(3)", "a\0b", {"mysql", "duckdb", "sqlite"}),
    ("VARCHAR(4)", "a  ", ALL),
    ("VARCHAR(3)", "", ALL),
    ("LONGTEXT", "x" * 1_000_000 + "😀", ALL),
    ("VARBINARY(2)", b"abc", set()),
    ("BINARY(3)", b"ab", set()),
    ("LONGBLOB", bytes(range(256)) * 4096, ALL),
    ("BIT(4)", 16, set()),
    ("BIT(64)", 2**63 - 1, ALL),
    ("ENUM('red')", "blue", set()),
    ("YEAR", 1900, set()),
    ("DATE", "0000-00-00", set()),
    ("DATE", date(1, 1, 1), ALL),
    ("DATETIME", datetime(2014, 1, 31, 1, 2, 3, 4), set()),
    ("DATETIME(3)", datetime(2014, 1, 31, 1, 2, 3, 4000), ALL),
    ("TIMESTAMP(6) NULL", datetime(1900, 1, 1), set()),
    ("TIME", time(1, 2, 3, 4), set()),
    ("JSON", "{not json}", set()),
    # MySQL's JSON stores numbers as binary floats; MariaDB's stores the text.
    ("JSON", '{"a": 1.1}' if servers.is_mysql() else '{"a": 1.10}', ALL),
    ("BOOLEAN", 2, set()),
    ("INT", "1_000", set()),
]


@pytest.mark.parametrize(
    ("kind", "value", "holders"),
    EDGES,
    ids=[f"{kind}-{number}" for number, (kind, _, _) in enumerate(EDGES)],
)
def test_what_a_warehouse_cannot_hold_is_refused(
    request: pytest.FixtureRequest, warehouse_url: str, kind: str, value: Any, holders: set[str]
) -> None:
    """A value is stored exactly, or the load fails with the column's name.

    No value is truncated, rounded or wrapped.
    """
    ddl = f"CREATE TABLE t (number INT NOT NULL, value {kind})"
    error = trip(
        "sqlite:///none",
        warehouse_url,
        rows(lambda: [{"number": 1, "value": value}]),
        ddl,
        ["number", "value"],
    )
    if request.node.callspec.params["warehouse_url"] in holders:
        assert error == ""
        assert content(warehouse_url, ddl, ["number", "value"]) == [{"number": 1, "value": value}]
    else:
        assert "value" in error
        # The range in a message may contain the digits of a short number. Other values are never
        # repeated.
        assert isinstance(value, int) or len(str(value)) < 5 or str(value) not in error


@pytest.mark.parametrize("value", ["value", "CONCAT(value, '')"])
def test_mysql_zero_dates_are_null(mariadb_url: str, tmp_path: Path, value: str) -> None:
    """A zero date of MySQL becomes NULL, read by DuckDB or by the driver.

    As a text it is refused.
    """
    url = make_url(mariadb_url)
    connection = pymysql.connect(
        host=url.host or "",
        port=url.port or 0,
        user=url.username,
        password=url.password or "",
        database=url.database,
    )
    with connection, connection.cursor() as cursor:
        # MySQL's default mode refuses to store a zero date.
        cursor.execute("SET sql_mode = ''")
        cursor.execute("CREATE TABLE t (number INT, value DATE)")
        cursor.execute("INSERT INTO t VALUES (1, '0000-00-00')")
        connection.commit()
    ddl, columns = "CREATE TABLE t (number INT, value DATE)", ["number", "value"]
    warehouse = f"duckdb:///{tmp_path}/w.duckdb"
    error = trip(mariadb_url, warehouse, f"SELECT number, {value} AS value FROM t", ddl, columns)
    if value == "value":
        assert not error
        assert content(warehouse, ddl, columns) == [{"number": 1, "value": None}]
    else:
        assert 'column "value" is DATE' in error


FILE_DDL = (
    "CREATE TABLE t (number INT NOT NULL, price DECIMAL(20,10), title VARCHAR(40), sold_at"
    " DATETIME, open BOOLEAN)"
)
FILE_COLUMNS = ["number", "price", "title", "sold_at", "open"]
FILE_ROWS: list[Row] = [
    {
        "number": 1,
        "price": Decimal("0.1000000001"),
        "title": 'a "b", \\N\té😀',
        "sold_at": datetime(2014, 1, 2),
        "open": True,
    },
    {"number": 2, "price": None, "title": "", "sold_at": None, "open": None},
    {
        "number": 3,
        "price": Decimal(7),
        "title": None,
        "sold_at": datetime(2014, 1, 2, 3, 4, 5),
        "open": False,
    },
]
FILES = {
    "csv": (
        'number,price,title,sold_at,open\n1,0.1000000001,"a ""b"",'
        ' \\N\té😀",2014-01-02,true\n2,,"",,\n3,7,,2014-01-02 03:04:05,0\n'
    ),
    "tsv": (
        'number\tprice\ttitle\tsold_at\topen\n1\t0.1000000001\t"a ""b"",'
        ' \\N\té😀"\t2014-01-02\ttrue\n2\t\t""\t\t\n3\t7\t\t2014-01-02 03:04:05\t0\n'
    ),
    "jsonl": (
        '{"number": 1, "price": 0.1000000001, "title": "a \\"b\\", \\\\N\\té😀", "sold_at":'
        ' "2014-01-02", "open": true}\n{"number": 2, "price": null, "title": "", "sold_at": null,'
        ' "open": null}\n\n{"number": 3, "price": 7, "title": null, "sold_at":'
        ' "2014-01-02T03:04:05", "open": false}\n'
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_are_sources(tmp_path: Path, warehouse_url: str, kind: str) -> None:
    """CSV, TSV and JSON Lines files keep every digit, and distinguish NULL from the empty text."""
    path = tmp_path / f"rows.{kind}"
    path.write_text(FILES[kind], encoding="utf-8")
    assert trip("sqlite:///none", warehouse_url, file(str(path)), FILE_DDL, FILE_COLUMNS) == ""
    assert content(warehouse_url, FILE_DDL, FILE_COLUMNS) == FILE_ROWS


def test_arrow_tables_and_parquet_files_are_sources(tmp_path: Path, warehouse_url: str) -> None:
    """An Arrow table from Python, and Parquet files named by a wildcard, give the same rows."""
    import pyarrow as pa  # noqa: PLC0415 - only here
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    table = pa.Table.from_pylist(FILE_ROWS)
    assert trip("sqlite:///none", warehouse_url, rows(lambda: table), FILE_DDL, FILE_COLUMNS) == ""
    assert content(warehouse_url, FILE_DDL, FILE_COLUMNS) == FILE_ROWS
    (tmp_path / "parts").mkdir()
    for number in range(3):
        pq.write_table(table.slice(number, 1), tmp_path / "parts" / f"{number}.parquet")
    given_source = file(str(tmp_path / "parts" / "*.parquet"))
    assert trip("sqlite:///none", warehouse_url, given_source, FILE_DDL, FILE_COLUMNS) == ""
    assert content(warehouse_url, FILE_DDL, FILE_COLUMNS) == FILE_ROWS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, "there is no file"),
        ("bad.csv", "number,price,title,sold_at,open\nx,,,,\n", 'column "number" is INT'),
        ("bad.csv", "number,price\n1,2\n", 'does not give the column "title"'),
        ("bad.jsonl", '{"number": 1', "line 1, is not JSON"),
        ("bad.jsonl", "[1]\n", "line 1, is not a JSON object"),
        ("bad.parquet", "not parquet", "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_reported(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    """A file that is missing or does not fit is refused.

    The message has the line or the column.
    """
    if text is not None:
        (tmp_path / name).write_text(text)
    error = trip(
        "sqlite:///none",
        f"sqlite:///{tmp_path}/w.sqlite",
        file(str(tmp_path / name)),
        FILE_DDL,
        FILE_COLUMNS,
    )
    assert message in error


def test_nothing_is_guessed_of_a_csv_file(tmp_path: Path) -> None:
    """A backslash, a # and an apostrophe in a CSV file are ordinary characters at any position."""
    rows = {1: "#x", 2: "\\0", 3: "'y'", 4: "\\"}
    (tmp_path / "t.csv").write_text(
        "number,value\n" + "".join(f"{number},{text}\n" for number, text in rows.items())
    )
    warehouse = f"sqlite:///{tmp_path}/w.sqlite"
    ddl, columns = "CREATE TABLE t (number INT, value TEXT)", ["number", "value"]
    assert trip("sqlite:///none", warehouse, file(str(tmp_path / "t.csv")), ddl, columns) == ""
    assert content(warehouse, ddl, columns) == [
        {"number": number, "value": text} for number, text in rows.items()
    ]


@given(st.text(string.printable, max_size=30))
def test_any_printable_text_survives_a_csv_file(text: str) -> None:
    """Quotes, commas, line ends and blanks in a quoted field are loaded unchanged."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        quoted = text.replace('"', '""')
        path.write_text(f'number,value\n1,"{quoted}"\n', newline="")
        warehouse = f"sqlite:///{folder}/w.sqlite"
        ddl, columns = "CREATE TABLE t (number INT, value TEXT)", ["number", "value"]
        assert trip("sqlite:///none", warehouse, file(str(path)), ddl, columns) == ""
        assert content(warehouse, ddl, columns) == [{"number": 1, "value": text}]


_LEAST_DOUBLE = "2.2250738585072014e-308"


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("FLOAT", "CAST('1e-320' AS double precision)", "it is smaller than a FLOAT"),
        ("FLOAT", "CAST('1e-40' AS double precision)", "it is smaller than a FLOAT"),
        ("FLOAT", "CAST('1e-400' AS numeric)", "it is smaller than"),
        ("FLOAT", "CAST('1e39' AS double precision)", "it is larger than a FLOAT"),
        ("DOUBLE", "CAST('1e-400' AS numeric)", "it is smaller than a DOUBLE"),
        ("DOUBLE", "CAST('1e-310' AS numeric)", "it is smaller than a DOUBLE"),
        ("DOUBLE", "CAST('1e400' AS numeric)", "it is larger than a DOUBLE"),
        ("FLOAT", "CAST('0.0' AS numeric)", ""),
        ("DOUBLE", "CAST('-0.000' AS numeric)", ""),
        ("DOUBLE", f"CAST('{_LEAST_DOUBLE}' AS double precision)", ""),
        ("FLOAT", "CAST('NaN' AS double precision)", ""),
    ],
)
def test_a_number_too_small_or_too_large_is_refused_by_the_scanner_too(
    postgresql_url: str, tmp_path: Path, kind: str, value: str, message: str
) -> None:
    """A number that a FLOAT or DOUBLE cannot hold is refused also when DuckDB's scanner reads it.

    DuckDB would turn it into 0 or infinity.
    """
    ddl, columns = f"CREATE TABLE t (number INT, value {kind})", ["number", "value"]
    warehouse = f"duckdb:///{tmp_path}/w.duckdb"
    given_source = native(f"SELECT 1 AS number, {value} AS value")
    error = trip(postgresql_url, warehouse, given_source, ddl, columns)
    assert message in error
    assert bool(message) == bool(error)


_SINGLES = [
    16777216.0,
    1234567.0,
    0.10000000149011612,
    3.4028234663852886e38,
    -(2.0**-126),
    19.989999771118164,
]
"""Numbers that a FLOAT holds exactly."""
_AS_PRINTED = {0.10000000149011612: Decimal("0.1"), 19.989999771118164: Decimal("19.99")}
_FLOAT_DDL = """
    CREATE TABLE t (
      number INT NOT NULL, single FLOAT, wide DOUBLE, money DECIMAL(12,2), whole INT,
        words VARCHAR(40)
    )
"""
_FLOAT_COLUMNS = ["number", "single", "wide", "money", "whole", "words"]
_FLOATS = """
    SELECT number, value AS single, value AS wide, CASE WHEN ABS(value) BETWEEN 0.01
      AND 1e9 THEN value END AS money,
           CASE WHEN ABS(value) BETWEEN 1 AND 1e9 AND value = ROUND(value) THEN value END AS whole,
             value AS words
    FROM floats
"""


@pytest.mark.parametrize("options", ["", "?charset=utf8mb4"], ids=["scanner", "driver"])
@pytest.mark.parametrize("order", ["", "ORDER BY 1 DESC LIMIT 9", "ORDER BY floats.number DESC"])
def test_a_float_of_mysql_arrives_with_all_its_digits(
    mariadb_url: str, tmp_path: Path, options: str, order: str
) -> None:
    """A FLOAT of MySQL is loaded with all its digits into every type, in the order of the query.

    MySQL itself returns 6 digits only.
    """
    _write_floats(mariadb_url)
    warehouse = f"duckdb:///{tmp_path}/w.duckdb"
    assert (
        trip(mariadb_url + options, warehouse, f"{_FLOATS} {order}", _FLOAT_DDL, _FLOAT_COLUMNS)
        == ""
    )
    found = content(warehouse, _FLOAT_DDL, _FLOAT_COLUMNS)
    assert [row["single"] for row in found] == _SINGLES
    assert [row["wide"] for row in found] == _SINGLES
    printed = [_AS_PRINTED.get(value, Decimal(value)) for value in _SINGLES]
    assert [row["money"] for row in found] == [
        value if Decimal("0.01") <= value <= 10**9 else None for value in printed
    ]
    assert [row["whole"] for row in found] == [16777216, 1234567, None, None, None, None]
    assert [float(row["words"]) for row in found] == [
        (
            float(_AS_PRINTED.get(value, value))
            if value in _AS_PRINTED
            else pytest.approx(value, rel=1e-7)
        )
        for value in _SINGLES
    ]
    with project(mariadb_url, warehouse, _plain_fact()).open_warehouse() as database:
        written = [number for (number,) in database.query("SELECT number FROM t ORDER BY rowid")]
    assert written == (sorted(written, reverse=True) if order else sorted(written))


def test_a_float_in_an_order_that_cannot_be_kept_is_refused(
    mariadb_url: str, tmp_path: Path
) -> None:
    """A FLOAT is refused if the query orders by an expression that it does not select.

    The message says what to write instead, and that query loads.
    """
    _write_floats(mariadb_url)
    warehouse = f"duckdb:///{tmp_path}/w.duckdb"
    given_source = "SELECT number, value FROM floats ORDER BY ABS(value)"
    ddl, columns = "CREATE TABLE t (number INT NOT NULL, value DOUBLE)", ["number", "value"]
    assert "CAST(… AS DOUBLE)" in trip(mariadb_url, warehouse, given_source, ddl, columns)
    fixed = given_source.replace("number, value", "number, CAST(value AS DOUBLE) AS value")
    assert trip(mariadb_url, warehouse, fixed, ddl, columns) == ""
    assert [row["value"] for row in content(warehouse, ddl, columns)] == _SINGLES


def _plain_fact() -> FactETL:
    made = factory(FactTable, name="t", keyrefs=["number"])
    return FactETL(
        "t", source=rows(list), create="CREATE TABLE t (number INT)", factory=made, keys={}
    )


def _write_floats(mariadb_url: str) -> None:
    opened = project("sqlite:///none", mariadb_url, _plain_fact())
    with opened.open_warehouse() as database, database.transaction():
        database.execute("CREATE TABLE floats (number INT NOT NULL, value FLOAT)")
        database.insert_many("INSERT INTO floats VALUES (%s, %s)", list(enumerate(_SINGLES)))


@pytest.mark.parametrize(
    ("expression", "ddl", "held"),
    [
        ("B'10101010'", "INT", 170),
        ("B'10101010'", "VARCHAR(20)", "10101010"),
        ("B'00101'::varbit", "INT", 5),
        ("INTERVAL '3 mons'", "VARCHAR(40)", "the other databases have no interval"),
        ("ARRAY['a', 'b']", "VARCHAR(40)", "the other databases have no array"),
        ("ARRAY[1, 2]", "JSON", "[1, 2]"),
        ("DATE 'infinity'", "DATE", "this database stores only dates of the years"),
        ("TIMESTAMP '-infinity'", "DATETIME", "this database stores only dates of the years"),
        ("DATE '0044-03-15 BC'", "DATE", "this database stores only dates of the years"),
    ],
)
def test_types_that_only_postgresql_has(
    postgresql_url: str, tmp_path: Path, expression: str, ddl: str, held: Any
) -> None:
    """A value of a type that only PostgreSQL has is loaded with the same meaning, or refused.

    SQLite, which would store any text as a date, gets no date outside the years 1 to 9999.
    """
    made = factory(FactTable, name="t", keyrefs=["number"], measures=["v"])
    create = f"CREATE TABLE t (number INT NOT NULL, v {ddl})"
    etl = FactETL("t", source=f"SELECT 1 AS number, {expression} AS v", create=create, factory=made)
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": postgresql_url},
        WAREHOUSE_URL=f"sqlite:///{tmp_path}/w.sqlite",
        SOURCE_DIALECTS={"shop": "postgresql"},
        LOG_HOME=tmp_path,
        DIMENSIONS=[],
        FACTS=[etl],
    )
    loaded = read_project(config)
    last = list(process(loaded, etl, rebuild=True))[-1]
    if isinstance(held, str) and held.startswith(("the other databases", "this database")):
        assert isinstance(last, events.EtlFailed)
        assert held in last.error
        return
    assert isinstance(last, events.EtlFinished), last
    with loaded.open_warehouse() as warehouse:
        assert warehouse.query("SELECT v FROM t") == [(held,)]
