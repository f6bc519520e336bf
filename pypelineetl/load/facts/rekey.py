"""Facts of earlier loads that now belong to another member or version.

A change of a member's past arrived late, or the member itself did.
"""

from pypelineetl.declare.etls import FactETL
from pypelineetl.declare.keys import Member
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load
from pypelineetl.load.facts.member_table import load_members
from pypelineetl.load.staged_rows import CURRENT, StagedRows

_REKEYED = "pypelineetl_rekeyed"
_FOUND = "pypelineetl_found"


def rekey_facts(load: Load, session: DuckSession, etl: FactETL) -> int:
    """Look up those foreign keys again that declare it.

    Return how many facts changed, counted once for each key.
    """
    keys = {column: key for column, key in etl.keys.items() if isinstance(key, Member)}
    found = sum(
        _find_late(load, session, etl, column, key) for column, key in keys.items() if key.retry
    )
    moved = sum(
        _rekey(load, session, etl, column, key)
        for column, key in keys.items()
        if key.follows_history
    )
    return found + moved


def _find_late(load: Load, session: DuckSession, etl: FactETL, column: str, key: Member) -> int:
    """Point the facts of the unknown member to the member of their natural key, if it has arrived
    since.
    """
    warehouse, dimension = load.warehouse, load.project.dimension(key)
    staged, unknown = StagedRows(load, session, etl), int(dimension.special_key("unknown"))
    by = [key.natural_key[name] for name in dimension.factory.natural_key]
    moment = [key.as_of] if key.as_of else []
    # The rows that the load has just written are there as well.
    warehouse.uncommitted.add(etl.table)
    staged.load_current(
        list(dict.fromkeys([column, *by, *moment])), f"{warehouse.quote(column)} = {unknown}"
    )
    if not session.number(f"SELECT count(*) FROM {CURRENT}"):
        return 0
    members = load_members(session, load.project, warehouse, dimension)
    same = " AND ".join(
        f"m.{part} = TRY_CAST(f.{staged.alias(name)} AS {held})"
        for part, name, held in zip(members.key_columns, by, members.types, strict=False)
    )
    session.keep(
        _FOUND,
        f"""
        SELECT {staged.aliases([*by, *moment], "f.")}, m.member, count(*) AS facts
        FROM {CURRENT} AS f
        JOIN {members.table} AS m ON {same} AND {_is_valid(staged, key, "f", "m")}
        GROUP BY ALL
        """,
    )
    is_unknown = f"{warehouse.quote(etl.table)}.{warehouse.quote(column)} = {unknown}"
    dated = f"WHERE {staged.alias(str(key.as_of))} IS NOT NULL" if moment else ""
    staged.update(
        [*by, *moment], [column], f"SELECT * EXCLUDE (facts) FROM {_FOUND} {dated}", is_unknown
    )
    if moment:
        # No fact with a moment has the unknown member any more, so these keys are those of the
        # others alone.
        dated_by = staged.alias(str(key.as_of))
        undated = f"SELECT {staged.aliases(by)}, member FROM {_FOUND} WHERE {dated_by} IS NULL"
        staged.update(by, [column], undated, is_unknown)
    return session.number(f"SELECT coalesce(sum(facts), 0) FROM {_FOUND}")


def _is_valid(staged: StagedRows, key: Member, fact: str, version: str) -> str:
    """Return the condition that a version is the one that a fact's moment asks for.

    The current one without it.
    """
    if not key.as_of:
        return f"{version}.is_current"
    moment = f"{fact}.{staged.alias(key.as_of)}"
    valid = f"{version}.since <= {moment} AND {version}.until > {moment}"
    return f"CASE WHEN {moment} IS NULL THEN {version}.is_current ELSE {valid} END"


def _rekey(load: Load, session: DuckSession, etl: FactETL, column: str, key: Member) -> int:
    members = load_members(session, load.project, load.warehouse, load.project.dimension(key))
    if not members.is_versioned:
        return 0
    staged, by, moment = StagedRows(load, session, etl), etl.row_key, str(key.as_of)
    # The rows that the load has just written are there as well.
    load.warehouse.uncommitted.add(etl.table)
    staged.load_current([*dict.fromkeys([*by, column, moment])])
    same = " AND ".join(f"valid.{part} = now.{part}" for part in members.key_columns)
    session.keep(
        _REKEYED,
        f"""
        SELECT {staged.aliases(by, "f.")}, valid.member
        FROM {CURRENT} AS f
        JOIN {members.table} AS now ON now.member = f.{staged.alias(column)}
        JOIN {members.table} AS valid
          ON {same}
            AND valid.since <= f.{staged.alias(moment)}
            AND valid.until > f.{staged.alias(moment)}
        WHERE valid.member <> now.member
        """,
    )
    rekeyed = session.number(f"SELECT count(*) FROM {_REKEYED}")
    if rekeyed:
        staged.update(by, [column], f"SELECT * FROM {_REKEYED}")
    return rekeyed
