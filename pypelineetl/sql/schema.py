"""The columns of a warehouse table, as its CREATE TABLE declares them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from sqlglot import exp

from pypelineetl.errors import DialectError, LoadError
from pypelineetl.sql import ddl
from pypelineetl.sql.cast_rules import DATETIMES
from pypelineetl.sql.python_casts import CastError, caster
from pypelineetl.sql.source_values import UnsupportedValue

_T = exp.DType
AUDIT_KEY = "audit_key"
"""The column, where a table has it, that says which run's ETL wrote a row: a key of etl_run."""
_TEXTS = {*exp.DataType.TEXT_TYPES, _T.CHAR, _T.NCHAR, _T.ENUM}


@dataclass(frozen=True)
class Column:
    """One column of a warehouse table."""

    name: str
    """The name of the column."""
    type: exp.DataType
    """The type of the column, as sqlglot parses it."""
    sql_dialect: str
    """The dialect in which the type is written."""
    required: bool
    """Whether the column cannot be NULL."""
    has_default: bool
    """Whether the database gives the column a value if an INSERT does not."""
    is_key: bool
    """Whether the column is the primary key, or a part of it."""
    collation: str = ""
    """The collation of the column; empty if the DDL leaves it to the database."""

    @cached_property
    def is_date(self) -> bool:
        """Whether the column holds dates."""
        return self.type.this in {_T.DATE, _T.DATE32}

    @cached_property
    def is_moment(self) -> bool:
        """Whether the column holds dates or timestamps."""
        return self.is_date or self.type.this in DATETIMES

    @cached_property
    def is_whole(self) -> bool:
        """Whether the column holds whole numbers."""
        return self.type.this in exp.DataType.INTEGER_TYPES

    @cached_property
    def is_text(self) -> bool:
        """Whether the column holds texts, which are compared by a collation."""
        return self.type.this in _TEXTS

    @cached_property
    def cast(self) -> Callable[[Any], Any]:
        """The function that casts a source's value to the column's type.

        It raises LoadError for a value that does not fit. The message names
        the column and the value's type, but never the value, which may be
        secret.
        """
        cast = caster(self.type, self.sql_dialect)

        def checked(value: Any) -> Any:
            if value is None:
                return None
            # The driver could not make a Python value of it, so there is
            # nothing to cast.
            if isinstance(value, UnsupportedValue):
                raise LoadError(self.cast_message(value.type_name, value.reason))
            try:
                return cast(value)
            except CastError as error:
                raise LoadError(self.cast_message(type(value).__name__, str(error))) from error
            except (ValueError, TypeError, ArithmeticError) as error:
                reason = "it is not a value of that type"
                raise LoadError(self.cast_message(type(value).__name__, reason)) from error

        return checked

    def cast_message(self, type_name: str, reason: str) -> str:
        """Return the message about a value that does not fit.

        Args:
            type_name: The Python type of the value.
            reason: Why it does not fit, in words that follow `because`.
        """
        return (
            f'column "{self.name}" is {self.type.sql(self.sql_dialect)} and cannot take a value of'
            f" type {type_name}, because {reason}. Fix the value in the source SQL, or widen the"
            " column."
        )


def columns_of(sql: str, *, sql_dialect: str) -> Mapping[str, Column]:
    """Return the columns of a CREATE TABLE by name, in their order.

    >>> columns = columns_of("CREATE TABLE t (id INT PRIMARY KEY, d DATE)", sql_dialect="mysql")
    >>> [(column.name, column.is_key, column.is_date) for column in columns.values()]
    [('id', True, False), ('d', False, True)]

    Raises:
        DialectError: It is not a CREATE TABLE.
    """
    return _columns_of(sql, sql_dialect)


# A load asks for the columns of one table many times. mypy does not check
# the arguments of a cached function, so it has no other callers.
@lru_cache(maxsize=1_000)
def _columns_of(sql: str, sql_dialect: str) -> Mapping[str, Column]:
    create = ddl.table_definition(sql, sql_dialect=sql_dialect)
    primary_key: set[str] = set()
    for part in create.this.expressions:
        if isinstance(part, exp.PrimaryKey):
            primary_key.update(column.name for column in part.expressions)
    columns = {}
    for part in create.this.expressions:
        if isinstance(part, exp.ColumnDef):
            columns[part.name] = _column(part, primary_key, sql_dialect)
    return columns


def _column(definition: exp.ColumnDef, primary_key: set[str], sql_dialect: str) -> Column:
    if definition.kind is None:
        message = f'column "{definition.name}" has no type'
        raise DialectError(message)
    is_key = definition.name in primary_key
    is_not_null = has_default = False
    collation = ""
    for constraint in definition.constraints:
        kind = constraint.kind
        match kind:
            case exp.PrimaryKeyColumnConstraint():
                is_key = True
            case exp.NotNullColumnConstraint() if not kind.args.get("allow_null"):
                is_not_null = True
            case exp.DefaultColumnConstraint() | exp.AutoIncrementColumnConstraint():
                has_default = True
            case exp.CollateColumnConstraint() if not collation:
                collation = kind.this.name
    # A copy, because the original keeps the whole tree of the DDL in
    # memory.
    column_type = definition.kind.copy()
    column_type.set("this", ddl.NUMBERED.get(column_type.this, column_type.this))
    return Column(
        name=definition.name,
        type=column_type,
        sql_dialect=sql_dialect,
        required=is_not_null or is_key,
        has_default=has_default,
        is_key=is_key,
        collation=collation,
    )
