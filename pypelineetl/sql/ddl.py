"""A table's CREATE TABLE, written once, as the statements that make the same table in the database
at hand.

Every type of the written dialect becomes one that holds all of its values in the target, as far as
the target has one; values that do not fit even so are refused when they come (`columns.py`,
`Database.adapters`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import sqlglot
from sqlglot import exp

from pypelineetl.errors import DialectError
from pypelineetl.sql import dialect

_T = exp.DType
_BINARIES = (_T.BINARY, _T.VARBINARY, _T.BLOB, _T.TINYBLOB, _T.MEDIUMBLOB, _T.LONGBLOB)
_TEXTS = (_T.TINYTEXT, _T.MEDIUMTEXT, _T.LONGTEXT, _T.TEXT)
_WHOLES = (
    _T.TINYINT,
    _T.UTINYINT,
    _T.SMALLINT,
    _T.USMALLINT,
    _T.MEDIUMINT,
    _T.UMEDIUMINT,
    _T.INT,
    _T.UINT,
    _T.BIGINT,
)
# By this name SQLite keeps whole numbers whole; sqlglot would write REAL.
_NUMERIC = exp.DataType(this=_T.USERDEFINED, kind="NUMERIC")
# What sqlglot would leave as only MySQL knows it. A type that is not here is sqlglot's to
# translate.
_TYPES: Mapping[str, Mapping[exp.DType, str | exp.DataType]] = {
    "postgres": {
        **dict.fromkeys(_BINARIES, "BYTEA"),
        **dict.fromkeys(_TEXTS, "TEXT"),
        _T.UTINYINT: "SMALLINT",
        _T.USMALLINT: "INT",
        _T.MEDIUMINT: "INT",
        _T.UMEDIUMINT: "INT",
        _T.UINT: "BIGINT",
        _T.UBIGINT: "DECIMAL(20, 0)",
        _T.BIT: "DECIMAL(20, 0)",
        _T.YEAR: "SMALLINT",
        _T.ENUM: "TEXT",
    },
    "duckdb": {
        **dict.fromkeys(_BINARIES, "BLOB"),
        **dict.fromkeys(_TEXTS, "TEXT"),
        _T.MEDIUMINT: "INT",
        _T.UMEDIUMINT: "UINTEGER",
        _T.BIT: "UBIGINT",
        _T.YEAR: "SMALLINT",
        _T.ENUM: "TEXT",
    },
    "sqlite": {
        **dict.fromkeys(_BINARIES, "BLOB"),
        **dict.fromkeys((*_TEXTS, _T.ENUM, _T.JSON, _T.UUID), "TEXT"),
        # Any other name of a type would keep digits in a text as a number, or a number as a float.
        **dict.fromkeys((*_WHOLES, _T.UBIGINT, _T.BIT, _T.YEAR, _T.BOOLEAN), "INTEGER"),
        _T.DECIMAL: _NUMERIC,
        _T.UDECIMAL: _NUMERIC,
    },
    "mysql": {_T.UUID: "CHAR(36)"},
}
_MYSQL_WORDS: Mapping[str, _T] = {
    "REAL": _T.DOUBLE,
    "INT1": _T.TINYINT,
    "INT2": _T.SMALLINT,
    "INT3": _T.MEDIUMINT,
    "INT4": _T.INT,
    "INT8": _T.BIGINT,
}
"""Words of MySQL's that sqlglot takes for other types than MySQL does."""
_MOST_OF_A_SINGLE = 24
"""Bits of a FLOAT: one with more is a DOUBLE."""
_AFTER_TYPE = {
    *(
        "AS",
        "AUTO_INCREMENT",
        "CHARACTER",
        "CHARSET",
        "CHECK",
        "COLLATE",
        "COMMENT",
        "CONSTRAINT",
        "DEFAULT",
    ),
    *("GENERATED", "INVISIBLE", "KEY", "NOT", "NULL", "ON", "PRIMARY", "REFERENCES", "UNIQUE"),
}
"""The words that end the type of a column.

That one may also begin with such a word is `CHARACTER VARYING`.
"""
NUMBERED: Mapping[exp.DType, exp.DType] = {
    _T.SMALLSERIAL: _T.SMALLINT,
    _T.SERIAL: _T.INT,
    _T.BIGSERIAL: _T.BIGINT,
}
"""The types of PostgreSQL that number rows themselves, and the types of the numbers."""
_SECONDS = (_T.TIME, _T.DATETIME, _T.TIMESTAMP, _T.TIMESTAMPTZ, _T.TIMESTAMPNTZ, _T.TIMESTAMPLTZ)
"""The types that keep digits of a second."""
_ENDLESS = {
    _T.TEXT: "LONGTEXT",
    _T.VARCHAR: "LONGTEXT",
    _T.VARBINARY: "LONGBLOB",
    _T.BLOB: "LONGBLOB",
}
"""The types that have no end in other databases, and those that have none in MySQL."""
_UNTRANSLATABLE = (_T.SET, _T.ARRAY, _T.STRUCT, _T.MAP, _T.GEOMETRY, _T.INTERVAL)


def table_definition(sql: str, *, sql_dialect: str) -> exp.Create:
    """Return the parsed CREATE TABLE of a DDL constant.

    Raises DialectError if it is anything else.
    """
    tree = dialect.parse_statement(sql, sql_dialect)
    if (
        not isinstance(tree, exp.Create)
        or tree.kind != "TABLE"
        or not isinstance(tree.this, exp.Schema)
    ):
        message = "a table's DDL must be one CREATE TABLE with its columns"
        raise DialectError(message)
    if sql_dialect == "mysql":
        for column in tree.this.expressions:
            if isinstance(column, exp.ColumnDef) and column.kind is not None:
                _put_meant_type(column, sql)
    return tree


def _put_meant_type(column: exp.ColumnDef, sql: str) -> None:
    """Give a column of MySQL's the type that MySQL takes its words for.

    Raises DialectError for one that rounds.
    """
    kind = column.kind
    assert kind is not None  # noqa: S101 - whoever calls has looked
    tokens = list(sqlglot.tokenize(sql, read="mysql"))
    first_word = re.match(r"\w*", _type_as_written(sql, tokens, column.this.meta["end"]).upper())
    word = first_word[0] if first_word else ""
    if word in _MYSQL_WORDS:
        kind.set("this", _MYSQL_WORDS[word])
    digits = [int(each.name) for each in kind.expressions if each.name.isdigit()]
    if kind.this in {_T.FLOAT, _T.DOUBLE} and len(digits) == 2:  # noqa: PLR2004 - of all, and after the point
        message = (
            f'column "{column.name}" is {word}({digits[0]},{digits[1]}), and MySQL would round its'
            f" values; declare DECIMAL({digits[0]},{digits[1]}), or {word} without digits"
        )
        raise DialectError(message)
    if kind.this == _T.FLOAT and digits:
        kind.set("this", _T.DOUBLE if digits[0] > _MOST_OF_A_SINGLE else _T.FLOAT)


@lru_cache(maxsize=1_000)
def create_statements(sql: str, *, sql_dialect: str, target: str) -> tuple[str, ...]:
    """Return the statements that create a table, and its indexes where the target wants them apart.

    Raises DialectError for a type that has no like in the target.
    """
    tree = table_definition(sql, sql_dialect=sql_dialect)
    if sql_dialect == target:
        return (sql.strip().rstrip(";"),)
    return tuple(
        dialect.generate_sql(part, target) for part in _portable(tree, sql_dialect, target)
    )


def create_columns_only(
    sql: str, name: str, *, sql_dialect: str, target: str, temporary: bool
) -> str:
    """Return the statement that creates an empty table of another name with the same columns, and
    nothing else.
    """
    create = table_definition(sql, sql_dialect=sql_dialect)
    if sql_dialect == target:
        return _bare_as_written(sql, create, name, target, temporary=temporary)
    bare = next(_portable(create, sql_dialect, target))
    bare.this.this.set("this", exp.to_identifier(name, quoted=True))
    columns = [part for part in bare.this.expressions if isinstance(part, exp.ColumnDef)]
    bare.this.set(
        "expressions", [exp.ColumnDef(this=column.this, kind=column.kind) for column in columns]
    )
    bare.set(
        "properties", exp.Properties(expressions=[exp.TemporaryProperty()]) if temporary else None
    )
    return dialect.generate_sql(bare, target)


def _bare_as_written(
    sql: str, create: exp.Create, name: str, target: str, *, temporary: bool
) -> str:
    """Return `create_columns_only` of a DDL that is not translated, with its types to the letter.

    The table itself is made of the text, and sqlglot may write a type in other words: SQLite keeps
    the words.
    """
    tokens = list(sqlglot.tokenize(sql, read=target))
    columns = []
    for part in create.this.expressions:
        if isinstance(part, exp.ColumnDef):
            written = _type_as_written(sql, tokens, part.this.meta["end"])
            columns.append(f"{dialect.quoted_name(part.name, target)} {written}")
    kind = "TEMPORARY TABLE" if temporary else "TABLE"
    return f"CREATE {kind} {dialect.quoted_name(name, target)} ({', '.join(columns)})"


def _type_as_written(sql: str, tokens: Sequence[sqlglot.Token], column_ends: int) -> str:
    """Return the words between a column's name and its first constraint."""
    first, last, depth = 0, column_ends, 0
    for token in tokens:
        if token.start <= column_ends:
            continue
        is_end = token.text in {",", ")"} or (first and token.text.upper() in _AFTER_TYPE)
        if depth == 0 and is_end:
            break
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        first, last = first or token.start, token.end
    return sql[first : last + 1]


def _portable(create: exp.Create, sql_dialect: str, target: str) -> Iterator[exp.Expr]:
    """Yield the CREATE TABLE with what only MySQL knows taken out, and each KEY as a CREATE
    INDEX.
    """
    schema = create.this
    parts = schema.expressions
    indexes = [part for part in parts if isinstance(part, exp.IndexColumnConstraint)]
    schema.set("expressions", [_plain_unique(part) for part in parts if part not in indexes])
    # Engine, character set and comment say how MySQL keeps the table, not what is in it.
    create.set("properties", None)
    for column in [part for part in parts if isinstance(part, exp.ColumnDef)]:
        _put_portable_type(column, sql_dialect, target)
    for constraint in list(create.find_all(exp.ColumnConstraint)):
        if isinstance(constraint, exp.ZeroFillColumnConstraint) or _is_left_out(constraint.kind):
            constraint.pop()
    yield create
    # DuckDB scans columns, which needs no index; and one that is made anew from the log of a
    # process that was killed may lack rows, so that they are not found.
    for index in indexes if target != "duckdb" else ():
        yield _create_index(schema.this, index)


def _is_left_out(kind: exp.Expr) -> bool:
    """Whether a constraint is the engine's business, which assigns surrogate keys itself, or the
    database's.
    """
    if isinstance(kind, exp.GeneratedAsIdentityColumnConstraint):
        # One with an expression computes the column.
        return not kind.args.get("expression")
    left_out = (
        exp.AutoIncrementColumnConstraint,
        exp.CommentColumnConstraint,
        exp.CharacterSetColumnConstraint,
        exp.CollateColumnConstraint,
    )
    return isinstance(kind, left_out)


def _put_portable_type(column: exp.ColumnDef, sql_dialect: str, target: str) -> None:
    kind = column.kind
    if kind is None:
        message = f'column "{column.name}" has no type'
        raise DialectError(message)
    if kind.this in NUMBERED:
        kind.set("this", NUMBERED[kind.this])
    if kind.this in _UNTRANSLATABLE:
        message = (
            f'column "{column.name}" is {kind.sql("mysql")}, for which {target} has no type that'
            " holds its values"
        )
        raise DialectError(message)
    if kind.this in _TYPES.get(target, {}):
        column.set("kind", exp.DataType.build(_TYPES[target][kind.this], dialect=target))
    elif (
        target == "mysql"
        and kind.this in _ENDLESS
        and not kind.expressions
        and sql_dialect != target
    ):
        # MySQL's own types of these names end at 64 KB, or must be given a length.
        column.set("kind", exp.DataType.build(_ENDLESS[kind.this], dialect=target))
    elif (
        target == "mysql"
        and kind.this in _SECONDS
        and not kind.expressions
        and sql_dialect != target
    ):
        # MySQL would leave out the digits of a second that the others keep.
        kind.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(6))])
    elif kind.this in {*_WHOLES, _T.UBIGINT, _T.FLOAT, _T.DOUBLE}:
        # A display width in MySQL, and an error elsewhere.
        kind.set("expressions", None)
    elif kind.this == _T.UDECIMAL:
        kind.set("this", _T.DECIMAL)


def _plain_unique(part: exp.Expr) -> exp.Expr:
    """Return a UNIQUE without the name MySQL lets it have."""
    if isinstance(part, exp.UniqueColumnConstraint) and isinstance(part.this, exp.Schema):
        part.this.set("this", None)
    return part


def _create_index(table: exp.Expr, index: exp.Expr) -> exp.Expr:
    columns = ", ".join(f'"{column.name}"' for column in index.expressions)
    # Index names are shared by the whole schema elsewhere, by one table only in MySQL.
    name = f"{table.name}_{index.name or index.expressions[0].name}"
    return sqlglot.parse_one(f'CREATE INDEX "{name}" ON "{table.name}" ({columns})')
