"""SQL is read, refused, translated and passed through as the modules of sql/ promise."""

import sqlite3
from contextlib import closing

import pytest

from pypelineetl import DialectError
from pypelineetl.sql import ddl, dialect, queries

DDL = """
CREATE TABLE `product_dim` (
  `id` INT(11) NOT NULL AUTO_INCREMENT COMMENT 'surrogate',
  `name` VARCHAR(100) NOT NULL,
  active TINYINT(1) DEFAULT 0,
  price DECIMAL(10,2),
  made DATETIME,
  PRIMARY KEY (`id`),
  KEY `by_name` (`name`),
  UNIQUE KEY one_made (made)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='what is sold';
"""


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM users",
        "INSERT INTO users SELECT 1",
        "UPDATE users SET a = 1",
        "DROP TABLE users",
        "TRUNCATE TABLE users",
        "REPLACE INTO users VALUES (1)",
        "CALL purge()",
        "SET autocommit = 1",
        "WITH deleted AS (DELETE FROM users RETURNING *) SELECT * FROM deleted",
        "SELECT * FROM users FOR UPDATE",
    ],
)
def test_a_source_is_only_ever_read(sql: str) -> None:
    """A source that is anything but one SELECT is refused.

    The part that writes may be anywhere in the statement.
    """
    with pytest.raises(DialectError, match="the SQL must be one SELECT"):
        dialect.require_select(sql, dialect="mysql")


@pytest.mark.parametrize("sql", ["SELECT 1; DELETE FROM users", "", "  -- nothing\n"])
def test_a_source_is_one_statement(sql: str) -> None:
    """A source of two statements, or of none, is refused.

    A second statement cannot hide behind the first.
    """
    with pytest.raises(DialectError, match="the SQL must be one statement"):
        dialect.require_select(sql, dialect="mysql")


def test_sql_in_the_databases_own_dialect_passes_untouched() -> None:
    """SQL in the database's own dialect reaches it as written.

    This includes the author's comments, spacing and hints.
    """
    sql = "SELECT /* hint */  a,\n b FROM `t`  -- why"
    assert dialect.require_select(f"\n{sql}\n", dialect="mysql") == sql
    assert dialect.require_select("SELECT 1;", dialect="mysql") == "SELECT 1"


@pytest.mark.parametrize("target", ["sqlite", "duckdb", "postgres"])
def test_mysql_functions_are_translated(target: str) -> None:
    """MySQL's IF, CONCAT and backticks are translated for the other databases."""
    sql = "SELECT IF(a > 1, 'x', CONCAT(b, ' ', c)) AS y FROM `order` ORDER BY a"
    translated = dialect.translate(sql, sql_dialect="mysql", target=target, schema=None).sql
    assert "IF(" not in translated.replace("IIF(", "")
    # In double quotes, SQLite would consider a misspelt name a text.
    assert ('"order"' if target != "sqlite" else "`order`") in translated


def test_a_misspelt_column_is_no_text_in_sqlite() -> None:
    """A misspelt column is an error on SQLite.

    SQLite considers an unknown name in double quotes a text, so names are in backticks there.
    """
    translated = dialect.translate(
        "SELECT nmae FROM t", sql_dialect="mysql", target="sqlite", schema=None
    ).sql
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (name TEXT)")
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            connection.execute(queries.limit_one(translated, dialect="sqlite"))


@pytest.mark.parametrize("target", ["sqlite", "duckdb", "postgres"])
def test_a_function_without_translation_is_reported_with_its_place(target: str) -> None:
    """A function without a translation is refused, and the message has its line and column.

    Its name is not passed on to a database that lacks it, or that has another function of that
    name.
    """
    with pytest.raises(
        DialectError,
        match=rf"UUID_SHORT\(\) has no translation to {target}. Line 2, column 16. .* native",
    ):
        dialect.translate(
            "SELECT id,\n      UUID_SHORT() AS key_\nFROM t",
            sql_dialect="mysql",
            target=target,
            schema=None,
        )


def test_a_type_that_no_other_database_has_is_refused() -> None:
    """A type that the target lacks is refused, and the message names the column and type.

    No other database has a type like MySQL's SET.
    """
    ddl_text = "CREATE TABLE t (a INT, colours SET('red','blue'))"
    with pytest.raises(
        DialectError, match=r'column "colours" is SET\(.*\), for which duckdb has no type'
    ):
        ddl.create_statements(ddl_text, sql_dialect="mysql", target="duckdb")


@pytest.mark.parametrize("target", ["sqlite", "duckdb", "postgres"])
def test_zerofill_is_left_out(target: str) -> None:
    """ZEROFILL is left out of the DDL for other databases.

    It says how MySQL's client shows a number, and no other database has it.
    """
    sql = "CREATE TABLE t (a INT(5) UNSIGNED ZEROFILL NOT NULL)"
    [create] = ddl.create_statements(sql, sql_dialect="mysql", target=target)
    assert create.endswith("NOT NULL)")
    assert "ZEROFILL" not in create


def test_sql_that_cannot_be_read_is_reported_with_its_place() -> None:
    """The message about SQL that is not valid names the line.

    A person can then find it in sources.py.
    """
    with pytest.raises(DialectError, match=r"not valid mysql: .*Line 2"):
        dialect.require_select("SELECT a\nFROM (SELECT b FROM t", dialect="mysql")


@pytest.mark.parametrize(
    ("sql", "limited"),
    [
        ("SELECT a FROM t", "SELECT a FROM t\nLIMIT 1"),
        (
            "SELECT a FROM t LIMIT 9",
            "SELECT * FROM (\nSELECT a FROM t LIMIT 9\n) AS source\nLIMIT 1",
        ),
        ("SELECT a FROM t UNION SELECT b FROM u", "SELECT a FROM t UNION SELECT b FROM u\nLIMIT 1"),
    ],
)
def test_a_query_is_tried_without_being_read_whole(sql: str, limited: str) -> None:
    """A source test reads one row, even of a query that has its own limit."""
    assert queries.limit_one(sql, dialect="mysql") == limited


def test_mysql_ddl_runs_untouched_on_mysql() -> None:
    """MySQL gets the user's own DDL, with its engine and character set."""
    assert ddl.create_statements(DDL, sql_dialect="mysql", target="mysql") == (
        DDL.strip().rstrip(";"),
    )


@pytest.mark.parametrize("target", ["sqlite", "duckdb", "postgres"])
def test_mysql_ddl_becomes_a_table_and_its_indexes_elsewhere(target: str) -> None:
    """MySQL's DDL becomes a table and its indexes on the other databases.

    KEY becomes CREATE INDEX, except on DuckDB. Widths, engine, comments and AUTO_INCREMENT are left
    out. Constraints stay.
    """
    create, *indexes = ddl.create_statements(DDL, sql_dialect="mysql", target=target)
    for word in ("ENGINE", "COMMENT", "AUTO", "(11)", "(1)", "INDEX", "IDENTITY"):
        assert word not in create
    assert 'UNIQUE ("made")' in create.replace("`", '"')
    assert "PRIMARY KEY" in create
    assert [index.replace("`", '"')[:51] for index in indexes] == (
        [] if target == "duckdb" else ['CREATE INDEX "product_dim_by_name" ON "product_dim"']
    )


def test_ddl_is_one_create_table() -> None:
    """DDL that is anything but one CREATE TABLE is refused."""
    with pytest.raises(DialectError, match="one CREATE TABLE"):
        ddl.table_definition("DROP TABLE product_dim", sql_dialect="mysql")


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        ("SELECT id, at FROM t", "SELECT id, at FROM t\nWHERE at > 5"),
        ("SELECT id, at FROM t ORDER BY id", "SELECT id, at FROM t\nWHERE at > 5\nORDER BY id"),
        (
            "SELECT id, t.at FROM t WHERE a REGEXP '^b' -- only b\nORDER BY id",
            (
                "SELECT id, t.at FROM t WHERE (\na REGEXP '^b' -- only b\n) AND (t.at > 5)\nORDER"
                " BY id"
            ),
        ),
        (
            "SELECT /*! STRAIGHT_JOIN */ id, IFNULL(a, 0x41) AS at FROM t WHERE a",
            (
                "SELECT /*! STRAIGHT_JOIN */ id, IFNULL(a, 0x41) AS at FROM t WHERE (\na\n) AND"
                " ((IFNULL(a, 0x41)) > 5)"
            ),
        ),
        (
            "SELECT id, MAX(at) AS at FROM t GROUP BY id",
            (
                "SELECT * FROM (\nSELECT id, MAX(at) AS at FROM t GROUP BY id\n) AS source\nWHERE"
                " source.`at` > 5"
            ),
        ),
        (
            "SELECT id, at FROM t UNION SELECT id, at FROM u",
            (
                "SELECT * FROM (\nSELECT id, at FROM t UNION SELECT id, at FROM u\n) AS"
                " source\nWHERE source.`at` > 5"
            ),
        ),
        (
            "SELECT 1 AS id, 7 AS at",
            "SELECT * FROM (\nSELECT 1 AS id, 7 AS at\n) AS source\nWHERE source.`at` > 5",
        ),
        (
            "WITH x AS (SELECT id, at FROM t WHERE a) SELECT id, at FROM x",
            "WITH x AS (SELECT id, at FROM t WHERE a) SELECT id, at FROM x\nWHERE at > 5",
        ),
    ],
)
def test_a_part_of_a_query_is_the_query_as_it_is_written(sql: str, part: str) -> None:
    """A filter is added to a query, and the query's own text does not change.

    sqlglot would write other SQL: REGEXP_LIKE, which MariaDB does not have, or 0 for 0x41.
    """
    names = ["at"]
    assert (
        queries.filter_rows(sql, names, lambda columns: f"{columns['at']} > 5", dialect="mysql")
        == part
    )
    assert queries.filter_rows(sql, names, lambda _: "", dialect="mysql") == sql


def test_rows_of_a_range_have_the_nulls_with_the_first() -> None:
    """Each row is in one range, and rows with NULL are in the first."""
    sql = "SELECT id FROM t"
    ranges = [(None, 3), (3, 9), (9, None), (None, None)]
    assert [queries.range_filter(sql, "id", *each, dialect="postgres") for each in ranges] == [
        "SELECT id FROM t\nWHERE id < 3 OR id IS NULL",
        "SELECT id FROM t\nWHERE id >= 3 AND id < 9",
        "SELECT id FROM t\nWHERE id >= 9",
        "SELECT id FROM t",
    ]
