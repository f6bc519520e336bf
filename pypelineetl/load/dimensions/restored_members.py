"""Restore members and attributes that a rebuilt dimension keeps without rows in its source.

This is for dimensions without versions. A type-2 dimension keeps all its versions
(key_preservation.py).
"""

from collections.abc import Iterator, Mapping

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.deletions import SEEN_KEYS, records_seen_keys
from pypelineetl.load.dimensions.previous_members import (
    flag_literal,
    load_previous_members,
    new_flags,
)
from pypelineetl.load.staged_rows import CURRENT, StagedRows
from pypelineetl.sql.sql_casts import duckdb_type

_ATTRIBUTES = "pypelineetl_previous_attributes"
"""The attributes of types 0 and 3 of the previous members."""
_MEMBERS = "pypelineetl_previous_members"
"""The surrogate and natural keys of the previous members."""
# Each key is a placeholder, and SQLite before 3.32 takes 999 of them in one statement.
_KEYS_PER_STATEMENT = 500
# Characters of the table's own name in that of a temporary table, as in key_preservation.py.
_NAME_LENGTH = 40


def restore_members(load: Load, session: DuckSession, etl: DimensionETL) -> Iterator[str]:
    """Insert the previous members that must stay into a rebuilt table; yield notes about them.

    Of the members that the source does not give, these stay:

    - inferred members, and members to which facts outside this rebuild point;
    - members of which a row was rejected;
    - all members if `deleted` is declared, which decides about them, or if there is no source.

    Attributes of types 0 and 3 keep their previous values as well.

    Args:
        load: The load, after its rows are written.
        session: The DuckDB session of the load.
        etl: The rebuilt dimension.

    """
    if etl.factory.versioning:
        return
    staged = StagedRows(load, session, etl)
    # With `deleted`, `_insert_members` restores all missing members anyway.
    if records_seen_keys(load, etl) and not etl.deleted:
        _restore_rejected(staged, etl)
    _restore_attributes(staged, etl)
    missing = _missing_members(load, etl)
    pointing = _facts_pointing(load, etl)
    if etl.source is not None and not etl.deleted:
        if pointing:
            yield from _kept_for_facts(load, missing, pointing)
        missing = f"{missing} AND ({_must_stay(load, etl, pointing)})"
    _insert_members(load, etl, missing)


def _missing_members(load: Load, etl: DimensionETL) -> str:
    """Return FROM and WHERE of the previous members that the rebuilt table does not have.

    For a dimension of cities:

        FROM city_dim__remembered AS old
        WHERE NOT EXISTS (SELECT 1 FROM "city_dim" AS new WHERE new."city" = old."city")

    """
    quote = load.warehouse.quote
    previous = f"FROM {quote(load.previous_table)} AS old"
    if etl.source is None:
        # The new table is empty, so all members are missing. The condition below would compare
        # natural keys, which may be NULL.
        return f"{previous} WHERE 1 = 1"
    names = [quote(name) for name in etl.factory.natural_key]
    same = " AND ".join(f"new.{name} = old.{name}" for name in names)
    return f"{previous} WHERE NOT EXISTS (SELECT 1 FROM {quote(etl.table)} AS new WHERE {same})"


def _must_stay(load: Load, etl: DimensionETL, pointing: Mapping[str, str]) -> str:
    """Return the condition that a previous member is inferred or a fact points to it."""
    conditions = list(pointing.values())
    if etl.inferred in load.warehouse.catalog.columns(load.previous_table):
        kind = duckdb_type(load.project.columns(etl)[str(etl.inferred)])
        flag = load.warehouse.quote(str(etl.inferred))
        conditions.insert(0, f"old.{flag} = {flag_literal(kind, is_set=True)}")
    return " OR ".join(conditions) or "1 = 0"


def _insert_members(load: Load, etl: DimensionETL, missing: str) -> None:
    """Insert previous members into the rebuilt table.

    Args:
        load: The load.
        etl: The rebuilt dimension.
        missing: FROM and WHERE of the members.

    """
    warehouse = load.warehouse
    names = warehouse.catalog.columns(load.previous_table)
    values = {name: f"old.{warehouse.quote(name)}" for name in names}
    values |= new_flags(load.project, etl, list(names))
    if warehouse.rehearses:
        # In a plan the rebuilt table is temporary. MySQL reads no temporary table twice in one
        # statement, so the rows go through another table.
        copy = warehouse.quote(f"{etl.table[:_NAME_LENGTH]}__kept")
        warehouse.execute(f"CREATE TEMPORARY TABLE {copy} AS SELECT old.* {missing}")
        missing = f"FROM {copy} AS old"
    warehouse.execute(f"""
        INSERT INTO {warehouse.quote(etl.table)} ({warehouse.quoted(values)})
        SELECT {", ".join(values.values())} {missing}
    """)


def _restore_rejected(staged: StagedRows, etl: DimensionETL) -> None:
    """Insert the previous members whose rows were all rejected."""
    load, warehouse, by = staged.load, staged.load.warehouse, etl.factory.natural_key
    key = str(etl.factory.name("key"))
    staged.load_current([key, *by])
    load_previous_members(staged, [key, *by], _MEMBERS)
    found = staged.session.rows(f"""
        SELECT o.{staged.quote(key)}
        FROM {_MEMBERS} AS o
        SEMI JOIN {SEEN_KEYS} AS s ON {staged.equal(by, "o", "s")}
        ANTI JOIN {CURRENT} AS e ON {staged.equal(by, "o", "e")}
    """)
    rejected = [previous_key for (previous_key,) in found]
    values = {
        name: warehouse.quote(name) for name in warehouse.catalog.columns(load.previous_table)
    }
    values |= new_flags(load.project, etl, list(values))
    for first in range(0, len(rejected), _KEYS_PER_STATEMENT):
        some = rejected[first : first + _KEYS_PER_STATEMENT]
        marks = ", ".join([warehouse.placeholder] * len(some))
        warehouse.change(
            f"""
            INSERT INTO {warehouse.quote(etl.table)} ({warehouse.quoted(values)})
            SELECT {", ".join(values.values())}
            FROM {warehouse.quote(load.previous_table)}
            WHERE {warehouse.quote(key)} IN ({marks})
            """,
            adapted(warehouse.parameter_adapters, [key] * len(some), tuple(some)),
        )


def _facts_pointing(load: Load, etl: DimensionETL) -> dict[str, str]:
    """Return, by the name of a fact, the condition that the fact points to a previous member.

    It leaves out facts that this run rebuilds as well: they point to members of the new table.
    """
    warehouse = load.warehouse
    old_key = f"old.{warehouse.quote(str(etl.factory.name('key')))}"
    pointing = {}
    for fact in load.project.facts:
        columns = [column for column, key in fact.keys.items() if key.dimension == etl.name]
        if fact.stands_for or not columns:
            continue
        existing, table = warehouse.catalog.columns(fact.table), warehouse.quote(fact.table)
        conditions = []
        for name in (warehouse.quote(column) for column in columns if column in existing):
            # With a NULL in the list, the condition would be NULL for all other members.
            keys = f"SELECT {name} FROM {table} WHERE {name} IS NOT NULL"
            conditions.append(f"{old_key} IN ({keys})")
        if conditions:
            pointing[fact.name] = " OR ".join(conditions)
    return pointing


def _kept_for_facts(load: Load, missing: str, pointing: Mapping[str, str]) -> Iterator[str]:
    """Yield a note if members stay only because facts point to them that are not rebuilt."""
    kept = []
    for fact, condition in pointing.items():
        [(members,)] = load.warehouse.query(f"SELECT COUNT(*) {missing} AND ({condition})")
        if members:
            kept.append(f'{members:,} for fact "{fact}"')
    if kept:
        yield (
            "members that the source no longer has stay, because facts point to them that are not"
            f" rebuilt in this run: {', '.join(kept)}. Rebuild those facts too to delete them"
        )


def _restore_attributes(staged: StagedRows, etl: DimensionETL) -> None:
    """Restore the previous attributes of types 0 and 3 in a rebuilt table.

    It leaves out previous members that were inferred, because they had no attributes.
    """
    existing = staged.load.warehouse.catalog.columns(staged.load.previous_table)
    original = [name for name in etl.original if name in existing]
    previous = {kept: base for kept, base in etl.previous.items() if base in existing}
    if not (original or previous):
        return
    key = str(etl.factory.name("key"))
    old_names = [key, *original, *previous.values()]
    old_names += [kept for kept in previous if kept in existing]
    is_filled = "true"
    if etl.inferred and etl.inferred in existing:
        old_names.append(etl.inferred)
        is_filled = f"NOT coalesce(CAST(o.{staged.quote(etl.inferred)} AS BOOLEAN), false)"
    # A column may be in several of these lists.
    load_previous_members(staged, list(dict.fromkeys(old_names)), _ATTRIBUTES)
    current_names = [key, *original, *previous, *previous.values()]
    staged.load_current(list(dict.fromkeys(current_names)))
    values = {name: f"o.{staged.quote(name)}" for name in original}
    for kept, base in previous.items():
        values[kept] = _previous_value(staged, kept, base, has_kept=kept in existing)
    columns, changes = [f"e.{staged.quote(key)}"], []
    for name, value in values.items():
        columns.append(f"{value} AS {staged.quote(name)}")
        changes.append(f"e.{staged.quote(name)} IS DISTINCT FROM ({value})")
    staged.update(
        [key],
        list(values),
        f"""
        SELECT {", ".join(columns)}
        FROM {CURRENT} AS e
        JOIN {_ATTRIBUTES} AS o ON {staged.equal([key], "e", "o")}
        WHERE {is_filled} AND ({" OR ".join(changes)})
        """,
    )


def _previous_value(staged: StagedRows, kept: str, base: str, *, has_kept: bool) -> str:
    """Return the type-3 column of a rebuilt member.

    A value that comes from the source's rows stays. Otherwise the column gets the attribute's
    previous value if the rebuild changes the attribute, and its own previous value if not.

    Args:
        staged: The rows of the rebuilt dimension.
        kept: The type-3 column.
        base: The attribute whose previous value it keeps.
        has_kept: Whether the previous table has the type-3 column.

    Returns:
        An expression of the rebuilt member `e` and the previous member `o`.

    """
    column, attribute = staged.quote(kept), staged.quote(base)
    before = f"o.{column}" if has_kept else "NULL"
    return f"""
        CASE
          WHEN e.{column} IS NOT NULL THEN e.{column}
          WHEN e.{attribute} IS DISTINCT FROM o.{attribute} THEN o.{attribute}
          ELSE {before}
        END
    """
