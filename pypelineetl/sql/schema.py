"""The columns of a warehouse table as its DDL declares them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from sqlglot import exp

from pypelineetl.errors import DialectError, LoadError
from pypelineetl.sql import ddl
from pypelineetl.sql.python_casts import DATETIMES, CastError, UnsupportedValue, converter

_T = exp.DType
AUDIT_KEY = "audit_key"
"""The column that tells which run's ETL has written a row, where a table has it.

A key of etl_run.
"""
_TEXTS = {*exp.DataType.TEXT_TYPES, _T.CHAR, _T.NCHAR, _T.ENUM}


@dataclass(frozen=True)
class Column:
    """One column of a warehouse table.

    Its name, its type as written, and whether it must have a value.
    """

    name: str
    type: exp.DataType
    sql_dialect: str
    """The dialect the type is written in."""
    required: bool
    has_default: bool
    is_key: bool
    """Whether it is the primary key, or a part of it."""
    collation: str = ""
    """The collation that it is declared with; empty if it has the database's own."""

    @cached_property
    def is_date(self) -> bool:
        """Whether the column holds days."""
        return self.type.this in {_T.DATE, _T.DATE32}

    @cached_property
    def is_moment(self) -> bool:
        """Whether the column holds days, or moments."""
        return self.is_date or self.type.this in DATETIMES

    @cached_property
    def is_whole(self) -> bool:
        """Whether the column holds whole numbers."""
        return self.type.this in exp.DataType.INTEGER_TYPES

    @cached_property
    def is_text(self) -> bool:
        """Whether the column holds texts, which a collation may compare."""
        return self.type.this in _TEXTS

    @cached_property
    def cast(self) -> Callable[[Any], Any]:
        """What turns a source's value into this column's type, or raises LoadError if it does not
        fit.

        The message names the column and the value's type, never the value, which may be somebody's
        secret.
        """
        convert = converter(self.type, self.sql_dialect)

        def checked(value: Any) -> Any:
            if value is None:
                return None
            if isinstance(value, UnsupportedValue):
                raise LoadError(self.refusal(value.kind, value.reason))
            try:
                return convert(value)
            except (CastError, ValueError, TypeError, ArithmeticError) as error:
                reason = str(error) if isinstance(error, CastError) else "it is no such value"
                raise LoadError(self.refusal(type(value).__name__, reason)) from error

        return checked

    def refusal(self, given: str, reason: str) -> str:
        """Return what to tell of a value of a Python type that the column cannot take."""
        return (
            f'column "{self.name}" is {self.type.sql(self.sql_dialect)} and cannot take a value of'
            f" type {given}, because {reason}. Fix the value in the source SQL, or widen the"
            " column."
        )


@lru_cache(maxsize=1_000)
def columns_of(sql: str, *, sql_dialect: str) -> Mapping[str, Column]:
    """Return the columns of a CREATE TABLE by name, in their order.

    Raises DialectError if it is none.
    """
    create = ddl.table_definition(sql, sql_dialect=sql_dialect)
    parts = create.this.expressions
    keys = {
        column.name
        for part in parts
        if isinstance(part, exp.PrimaryKey)
        for column in part.expressions
    }
    columns = [
        _column(part, keys, sql_dialect) for part in parts if isinstance(part, exp.ColumnDef)
    ]
    return {column.name: column for column in columns}


def _column(definition: exp.ColumnDef, keys: set[str], sql_dialect: str) -> Column:
    kinds = [constraint.kind for constraint in definition.constraints]
    is_key = definition.name in keys or any(
        isinstance(kind, exp.PrimaryKeyColumnConstraint) for kind in kinds
    )
    not_null = any(
        isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null")
        for kind in kinds
    )
    default = any(
        isinstance(kind, exp.DefaultColumnConstraint | exp.AutoIncrementColumnConstraint)
        for kind in kinds
    )
    if definition.kind is None:
        message = f'column "{definition.name}" has no type'
        raise DialectError(message)
    # A copy, as the original would keep the whole tree of the DDL in memory.
    kind = definition.kind.copy()
    kind.set("this", ddl.NUMBERED.get(kind.this, kind.this))
    collation = next(
        (each.this.name for each in kinds if isinstance(each, exp.CollateColumnConstraint)), ""
    )
    return Column(
        definition.name, kind, sql_dialect, not_null or is_key, default, is_key, collation
    )
