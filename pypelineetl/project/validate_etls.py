"""Validate the declared ETLs: each problem says what was given, the rule, and what to do.

Each rule yields problems without the name of the ETL, which `etl_problems`
adds.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pygrametl.tables import (
    BulkDimension,
    BulkFactTable,
    CachedBulkDimension,
    Dimension,
    FactTable,
)
from sqlalchemy import URL

from pypelineetl.databases import database_class
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.errors import DialectError, did_you_mean, quoted
from pypelineetl.project.locations import place_of
from pypelineetl.project.validate_attributes import attribute_problems, unknown
from pypelineetl.project.validate_checks import check_problems
from pypelineetl.project.validate_fields import field_problems
from pypelineetl.project.validate_keys import key_problems
from pypelineetl.project.validate_nested import nested_problems
from pypelineetl.project.validate_source import source_problems
from pypelineetl.sql.ddl import table_definition
from pypelineetl.sql.schema import AUDIT_KEY, Column, columns_of

_UNQUOTABLE = set('"`%()\0')
_BASES = {"dimension": Dimension, "fact": FactTable}
_BULK = ("fact", BulkFactTable)
"""The only class for facts that is not a subclass of FactTable.

The engine has its own bulk loader, so the factory need not give one.
"""


@dataclass(frozen=True)
class ConfigContext:
    """The settings of config.py with which its ETLs are validated."""

    sql_dialect: str
    """The dialect of the DDL and of checks."""
    warehouse: URL | None
    """The URL of the warehouse; None if it is invalid."""
    sources: Mapping[str, str]
    """For each source database, in configured order, the dialect of its SQL."""
    home: Path | None = None
    """The folder of config.py and the other flat modules; None if it is not known."""


Problem = tuple[str, str]
"""The field of an ETL that has a problem (empty for the ETL itself), and the problem."""


def etl_problems(
    dimensions: Sequence[DimensionETL], facts: Sequence[FactETL], context: ConfigContext
) -> list[str]:
    """Return all problems of these ETLs. Each is one line that names its ETL."""
    found = [
        *_wrong_entries("DIMENSIONS", dimensions, DimensionETL),
        *_wrong_entries("FACTS", facts, FactETL),
    ]
    # Each step needs what the step before it has validated.
    if found:
        return found
    etls: tuple[ETL, ...] = (*dimensions, *facts)
    # The later rules rely on the types of the fields, and then on those of
    # the values inside them.
    for problems_of in (field_problems, nested_problems):
        for etl in etls:
            problems = problems_of(etl)
            found += [problem_line(etl, "", problem, context.home) for problem in problems]
        if found:
            return found
    by_name = {etl.name: etl for etl in dimensions}
    for etl in etls:
        for field, problem in _problems_of_etl(etl, by_name, context):
            found.append(problem_line(etl, field, problem, context.home))
    # A dimension and a fact may have the same name, but no two ETLs the
    # same table.
    found += _repeated("dimensions", dimensions, "name")
    found += _repeated("facts", facts, "name")
    found += _repeated("", etls, "table")
    return found


def problem_line(etl: ETL, field: str, problem: str, home: Path | None) -> str:
    """Return a problem of an ETL as one line: its place, the ETL's name, and what is wrong."""
    return f'{place_of(etl, field, home)}: {etl.kind} "{etl.name}": {problem}'


def _wrong_entries(title: str, entries: Iterable[Any], wanted: type) -> Iterator[str]:
    """Yield a problem for each entry of DIMENSIONS or FACTS that is no such ETL."""
    for entry in entries:
        if not isinstance(entry, wanted):
            yield (
                f"config.py: {title} holds a {type(entry).__name__}; every entry must be a"
                f" {wanted.__name__}"
            )


def _repeated(kinds: str, etls: Sequence[ETL], what: str) -> Iterator[str]:
    """Yield a problem for each name or table that several ETLs have.

    Args:
        kinds: The plural of the ETLs' kind, for messages.
        etls: The ETLs.
        what: "name" or "table".

    """
    etls_by_value: dict[str, list[ETL]] = {}
    for etl in etls:
        etls_by_value.setdefault(getattr(etl, what), []).append(etl)
    for value, same in etls_by_value.items():
        # ETLs that share both their name and their table are reported only
        # for the name.
        names = list(dict.fromkeys(f'{etl.kind} "{etl.name}"' for etl in same))
        if len(same) > 1 and what == "name":
            yield f'config.py: {len(same)} {kinds} have the same name "{value}"; give each its own'
        elif len(names) > 1:
            yield (
                f'config.py: {" and ".join(names)} have the same {what} "{value}"; give each'
                " its own"
            )


def _problems_of_etl(
    etl: ETL, dimensions: Mapping[str, DimensionETL], context: ConfigContext
) -> Iterator[Problem]:
    """Yield the problems of an ETL whose fields have the right types."""
    sql_dialect, warehouse = context.sql_dialect, context.warehouse
    if etl.database is not None and etl.database not in context.sources:
        near = did_you_mean(etl.database, context.sources)
        problem = (
            f'the database "{etl.database}" is not in SOURCE_URLS.{near} There are'
            f" {quoted(context.sources)}"
        )
        yield "", problem
    # A dimension may have no source: facts then make its members.
    if etl.source is not None or isinstance(etl, FactETL):
        yield from _in("source", source_problems(etl.source, _dialect_of(etl, context)))
    factory_problems = list(_factory_problems(etl))
    if _UNQUOTABLE & set(etl.table):
        factory_problems.append(
            f'table "{etl.table}" has a character that pygrametl cannot quote; rename it'
        )
    yield from _in("factory", factory_problems)
    try:
        _check_name(etl, sql_dialect)
        columns = columns_of(etl.create, sql_dialect=sql_dialect)
    except DialectError as error:
        yield "create", f"the DDL: {error}"
        return
    if warehouse is not None:
        yield from _in("create", _long_names((etl.table, *columns), warehouse))
    # The rules below compare the factory with the columns of the DDL.
    if factory_problems:
        return
    yield from _in("factory", _column_problems(etl, columns))
    yield from _in("", attribute_problems(etl, columns))
    yield from _in("", check_problems(etl, columns, dimensions, sql_dialect, warehouse))
    if isinstance(etl, FactETL):
        yield from _in("keys", key_problems(etl, dimensions, sql_dialect))
    elif warehouse is not None:
        yield from _in("factory", _version_problems(etl, warehouse))


def _in(field: str, problems: Iterable[str]) -> Iterator[Problem]:
    """Return the problems as those of one field."""
    return ((field, problem) for problem in problems)


def _dialect_of(etl: ETL, context: ConfigContext) -> str:
    """Return the dialect of an ETL's source SQL."""
    # The first source is the default.
    first = next(iter(context.sources))
    return context.sources.get(etl.database or first, context.sql_dialect)


def _check_name(etl: ETL, sql_dialect: str) -> None:
    """Raise DialectError unless the DDL and the factory name the same table, without a schema."""
    # pygrametl writes to the table of its own name, which must be the
    # created one.
    table = table_definition(etl.create, sql_dialect=sql_dialect).this.this
    created = table.name
    if table.db or "." in etl.table:
        message = (
            f'it creates "{table.sql()}", and the factory\'s name is "{etl.table}"; write both'
            " without a schema: the one that WAREHOUSE_URL leads to is used"
        )
        raise DialectError(message)
    if created != etl.table:
        message = (
            f'it creates "{created}", and the factory\'s name is "{etl.table}"; make them the same'
        )
        raise DialectError(message)


def _factory_problems(etl: ETL) -> Iterator[str]:
    """Yield the problem of a factory's class, or the problems of its arguments."""
    made, base = etl.factory.table_class, _BASES[etl.kind]
    is_derived = isinstance(made, type) and issubclass(made, base)
    if not is_derived and (etl.kind, made) != _BULK:
        given_class = getattr(made, "__name__", made)
        yield (
            f"the factory's class is {given_class}; a {etl.kind} needs a pygrametl {base.__name__}"
            " or a subclass"
        )
        return
    # These classes need a function that loads files into the warehouse.
    if issubclass(made, BulkDimension | CachedBulkDimension):
        yield (
            f"the factory's class is {made.__name__}, which loads from its own files; use"
            " CachedDimension, which the engine loads in bulk as well"
        )
        return
    yield from _argument_problems(made, etl.factory.arguments)


def _argument_problems(table_class: type, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield a problem for each argument that the class does not have, or that is missing."""
    # pygrametl would report a wrong argument only when a load begins.
    parameters = inspect.signature(table_class).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    for name in arguments:
        is_known = name in parameters or takes_any
        # The engine itself gives the connection.
        if not is_known or name == "targetconnection":
            near = did_you_mean(name, parameters)
            yield (
                f'the factory has an argument "{name}", which {table_class.__name__} does not'
                f" take.{near}"
            )
    for name, parameter in parameters.items():
        if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        # For a BulkFactTable, the engine uses its own bulk loader.
        is_optional = table_class is BulkFactTable and name == "bulkloader"
        if name not in arguments and not is_optional:
            yield f'the factory lacks the argument "{name}", which {table_class.__name__} needs'


def _column_problems(etl: ETL, columns: Mapping[str, Column]) -> Iterator[str]:
    """Yield the problems of a factory's columns, compared with those of the DDL."""
    written = etl.factory.columns
    # The engine fills the audit key.
    filled = {*written, AUDIT_KEY}
    for name in written:
        if name not in columns:
            yield (
                f'the factory names the column "{name}", which the DDL does not'
                f" have.{did_you_mean(name, columns)}"
            )
        elif _UNQUOTABLE & set(name):
            yield f'column "{name}" has a character that pygrametl cannot quote; rename it'
    for name, column in columns.items():
        # A column that allows NULL or has a default need not be filled.
        is_needed = column.required and not column.has_default
        if is_needed and name not in filled:
            yield f'column "{name}" is NOT NULL in its DDL, and its factory does not fill it'
    if AUDIT_KEY in columns and AUDIT_KEY not in written and not columns[AUDIT_KEY].is_whole:
        yield (
            f'column "{AUDIT_KEY}" holds the key of the run that wrote a row; make it INT, or'
            " rename it"
        )
    if isinstance(etl, DimensionETL):
        others = (*etl.factory.names("lookupatts"), *etl.factory.versioning)
        yield from unknown(others, etl.factory.names("attributes"), "attributes do not have")
    else:
        yield from unknown(etl.grain, written, "is in its grain but not in its factory;")


def _long_names(names: Iterable[str], warehouse: URL) -> Iterator[str]:
    """Yield a problem for each name that the warehouse would cut off."""
    limit = database_class(warehouse).name_limit
    for name in names:
        size = len(name.encode())
        if limit is not None and size > limit:
            yield (
                f'the name "{name}" has {size} bytes, and the warehouse keeps {limit} of them; give'
                " it a shorter one"
            )


def _version_problems(etl: DimensionETL, warehouse: URL) -> Iterator[str]:
    """Yield the problems of pygrametl's type-2 class on the warehouse.

    Without a version column, its SQL has NULLS FIRST, which not every
    database supports.
    """
    factory = etl.factory
    # With one of these, pygrametl orders versions by it, and needs no NULLS
    # FIRST.
    ordered = factory.name("versionatt") or factory.name("orderingatt")
    if etl.scd_type != "type 2":
        return
    if factory.names("type1atts") and factory.arguments.get("cachesize") == 0:
        yield (
            "the factory has cachesize=0 together with type1atts, on which pygrametl fails; leave"
            " cachesize out"
        )
    # MySQL has no NULLS FIRST.
    if not ordered and not database_class(warehouse).supports_nulls_first:
        yield (
            'the factory lacks "versionatt", without which pygrametl cannot order versions here;'
            " add a version column"
        )
