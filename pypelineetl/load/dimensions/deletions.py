"""Flag, close or remove the members and facts that the source no longer has.

The load records the keys that the source gives in the table SEEN_KEYS. Members and facts with other
keys are deleted, unless they are more than the declared share.
"""

from collections.abc import Sequence

from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.declare.sources import Deleted
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load, dated
from pypelineetl.load.dimensions.member_events import LATEST_EVENTS, MemberEvents, is_dated
from pypelineetl.load.dimensions.warehouse_rows import warehouse_rows
from pypelineetl.load.staged_rows import CURRENT, StagedRows, not_special
from pypelineetl.sql.sql_casts import duckdb_type, literal

SEEN_KEYS = "pypelineetl_seen"
"""The DuckDB table of the natural keys, or of the grains of facts, that the source gives."""
_MEMBERS = "pypelineetl_current_members"
"""The current versions of all members but inferred ones."""
_ENDED = "pypelineetl_ended"
"""The versions that end, and when: `version_key`, `effective`."""


def records_seen_keys(load: Load, etl: ETL) -> bool:
    """Return whether a load records the keys that the source gives, rejected rows included.

    Deletions need them. So does the rebuild of a dimension without versions that may reject rows:
    it keeps the members whose rows are rejected.
    """
    is_rebuilt = bool(load.previous_keys)
    keeps_rejected = is_rebuilt and not etl.factory.versioning and etl.most_rejected > 0
    return etl.deleted is not None or keeps_rejected


def delete_members(load: Load, session: DuckSession, etl: DimensionETL, read: int) -> int:
    """Flag the members that the source no longer gives, or end their current versions.

    Members that the source gives again lose their flag.

    Args:
        load: The load, after its rows are written.
        session: The DuckDB session of the load, with SEEN_KEYS.
        etl: The dimension.
        read: The number of rows that the source gave.

    Returns:
        The number of deleted members.

    Raises:
        LoadError: More members than the declared share are missing. Nothing is changed.

    """
    if etl.deleted is None:
        return 0
    staged = StagedRows(load, session, etl)
    _load_members(staged, etl)
    flag = etl.deleted.flag
    is_present = _not_flagged(staged, flag)
    same = staged.equal(etl.factory.natural_key, "m", "s")
    missing = f"{_MEMBERS} AS m ANTI JOIN {SEEN_KEYS} AS s ON {same}"
    deleted = session.number(f"SELECT count(*) FROM {missing} WHERE {is_present}")
    members = session.number(f"SELECT count(*) FROM {_MEMBERS} WHERE {is_present}")
    # A source that broke off in the middle must not delete half of the members.
    if deleted > etl.deleted.most * members:
        raise LoadError(_too_many(etl.deleted, deleted, f"{members:,} members", read))
    if flag:
        _flag_members(staged, etl, flag, missing)
    elif deleted:
        _close_members(staged, etl, missing)
    return deleted


def _not_flagged(staged: StagedRows, flag: str | None) -> str:
    """Return the condition that a row is not flagged as deleted; "true" without a flag.

    Rows that were loaded before the table had the column have NULL there.
    """
    return f"NOT coalesce(CAST({staged.quote(flag)} AS BOOLEAN), false)" if flag else "true"


def _flag_members(staged: StagedRows, etl: DimensionETL, flag: str, missing: str) -> None:
    """Set the flag of the missing members, and clear it for those that the source gives again.

    Args:
        staged: The rows of the dimension.
        etl: The dimension.
        flag: The column of the flag.
        missing: The FROM clause of the members that the source does not give.

    """
    key, kind = str(etl.factory.name("key")), duckdb_type(staged.columns[flag])
    is_present = _not_flagged(staged, flag)
    # Members that the source gives again, and members that were loaded before the flag existed.
    staged.update(
        [key],
        [flag],
        f"""
        SELECT {staged.quote(key)}, CAST(0 AS {kind})
        FROM {_MEMBERS} AS m
        SEMI JOIN {SEEN_KEYS} AS s ON {staged.equal(etl.factory.natural_key, "m", "s")}
        WHERE NOT ({is_present}) OR {staged.quote(flag)} IS NULL
        """,
    )
    staged.update(
        [key],
        [flag],
        f"""
        SELECT {staged.quote(key)}, CAST(1 AS {kind})
        FROM {missing}
        WHERE {is_present}
        """,
    )


def _close_members(staged: StagedRows, etl: DimensionETL, missing: str) -> None:
    """End the current versions of the missing members, and write an event for each.

    They end now, or when their last state begins if that is later.
    """
    key, until = str(etl.factory.name("key")), str(etl.factory.name("toatt"))
    since = etl.factory.name("fromatt")
    ended = f"TIMESTAMP {literal(str(staged.load.now))}"
    # A version must not end before it begins.
    if since and staged.columns[since].is_moment:
        ended = f"greatest({ended}, CAST(m.{staged.quote(since)} AS TIMESTAMP))"
    ending = f"SELECT m.{staged.quote(key)} AS version_key, {ended} AS effective FROM {missing}"
    # Only a dated dimension keeps events. The others have their dates only in the table.
    has_events = is_dated(staged.load, etl)
    events = MemberEvents(staged, etl)
    if has_events:
        events.load_latest()
        # The source may have confirmed the last state at a later date.
        ending = f"""
            SELECT e.version_key, greatest(e.effective, l.last_event) AS effective
            FROM ({ending}) AS e
            LEFT JOIN {LATEST_EVENTS} AS l USING (version_key)
        """
    staged.session.keep(_ENDED, ending)
    kind = duckdb_type(staged.columns[until])
    staged.update([key], [until], f"SELECT version_key, CAST(effective AS {kind}) FROM {_ENDED}")
    if has_events:
        events.write(f"SELECT version_key, effective, 'deleted' AS event FROM {_ENDED}")


def _load_members(staged: StagedRows, etl: DimensionETL) -> None:
    """Create _MEMBERS: the current version of each member that the source has given.

    It has no inferred members, which facts created, and no special members, which are declared. The
    source never had them.
    """
    load, warehouse = staged.load, staged.load.warehouse
    since = etl.factory.name("fromatt")
    names = [str(etl.factory.name("key")), *etl.factory.natural_key, *etl.flags]
    if since:
        names.append(since)
    conditions = " AND ".join(filter(None, [not_special(load, etl), _is_current(load, etl)]))
    where = f" WHERE {conditions}" if conditions else ""
    query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(etl.table)}{where}"
    # This connection alone sees the rows that the load has just written.
    warehouse.uncommitted.add(etl.table)
    rows = warehouse_rows(load, staged.session, etl.table, query)
    members = rows.select([staged.request(name) for name in names], f"{_MEMBERS}_given")
    is_inferred = "false"
    if etl.inferred:
        is_inferred = f"coalesce(CAST({staged.quote(etl.inferred)} AS BOOLEAN), false)"
    staged.session.keep(_MEMBERS, f"SELECT * FROM ({members}) WHERE NOT {is_inferred}")
    rows.release()


def _is_current(load: Load, etl: DimensionETL) -> str:
    """Return the warehouse's condition that a version is open; empty if versions have no end."""
    until, last = etl.factory.name("toatt"), etl.factory.arguments.get("maxto")
    if not until:
        return ""
    name = load.warehouse.quote(until)
    if last is None:
        return f"{name} IS NULL"
    return f"{name} = '{dated(load.project.columns(etl)[until], last)}'"


def delete_facts(load: Load, session: DuckSession, etl: FactETL, read: int) -> int:
    """Flag or remove the facts that the source no longer gives.

    Facts that the source gives again lose their flag.

    Args:
        load: The load, after its rows are written.
        session: The DuckDB session of the load, with SEEN_KEYS.
        etl: The fact.
        read: The number of rows that the source gave.

    Returns:
        The number of deleted facts.

    Raises:
        LoadError: More facts than the declared share are missing. Nothing is changed.

    """
    if etl.deleted is None:
        return 0
    staged, by, flag = StagedRows(load, session, etl), etl.row_key, etl.deleted.flag
    if flag and etl.stands_for:
        # A rebuild: the new table has only the facts that the source still gives.
        _copy_missing_facts(load, etl, by)
    # This connection alone sees the rows that the load has just written.
    load.warehouse.uncommitted.add(etl.table)
    staged.load_current([*by, flag] if flag else by)
    is_present = _not_flagged(staged, flag)
    same = staged.equal(by, "e", "s")
    missing = f"{CURRENT} AS e ANTI JOIN {SEEN_KEYS} AS s ON {same} WHERE {is_present}"
    deleted = session.number(f"SELECT count(*) FROM {missing}")
    facts = session.number(f"SELECT count(*) FROM {CURRENT} WHERE {is_present}")
    # An extract that is not complete must not delete most of the facts.
    if deleted > etl.deleted.most * facts:
        raise LoadError(_too_many(etl.deleted, deleted, f"{facts:,} facts", read))
    if flag:
        _flag_facts(staged, by, flag, missing)
    elif deleted:
        columns = [staged.columns[name] for name in by]
        query = f"SELECT {staged.quoted(by)} FROM {missing}"
        load.warehouse.bulk.delete(etl.table, columns, session, query)
    return deleted


def _flag_facts(staged: StagedRows, by: Sequence[str], flag: str, missing: str) -> None:
    """Set the flag of the missing facts, and clear it for those that the source gives again.

    Args:
        staged: The rows of the fact.
        by: The columns of its grain.
        flag: The column of the flag.
        missing: The FROM and WHERE clauses of the facts that the source does not give.

    """
    kind, keys = duckdb_type(staged.columns[flag]), staged.quoted(by)
    staged.update(
        by,
        [flag],
        f"""
        -- Facts that the source gives again. The row of such a fact may be rejected, so the load
        -- itself may not have cleared the flag.
        SELECT {keys}, CAST(0 AS {kind})
        FROM {CURRENT} AS e
        SEMI JOIN {SEEN_KEYS} AS s ON {staged.equal(by, "e", "s")}
        WHERE NOT ({_not_flagged(staged, flag)})
        UNION ALL
        -- Facts that are older than the column.
        SELECT {keys}, CAST(0 AS {kind})
        FROM {CURRENT}
        WHERE {staged.quote(flag)} IS NULL
        """,
    )
    staged.update(by, [flag], f"SELECT {keys}, CAST(1 AS {kind}) FROM {missing}")


def _copy_missing_facts(load: Load, etl: FactETL, by: Sequence[str]) -> None:
    """Copy the facts of the live table that the source did not give into the rebuilt table.

    Flagged facts stay in the table, and only the live table still has them.
    """
    warehouse, columns = load.warehouse, load.project.columns(etl)
    live_columns = warehouse.catalog.columns(etl.live_table)
    # Without a live table, or without its grain, no fact can be found again.
    if not live_columns or not {*by} <= live_columns.keys():
        return
    names = warehouse.quoted(name for name in columns if name in live_columns)
    same = []
    for name in by:
        quoted = warehouse.quote(name)
        same.append(warehouse.texts.matches(columns[name], f"new.{quoted}", f"old.{quoted}"))
    warehouse.execute(f"""
        INSERT INTO {warehouse.quote(etl.table)} ({names})
        SELECT {names}
        FROM {warehouse.quote(etl.live_table)} AS old
        WHERE NOT EXISTS (
          SELECT 1
          FROM {warehouse.quote(etl.table)} AS new
          WHERE {" AND ".join(same)}
        )
    """)


def _too_many(declared: Deleted, missing: int, total: str, read: int) -> str:
    """Return the message about a source that lacks more rows than may be deleted at once."""
    return (
        f"the source gave {read:,} rows, and lacks {missing:,} of {total}, more than the share of"
        f" {declared.most} that may be deleted at once; nothing was changed. If they are really"
        " deleted, raise `most` for one load; if the extract is not complete, load it again"
    )
