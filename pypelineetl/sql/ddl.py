"""Translate a table's CREATE TABLE to the statements that create the same table elsewhere.

Each type becomes one that holds all of its values in the target, as far as
the target has one. A value that does not fit even so is an error when it
comes (`schema.py`, `databases/limits.py`).
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
# A column of SQLite that is NUMERIC keeps whole numbers whole. sqlglot
# would make it REAL.
_NUMERIC = exp.DataType(this=_T.USERDEFINED, kind="NUMERIC")
_TYPES: Mapping[str, Mapping[exp.DType, str | exp.DataType]] = {
    "postgres": {
        **dict.fromkeys(_BINARIES, "BYTEA"),
        **dict.fromkeys(_TEXTS, "TEXT"),
        # Without unsigned types, the next larger type holds the values.
        _T.UTINYINT: "SMALLINT",
        _T.USMALLINT: "INT",
        _T.MEDIUMINT: "INT",
        _T.UMEDIUMINT: "INT",
        _T.UINT: "BIGINT",
        # PostgreSQL has no type of whole numbers with 64 bits and no sign.
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
        # SQLite turns digits in a text into a number, or a whole number
        # into a float, if it does not know the name of the column's type.
        **dict.fromkeys((*_WHOLES, _T.UBIGINT, _T.BIT, _T.YEAR, _T.BOOLEAN), "INTEGER"),
        _T.DECIMAL: _NUMERIC,
        _T.UDECIMAL: _NUMERIC,
    },
    "mysql": {_T.UUID: "CHAR(36)"},
}
"""By target, the types that it has under another name. sqlglot translates all other types."""
_MYSQL_WORDS: Mapping[str, _T] = {
    "REAL": _T.DOUBLE,
    "INT1": _T.TINYINT,
    "INT2": _T.SMALLINT,
    "INT3": _T.MEDIUMINT,
    "INT4": _T.INT,
    "INT8": _T.BIGINT,
}
"""MySQL's names of types that sqlglot reads as another type."""
_FLOAT_BITS = 24
"""The most bits of a FLOAT(bits) in MySQL; one with more bits is a DOUBLE."""
_AFTER_TYPE = {
    *("AS", "AUTO_INCREMENT", "CHARACTER", "CHARSET", "CHECK", "COLLATE", "COMMENT", "CONSTRAINT"),
    *("DEFAULT", "GENERATED", "INVISIBLE", "KEY", "NOT", "NULL", "ON", "PRIMARY", "REFERENCES"),
    "UNIQUE",
}
"""The words that end the type of a column; a type can begin with one: CHARACTER VARYING."""
NUMBERED: Mapping[exp.DType, exp.DType] = {
    _T.SMALLSERIAL: _T.SMALLINT,
    _T.SERIAL: _T.INT,
    _T.BIGSERIAL: _T.BIGINT,
}
"""PostgreSQL's types that number rows themselves, and the types of their numbers."""
_WITH_SECONDS = (
    _T.TIME,
    _T.DATETIME,
    _T.TIMESTAMP,
    _T.TIMESTAMPTZ,
    _T.TIMESTAMPNTZ,
    _T.TIMESTAMPLTZ,
)
"""The types that keep digits of a second."""
_UNLIMITED = {
    _T.TEXT: "LONGTEXT",
    _T.VARCHAR: "LONGTEXT",
    _T.VARBINARY: "LONGBLOB",
    _T.BLOB: "LONGBLOB",
}
"""The types of unlimited length in other databases, and MySQL's types for them."""
_UNTRANSLATABLE = (_T.SET, _T.ARRAY, _T.STRUCT, _T.MAP, _T.GEOMETRY, _T.INTERVAL)
_ENGINES_OWN = (
    exp.AutoIncrementColumnConstraint,
    exp.CommentColumnConstraint,
    exp.CharacterSetColumnConstraint,
    exp.CollateColumnConstraint,
    exp.ZeroFillColumnConstraint,
)
"""The column constraints that a translation leaves out.

The engine assigns surrogate keys itself, and the target database has its
own collations.
"""


def table_definition(sql: str, *, sql_dialect: str) -> exp.Create:
    """Return the parsed CREATE TABLE of a constant in creates.py.

    Raises:
        DialectError: It is not a CREATE TABLE with columns, or a column has
            a type that rounds.
    """
    # Callers may change the tree that they get.
    return _parsed_table(sql, sql_dialect).copy()


# A load reads the definitions of its tables several times.
@lru_cache(maxsize=1_000)
def _parsed_table(sql: str, sql_dialect: str) -> exp.Create:
    tree = dialect.parse_statement(sql, sql_dialect)
    # CREATE TABLE … AS SELECT and LIKE declare no columns.
    has_columns = isinstance(tree.this, exp.Schema)
    if not isinstance(tree, exp.Create) or tree.kind != "TABLE" or not has_columns:
        message = "a table's DDL must be one CREATE TABLE with its columns"
        raise DialectError(message)
    if sql_dialect == "mysql":
        tokens = list(sqlglot.tokenize(sql, read="mysql"))
        for column in tree.this.expressions:
            if isinstance(column, exp.ColumnDef) and column.kind is not None:
                type_text = _type_text(sql, tokens, column.this.meta["end"])
                _correct_mysql_type(column, column.kind, type_text.upper())
    return tree


def _correct_mysql_type(column: exp.ColumnDef, column_type: exp.DataType, type_text: str) -> None:
    """Give a column the type that MySQL gives it, where sqlglot reads another.

    Raises:
        DialectError: MySQL would round the values of the type.
    """
    first_word = re.match(r"\w*", type_text)
    word = first_word[0] if first_word else ""
    if word in _MYSQL_WORDS:
        column_type.set("this", _MYSQL_WORDS[word])
    if column_type.this not in {_T.FLOAT, _T.DOUBLE}:
        return
    texts = [parameter.name for parameter in column_type.expressions]
    match [int(text) for text in texts if text.isdigit()]:
        case [precision, scale]:
            message = (
                f'column "{column.name}" is {word}({precision},{scale}), and MySQL would round its'
                f" values; declare DECIMAL({precision},{scale}), or {word} without digits"
            )
            raise DialectError(message)
        case [bits, *_] if column_type.this == _T.FLOAT and bits > _FLOAT_BITS:
            column_type.set("this", _T.DOUBLE)


# Every load asks for the statements of its tables; parsing takes
# milliseconds.
@lru_cache(maxsize=1_000)
def create_statements(sql: str, *, sql_dialect: str, target: str) -> tuple[str, ...]:
    """Return the statements that create a table, and its indexes where the target wants them apart.

    >>> create = "CREATE TABLE t (id INT AUTO_INCREMENT, made DATETIME, KEY by_made (made))"
    >>> for statement in create_statements(create, sql_dialect="mysql", target="postgres"):
    ...     print(statement)
    CREATE TABLE "t" ("id" INT, "made" TIMESTAMP)
    CREATE INDEX "t_by_made" ON "t"("made" NULLS FIRST)

    Args:
        sql: A CREATE TABLE.
        sql_dialect: The dialect that it is written in.
        target: The dialect of the database in which the table is created.

    Raises:
        DialectError: The target has no type for a column.
    """
    tree = table_definition(sql, sql_dialect=sql_dialect)
    # The user's own DDL keeps what a translation would leave out, such as
    # the engine.
    if sql_dialect == target:
        return (sql.strip().rstrip(";"),)
    statements = _translated(tree, sql_dialect, target)
    return tuple(dialect.generate_sql(statement, target) for statement in statements)


def create_columns_only(
    sql: str, name: str, *, sql_dialect: str, target: str, temporary: bool
) -> str:
    """Return the statement that creates an empty table with the same columns, and nothing else.

    >>> create_columns_only(
    ...     "CREATE TABLE t (id INT NOT NULL, a CHAR(2) DEFAULT 'x')",
    ...     "copy",
    ...     sql_dialect="mysql",
    ...     target="mysql",
    ...     temporary=True,
    ... )
    'CREATE TEMPORARY TABLE `copy` (`id` INT, `a` CHAR(2))'

    Args:
        sql: The CREATE TABLE of the original.
        name: The name of the new table.
        sql_dialect: The dialect that the SQL is written in.
        target: The dialect of the database in which the table is created.
        temporary: Whether the table exists only in the session that creates
            it.
    """
    create = table_definition(sql, sql_dialect=sql_dialect)
    kind = "TEMPORARY TABLE" if temporary else "TABLE"
    if sql_dialect == target:
        own_columns = ", ".join(_own_columns(sql, create, target))
        return f"CREATE {kind} {dialect.quoted_name(name, target)} ({own_columns})"
    copy = next(_translated(create, sql_dialect, target))
    columns = [part for part in copy.this.expressions if isinstance(part, exp.ColumnDef)]
    columns_only = [exp.ColumnDef(this=column.this, kind=column.kind) for column in columns]
    # The tree is a copy, so it may be changed.
    copy.this.this.set("this", exp.to_identifier(name, quoted=True))
    copy.this.set("expressions", columns_only)
    if temporary:
        copy.set("properties", exp.Properties(expressions=[exp.TemporaryProperty()]))
    return dialect.generate_sql(copy, target)


def _own_columns(sql: str, create: exp.Create, target: str) -> Iterator[str]:
    """Yield the name and the type of each column, the type as the DDL has it.

    sqlglot may use other words for a type. SQLite keeps the words of a
    type, and the engine compares tables by them.
    """
    tokens = list(sqlglot.tokenize(sql, read=target))
    for part in create.this.expressions:
        if isinstance(part, exp.ColumnDef):
            type_text = _type_text(sql, tokens, part.this.meta["end"])
            yield f"{dialect.quoted_name(part.name, target)} {type_text}"


def _type_text(sql: str, tokens: Sequence[sqlglot.Token], name_end: int) -> str:
    """Return the text between a column's name and its first constraint.

    Args:
        sql: The CREATE TABLE.
        tokens: Its tokens.
        name_end: The place where the column's name ends.
    """
    # Parentheses belong to the type, as in DECIMAL(9, 2), or to a later
    # constraint.
    first, last, depth = 0, name_end, 0
    for token in tokens:
        if token.start <= name_end:
            continue
        is_constraint = bool(first) and token.text.upper() in _AFTER_TYPE
        if depth == 0 and (is_constraint or token.text in {",", ")"}):
            break
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        first = first or token.start
        last = token.end
    return sql[first : last + 1]


def _translated(create: exp.Create, sql_dialect: str, target: str) -> Iterator[exp.Expr]:
    """Yield the CREATE TABLE without what only MySQL knows, and a CREATE INDEX for each KEY."""
    schema = create.this
    indexes = []
    parts = []
    for part in schema.expressions:
        if isinstance(part, exp.IndexColumnConstraint):
            indexes.append(part)
        else:
            parts.append(_without_unique_name(part))
    schema.set("expressions", parts)
    # ENGINE, CHARSET and COMMENT say how MySQL stores the table, not what
    # is in it.
    create.set("properties", None)
    for part in parts:
        if isinstance(part, exp.ColumnDef):
            _translate_type(part, sql_dialect, target)
            for constraint in list(part.constraints):
                if _is_left_out(constraint.kind):
                    constraint.pop()
    yield create
    if target == "duckdb":
        # DuckDB scans columns and needs no index. An index that DuckDB
        # rebuilds from the log of a killed process may lack rows, so that a
        # query does not find them.
        return
    for index in indexes:
        yield _create_index(schema.this, index)


def _is_left_out(kind: exp.Expr) -> bool:
    """Whether a translation leaves out a column constraint of this kind."""
    if isinstance(kind, exp.GeneratedAsIdentityColumnConstraint):
        # GENERATED … AS (expression) computes the column, and stays.
        return not kind.args.get("expression")
    return isinstance(kind, _ENGINES_OWN)


def _translate_type(column: exp.ColumnDef, sql_dialect: str, target: str) -> None:
    """Give a column the target's type.

    Raises:
        DialectError: The target has no type that holds the column's values.
    """
    column_type = column.kind
    if column_type is None:
        message = f'column "{column.name}" has no type'
        raise DialectError(message)
    if column_type.this in NUMBERED:
        column_type.set("this", NUMBERED[column_type.this])
    name = column_type.this
    is_new_to_mysql = target == "mysql" and sql_dialect != target
    has_parameters = bool(column_type.expressions)
    if name in _UNTRANSLATABLE:
        message = (
            f'column "{column.name}" is {column_type.sql("mysql")}, for which {target} has no type'
            " that holds its values"
        )
        raise DialectError(message)
    if name in _TYPES.get(target, {}):
        column.set("kind", exp.DataType.build(_TYPES[target][name], dialect=target))
    elif is_new_to_mysql and name in _UNLIMITED and not has_parameters:
        # MySQL's own types of these names end at 64 KB, or need a length.
        column.set("kind", exp.DataType.build(_UNLIMITED[name], dialect=target))
    elif is_new_to_mysql and name in _WITH_SECONDS and not has_parameters:
        # MySQL's types keep no digits of a second by default, the others
        # keep six.
        column_type.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(6))])
    elif name in {*_WHOLES, _T.UBIGINT, _T.FLOAT, _T.DOUBLE}:
        # The number of INT(11) is a display width in MySQL, and an error
        # elsewhere.
        column_type.set("expressions", None)
    elif name == _T.UDECIMAL:
        column_type.set("this", _T.DECIMAL)


def _without_unique_name(part: exp.Expr) -> exp.Expr:
    """Return a part of a table; a UNIQUE KEY loses the name that only MySQL's syntax has."""
    if isinstance(part, exp.UniqueColumnConstraint) and isinstance(part.this, exp.Schema):
        part.this.set("this", None)
    return part


def _create_index(table: exp.Expr, index: exp.Expr) -> exp.Expr:
    columns = ", ".join(f'"{column.name}"' for column in index.expressions)
    # In MySQL the indexes of one table have different names, elsewhere
    # those of a whole schema.
    name = f"{table.name}_{index.name or index.expressions[0].name}"
    return sqlglot.parse_one(f'CREATE INDEX "{name}" ON "{table.name}" ({columns})')
