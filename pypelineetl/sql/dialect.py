"""Parse SQL, and translate it from the dialect that config.py names to that of a database.

SQL that is already in the database's own dialect is passed on as it is.
`translation` translates a SELECT, and refuses what is not proved to give
the same rows. sqlglot translates DDL.
"""

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.dialects import SQLite
from sqlglot.errors import ParseError, TokenError, UnsupportedError

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation import (
    Schema,
    Translation,
    UntranslatableError,
    parse_mysql,
    refuse_beyond_common,
    translate_tree,
)

_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)
_WRITES = (exp.DML, exp.DDL, exp.Into, exp.Lock, exp.Command)


class _BacktickedSQLite(SQLite):  # type: ignore[misc] # a metaclass makes sqlglot's dialects
    """SQLite with names in backticks.

    SQLite reads "nmae" as the text 'nmae' if there is no such column. It
    reads `nmae` as a name, and reports the error.
    """

    class Tokenizer(SQLite.Tokenizer):  # type: ignore[misc] # as above
        """A tokenizer that reads names in backticks, double quotes and brackets."""

        # sqlglot writes names in the first of these.
        IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ["`", '"', ("[", "]")]


_ADVICE = (
    "docs/databases.md lists the SQL that gives the same rows in every database. Write this SELECT"
    ' in its own database\'s dialect, as native("SELECT …"), or put it into a view.'
)
_DIALECTS = {"sqlite": _BacktickedSQLite}
"""The dialects in which SQL is generated, where they are not sqlglot's own."""


# A refresh asks for the same queries and the same DDL many times; parsing
# takes milliseconds.
def require_select(sql: str, *, dialect: str) -> str:
    """Return a source's query without the semicolon at its end.

    >>> require_select("SELECT id FROM users;", dialect="mysql")
    'SELECT id FROM users'

    Raises:
        DialectError: It is not one SELECT, with or without UNION and WITH.
            The engine only reads sources.
    """
    return _require_select(sql, dialect)


# mypy does not check the arguments of a cached function, so it has no other callers.
@lru_cache(maxsize=1_000)
def _require_select(sql: str, dialect: str) -> str:
    tree = parse_statement(sql, dialect)
    # PostgreSQL runs a DELETE within a WITH, and SELECT … INTO creates a
    # table.
    offender = tree.find(*_WRITES) if isinstance(tree, _QUERIES) else tree
    if offender is not None:
        kind = offender.key.upper()
        message = f"the SQL must be one SELECT, but it contains {kind}; nothing was run"
        raise DialectError(message)
    return sql.strip().rstrip(";")


def translate(sql: str, *, sql_dialect: str, target: str, schema: Schema | None) -> Translation:
    """Return a source's query in another dialect.

    >>> translation = translate(
    ...     "SELECT IFNULL(n, 0) AS n FROM t", sql_dialect="mysql", target="duckdb", schema=None
    ... )
    >>> print(translation.sql)
    SELECT
      COALESCE("n", 0) AS "n"
    FROM "t"

    Args:
        sql: One SELECT.
        sql_dialect: The dialect that it is written in.
        target: The dialect of the database that runs it.
        schema: Gives the columns of that database's tables. Without it,
            only what does not depend on the types of columns is checked.

    Raises:
        DialectError: It is not proved to give the same rows in the target.
    """
    # A source is only read, even if its SQL needs no translation.
    query = require_select(sql, dialect=sql_dialect)
    if sql_dialect == target:
        return Translation(query)
    is_mysql = sql_dialect == "mysql"
    tree = parse_mysql(query) if is_mysql else parse_statement(query, sql_dialect)
    try:
        if not is_mysql:
            refuse_beyond_common(tree)
        translation = translate_tree(tree, target, schema, is_of_sqlite=sql_dialect == "sqlite")
    except UntranslatableError as error:
        message = (
            f"{error.fragment} has no translation to {target}{error.reason}. {error.place}"
            f" {_ADVICE}"
        )
        raise DialectError(message) from error
    if target == "mysql":
        # MySQL understands what the other dialects have in common. The
        # translation above only found which texts the query compares.
        return replace(translation, sql=generate_sql(tree, target))
    return replace(translation, original=query) if is_mysql else translation


def parse_statement(sql: str, dialect: str) -> exp.Expr:
    """Return the one statement of a text as a tree.

    Raises:
        DialectError: It is not valid SQL, or not one statement. The message
            names the place.
    """
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except (ParseError, TokenError) as error:
        message = f"the SQL is not valid {dialect}: {_place(error)}"
        raise DialectError(message) from error
    if len(trees) != 1:
        message = f"the SQL must be one statement, but it has {len(trees)}"
        raise DialectError(message)
    return trees[0]


def _place(error: ParseError | TokenError) -> str:
    """Return what sqlglot found, with line, column and the text around it."""
    # A TokenError has no list of places.
    if not isinstance(error, ParseError) or not error.errors:
        return str(error)
    first = error.errors[0]
    # The text around the place helps where the line is long.
    near = f"{first['start_context']}>>>{first['highlight']}<<<{first['end_context']}"
    near = " ".join(near.split())
    return f"{first['description']} Line {first['line']}, column {first['col']}: {near}"


def generate_sql(tree: exp.Expr, target: str) -> str:
    """Return a parsed statement in the target's dialect, with all names quoted.

    >>> generate_sql(parse_statement("SELECT a FROM t", "mysql"), "postgres")
    'SELECT "a" FROM "t"'

    Raises:
        DialectError: The target has no translation for it.
    """
    try:
        return tree.sql(
            dialect=_DIALECTS.get(target, target),
            unsupported_level=ErrorLevel.RAISE,
            # A name in quotes is never a keyword of the target.
            identify=True,
        )
    except UnsupportedError as error:
        message = f"the statement has no translation to {target}: {error}"
        raise DialectError(message) from error


def quoted_name(name: str, dialect: str) -> str:
    """Return the name of a table or column in the dialect's quotes.

    >>> quoted_name("order", "mysql")
    '`order`'
    """
    return exp.to_identifier(name, quoted=True).sql(dialect=_DIALECTS.get(dialect, dialect))
