"""SQL written once, in the dialect config.py names, read and put into the dialect of the database at hand by sqlglot.

SQL already in the database's own dialect passes through untouched. What sqlglot cannot translate is an error.
"""

from collections.abc import Iterator
from typing import ClassVar

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.dialects import SQLite
from sqlglot.errors import ParseError, TokenError, UnsupportedError

from pypelineetl.errors import DialectError

_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)
_INDEXES = (exp.IndexColumnConstraint,)
# Types whose parameter is a display width in MySQL and an error elsewhere.
_WIDTHS = (*exp.DataType.INTEGER_TYPES, exp.DType.FLOAT, exp.DType.DOUBLE)


class _BacktickedSQLite(SQLite):  # type: ignore[misc] # sqlglot's dialects are made by a metaclass
    """SQLite takes "nmae", where there is no such column, for the text 'nmae'; `nmae` is an error, as it should be."""

    class Tokenizer(SQLite.Tokenizer):  # type: ignore[misc] # as above
        IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ["`", '"', ("[", "]")]


_WRITTEN_AS = {"sqlite": _BacktickedSQLite}


def query(sql: str, *, written: str, target: str) -> str:
    """Return a source query in the target's dialect.

    Raises DialectError for anything but one SELECT (UNION and WITH included): a source is only ever read.
    """
    tree = _single(sql, written)
    writes = tree.find(exp.DML, exp.DDL, exp.Into, exp.Lock, exp.Command)
    if not isinstance(tree, _QUERIES) or (writes and not isinstance(writes, exp.Query)):
        offender = tree if not isinstance(tree, _QUERIES) or writes is None else writes
        kind = offender.key.upper()
        message = f"a source must be one SELECT, and this is a statement with {kind} in it; nothing was run"
        raise DialectError(message)
    return sql.strip().rstrip(";") if written == target else _written(tree, target)


def first_row(sql: str, *, dialect: str) -> str:
    """Return a query that gives the first row of another at most, so that it can be tried without being read whole."""
    tree = _single(sql, dialect)
    assert isinstance(tree, exp.Query), sql  # noqa: S101 - the caller's own mistake: `query` lets nothing else through
    limited = exp.select("*").from_(tree.subquery("source")) if tree.args.get("limit") else tree
    return limited.limit(1).sql(dialect=_WRITTEN_AS.get(dialect, dialect))


def table_definition(sql: str, *, written: str) -> exp.Create:
    """Return the parsed CREATE TABLE of a DDL constant. Raises DialectError if it is anything else."""
    tree = _single(sql, written)
    if not isinstance(tree, exp.Create) or tree.kind != "TABLE" or not isinstance(tree.this, exp.Schema):
        message = "a table's DDL must be one CREATE TABLE with its columns"
        raise DialectError(message)
    return tree


def create_statements(sql: str, *, written: str, target: str) -> list[str]:
    """Return the statements that create a table, and its indexes where the target wants them apart."""
    tree = table_definition(sql, written=written)
    if written == target:
        return [sql.strip().rstrip(";")]
    return [_written(part, target) for part in _portable(tree.copy())]


def _portable(create: exp.Create) -> Iterator[exp.Expr]:
    """Yield the CREATE TABLE with what only MySQL knows taken out, and each KEY as a CREATE INDEX."""
    schema = create.this
    table = schema.this
    indexes = [part for part in schema.expressions if isinstance(part, _INDEXES)]
    schema.set("expressions", [_plain_unique(part) for part in schema.expressions if not isinstance(part, _INDEXES)])
    # Engine, character set and comment say how MySQL keeps the table, not what is in it.
    create.set("properties", None)
    for kind in list(create.find_all(exp.DataType)):
        if kind.this in _WIDTHS:
            kind.set("expressions", None)
    for constraint in list(create.find_all(exp.ColumnConstraint)):
        # The engine assigns surrogate keys itself.
        if isinstance(constraint.kind, exp.AutoIncrementColumnConstraint | exp.CommentColumnConstraint):
            constraint.pop()
    yield create
    for index in indexes:
        columns = [f'"{column.name}"' for column in index.expressions]
        name = f"{table.name}_{index.name}" if index.name else f"{table.name}_{index.expressions[0].name}"
        # Index names are shared by the whole schema elsewhere, by one table only in MySQL.
        yield sqlglot.parse_one(f'CREATE INDEX "{name}" ON "{table.name}" ({", ".join(columns)})')


def _plain_unique(part: exp.Expr) -> exp.Expr:
    """Return a UNIQUE without the name MySQL lets it have."""
    if isinstance(part, exp.UniqueColumnConstraint) and isinstance(part.this, exp.Schema):
        part.this.set("this", None)
    return part


def _single(sql: str, dialect: str) -> exp.Expr:
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except (ParseError, TokenError) as error:
        message = f"this is no {dialect} SQL: {_place(error)}"
        raise DialectError(message) from error
    if len(trees) != 1:
        message = f"one statement is needed, {len(trees)} were given"
        raise DialectError(message)
    return trees[0]


def _place(error: ParseError | TokenError) -> str:
    if isinstance(error, ParseError) and error.errors:
        first = error.errors[0]
        near = f"{first['start_context']}>>>{first['highlight']}<<<{first['end_context']}".strip()
        return f"{first['description']} Line {first['line']}, column {first['col']}: {' '.join(near.split())}"
    return str(error)


def _written(tree: exp.Expr, target: str) -> str:
    try:
        return tree.sql(dialect=_WRITTEN_AS.get(target, target), unsupported_level=ErrorLevel.RAISE, identify=True)
    except UnsupportedError as error:
        message = f"this has no translation to {target}: {error}"
        raise DialectError(message) from error
