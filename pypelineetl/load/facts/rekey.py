"""Look up foreign keys of earlier loads again, where members or versions arrived late.

`retry` points facts from the unknown member to their own member. `follows_history` points facts to
the version that is valid at their moment now.
"""

from collections.abc import Sequence

from pypelineetl.declare.etls import FactETL
from pypelineetl.declare.keys import Member
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load
from pypelineetl.load.facts.member_table import MemberTable, load_members
from pypelineetl.load.staged_rows import CURRENT, StagedRows

_REKEYED = "pypelineetl_rekeyed"
"""The row keys of the facts that point to another version than the valid one, with that one."""
_FOUND = "pypelineetl_found"
"""The natural keys, and moments, of facts of the unknown member, each with its own member."""


def rekey_facts(load: Load, session: DuckSession, etl: FactETL) -> int:
    """Look up the foreign keys again that are declared with `retry` or `follows_history`.

    Returns:
        How many facts changed, each counted once for each of its keys.

    """
    changed = 0
    for column, key in etl.keys.items():
        if isinstance(key, Member) and key.retry:
            changed += _find_late_members(load, session, etl, column, key)
    for column, key in etl.keys.items():
        if isinstance(key, Member) and key.follows_history:
            changed += _follow_history(load, session, etl, column, key)
    return changed


def _find_late_members(
    load: Load, session: DuckSession, etl: FactETL, column: str, key: Member
) -> int:
    """Point the facts of the unknown member to the members that have arrived by now.

    Returns:
        How many facts changed.

    """
    warehouse, dimension = load.warehouse, load.project.dimension(key)
    staged = StagedRows(load, session, etl)
    foreign_key = warehouse.quote(column)
    unknown = int(dimension.special_key("unknown"))
    natural_key = [key.natural_key[name] for name in dimension.factory.natural_key]
    moment = [key.as_of] if key.as_of else []
    # The load has just written rows, which only its own connection sees before the commit.
    warehouse.uncommitted.add(etl.table)
    names = list(dict.fromkeys([column, *natural_key, *moment]))
    staged.load_current(names, f"{foreign_key} = {unknown}")
    # Without such facts, the members need not be read.
    if not session.number(f"SELECT count(*) FROM {CURRENT}"):
        return 0
    members = load_members(session, load.project, warehouse, dimension)
    session.keep(
        _FOUND,
        f"""
        SELECT {staged.quoted([*natural_key, *moment], "f.")}, m.__member, count(*) AS __facts
        FROM {CURRENT} AS f
        JOIN {members.table} AS m
          ON {_same_natural_key(staged, natural_key, members)}
            AND {_is_valid(staged, key, "f", "m")}
        GROUP BY ALL
        """,
    )
    is_unknown = f"{warehouse.quote(etl.table)}.{foreign_key} = {unknown}"
    found = f"SELECT * EXCLUDE (__facts) FROM {_FOUND}"
    if key.as_of:
        as_of = staged.quote(key.as_of)
        dated = f"{found} WHERE {as_of} IS NOT NULL"
        staged.update([*natural_key, key.as_of], [column], dated, is_unknown)
        # The facts with a moment have their member now. So of the facts of the unknown member,
        # these natural keys belong only to those without a moment.
        undated = (
            f"SELECT {staged.quoted(natural_key)}, __member FROM {_FOUND} WHERE {as_of} IS NULL"
        )
        staged.update(natural_key, [column], undated, is_unknown)
    else:
        staged.update(natural_key, [column], found, is_unknown)
    return session.number(f"SELECT coalesce(sum(__facts), 0) FROM {_FOUND}")


def _same_natural_key(staged: StagedRows, natural_key: Sequence[str], members: MemberTable) -> str:
    """Return the condition that a fact `f` has the natural key of a member `m`.

    The fact's own column may have another type. A value that cannot be cast matches no member.
    For example `m."user_id" = TRY_CAST(f."seller_id" AS BIGINT)`.
    """
    conditions = []
    # The last type is that of the surrogate key.
    key_types = members.types[:-1]
    for part, name, key_type in zip(members.key_columns, natural_key, key_types, strict=True):
        conditions.append(f"m.{part} = TRY_CAST(f.{staged.quote(name)} AS {key_type})")
    return " AND ".join(conditions)


def _is_valid(staged: StagedRows, key: Member, fact: str, version: str) -> str:
    """Return the condition that a version is valid at a fact's moment.

    The current version is valid for a fact without a moment.
    """
    if not key.as_of:
        return f"{version}.__is_current"
    moment = f"{fact}.{staged.quote(key.as_of)}"
    valid = f"{version}.__since <= {moment} AND {version}.__until > {moment}"
    return f"CASE WHEN {moment} IS NULL THEN {version}.__is_current ELSE {valid} END"


def _follow_history(
    load: Load, session: DuckSession, etl: FactETL, column: str, key: Member
) -> int:
    """Point facts to the version of their member that is valid at their moment now.

    Returns:
        How many facts changed.

    """
    members = load_members(session, load.project, load.warehouse, load.project.dimension(key))
    # With one version for each member, no fact can point to a wrong one.
    if not members.is_versioned:
        return 0
    staged, row_key, as_of = StagedRows(load, session, etl), etl.row_key, str(key.as_of)
    # The load has just written rows, which only its own connection sees before the commit.
    load.warehouse.uncommitted.add(etl.table)
    staged.load_current(list(dict.fromkeys([*row_key, column, as_of])))
    same = " AND ".join(f"valid.{part} = now.{part}" for part in members.key_columns)
    moment = f"f.{staged.quote(as_of)}"
    session.keep(
        _REKEYED,
        f"""
        SELECT {staged.quoted(row_key, "f.")}, valid.__member
        FROM {CURRENT} AS f
        -- The version that the fact points to now.
        JOIN {members.table} AS now
          ON now.__member = f.{staged.quote(column)}
        -- The version of the same member that is valid at the fact's moment.
        JOIN {members.table} AS valid
          ON {same}
            AND valid.__since <= {moment}
            AND valid.__until > {moment}
        WHERE valid.__member <> now.__member
        """,
    )
    rekeyed = session.number(f"SELECT count(*) FROM {_REKEYED}")
    if rekeyed:
        staged.update(row_key, [column], f"SELECT * FROM {_REKEYED}")
    return rekeyed
