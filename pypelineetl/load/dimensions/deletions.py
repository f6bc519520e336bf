"""What the source no longer has: members flagged or their current version ended, facts flagged or
removed.

Nothing is changed if they are too many.
"""

from collections.abc import Sequence

from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.declare.sources import Deleted
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load, dated
from pypelineetl.load.dimensions.member_events import LATEST_EVENTS, MemberEvents, is_dated
from pypelineetl.load.staged_rows import CURRENT, StagedRows, not_special
from pypelineetl.sql.sql_casts import duckdb_type, literal

SEEN = "pypelineetl_seen"
"""The natural keys of the source's rows, or the grains of a fact's."""
_MEMBERS = "pypelineetl_current_members"
_GONE = f"{_MEMBERS} AS m ANTI JOIN {SEEN} AS s"
_ENDED = "pypelineetl_ended"


def end_deleted(load: Load, session: DuckSession, etl: DimensionETL, read: int) -> int:
    """Flag or end the members that the source no longer gives, and return how many they are.

    Raises LoadError, and changes nothing, if they are more than the declared share of all.
    """
    assert etl.deleted  # noqa: S101 - nobody else calls it
    staged = StagedRows(load, session, etl)
    key, by = str(etl.factory.name("key")), etl.factory.natural_key
    _bring_members(staged, etl)
    same = staged.equal(by, "m", "s")
    flag = etl.deleted.flag
    # A flag that joined the table later is NULL, which is no.
    here = f"NOT coalesce(CAST({staged.alias(flag)} AS BOOLEAN), false)" if flag else "true"
    gone = session.number(f"SELECT count(*) FROM {_GONE} ON {same} WHERE {here}")
    members = session.number(f"SELECT count(*) FROM {_MEMBERS} WHERE {here}")
    if gone > etl.deleted.most * members:
        raise LoadError(_brake(etl.deleted, gone, f"{members:,} members", read))
    if flag:
        kind = duckdb_type(staged.columns[flag])
        back = (
            f"{_MEMBERS} AS m SEMI JOIN {SEEN} AS s ON {same}"
            f" WHERE NOT ({here}) OR {staged.alias(flag)} IS NULL"
        )
        staged.update([key], [flag], f"SELECT {staged.alias(key)}, CAST(0 AS {kind}) FROM {back}")
        staged.update(
            [key],
            [flag],
            f"SELECT {staged.alias(key)}, CAST(1 AS {kind}) FROM {_GONE} ON {same} WHERE {here}",
        )
    elif gone:
        _close(staged, etl, f"{_GONE} ON {same}")
    return gone


def _close(staged: StagedRows, etl: DimensionETL, gone: str) -> None:
    """End the current versions of the members that are gone.

    Now, or when their last state begins if that is later.
    """
    key, until = staged.alias(str(etl.factory.name("key"))), str(etl.factory.name("toatt"))
    since = etl.factory.name("fromatt")
    now, kind = f"TIMESTAMP {literal(str(staged.load.now))}", duckdb_type(staged.columns[until])
    ended = (
        f"greatest({now}, CAST(m.{staged.alias(since)} AS TIMESTAMP))"
        if since and staged.columns[since].is_moment
        else now
    )
    if not is_dated(staged.load, etl):
        ending = f"SELECT m.{key} AS version_key, {ended} AS effective FROM {gone}"
    else:
        MemberEvents(staged, etl).load_latest()
        ending = f"""
            SELECT e.version_key, greatest(e.effective, t.last_event) AS effective
            FROM (SELECT m.{key} AS version_key, {ended} AS effective FROM {gone}) AS e
            LEFT JOIN {LATEST_EVENTS} AS t USING (version_key)
        """
    staged.session.keep(_ENDED, ending)
    staged.update(
        [str(etl.factory.name("key"))],
        [until],
        f"SELECT version_key, CAST(effective AS {kind}) FROM {_ENDED}",
    )
    if is_dated(staged.load, etl):
        MemberEvents(staged, etl).write(
            f"SELECT version_key, effective, 'deleted' AS event FROM {_ENDED}"
        )


def _bring_members(staged: StagedRows, etl: DimensionETL) -> None:
    """Bring the current version of each member that its source has once given."""
    load, factory = staged.load, etl.factory
    since = factory.name("fromatt")
    names = [
        str(factory.name("key")),
        *factory.natural_key,
        *etl.flags,
        *([since] if since else []),
    ]
    warehouse = load.warehouse
    conditions = [not_special(staged.load, etl)] if etl.special else []
    if until := factory.name("toatt"):
        last = factory.arguments.get("maxto")
        is_open = f"{warehouse.quote(until)} IS NULL"
        conditions.append(
            is_open
            if last is None
            else f"{warehouse.quote(until)} = '{dated(staged.columns[until], last)}'"
        )
    where = " WHERE " + " AND ".join(conditions) if conditions else ""
    query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(etl.table)}{where}"
    # The rows that the load has just written are there as well.
    warehouse.uncommitted.add(etl.table)
    scanned = warehouse.scanned_here(staged.session, load.project.warehouse_url, etl.table, query)
    given = Projection(staged.session, scanned, lambda: warehouse.stream(query))
    members = given.select([staged.request(name) for name in names], f"{_MEMBERS}_given")
    inferred = (
        f"coalesce(CAST({staged.alias(etl.inferred)} AS BOOLEAN), false)"
        if etl.inferred
        else "false"
    )
    staged.session.keep(_MEMBERS, f"SELECT * FROM ({members}) WHERE NOT {inferred}")
    given.release()


def delete_facts(load: Load, session: DuckSession, etl: FactETL, read: int) -> int:
    """Flag or remove the facts that the source no longer gives, and return how many they are.

    Raises LoadError, and changes nothing, if they are more than the declared share of all.
    """
    assert etl.deleted  # noqa: S101 - nobody else calls it
    staged, by, flag = StagedRows(load, session, etl), etl.row_key, etl.deleted.flag
    if flag and etl.stands_for:
        _keep_old_facts(load, etl, by)
    load.warehouse.uncommitted.add(etl.table)
    staged.load_current([*by, *([flag] if flag else [])])
    # A flag that joined the table later is NULL, which is no.
    here = f"NOT coalesce(CAST({staged.alias(flag)} AS BOOLEAN), false)" if flag else "true"
    missing = f"{CURRENT} AS e ANTI JOIN {SEEN} AS s ON {staged.equal(by, 'e', 's')} WHERE {here}"
    gone = session.number(f"SELECT count(*) FROM {missing}")
    facts = session.number(f"SELECT count(*) FROM {CURRENT} WHERE {here}")
    if gone > etl.deleted.most * facts:
        raise LoadError(_brake(etl.deleted, gone, f"{facts:,} facts", read))
    if flag:
        kind = duckdb_type(staged.columns[flag])
        # A fact whose row is rejected is back as well.
        seen = f"{CURRENT} AS e SEMI JOIN {SEEN} AS s ON {staged.equal(by, 'e', 's')}"
        back = f"SELECT {staged.aliases(by)}, CAST(0 AS {kind}) FROM {seen} WHERE NOT ({here})"
        unset = (
            f"SELECT {staged.aliases(by)}, CAST(0 AS {kind}) FROM {CURRENT}"
            f" WHERE {staged.alias(flag)} IS NULL"
        )
        staged.update(by, [flag], f"{back} UNION ALL {unset}")
        staged.update(by, [flag], f"SELECT {staged.aliases(by)}, CAST(1 AS {kind}) FROM {missing}")
    elif gone:
        columns = [staged.columns[name] for name in by]
        load.warehouse.bulk_delete(
            etl.table, columns, session, f"SELECT {staged.aliases(by)} FROM {missing}"
        )
    return gone


def _keep_old_facts(load: Load, etl: FactETL, by: Sequence[str]) -> None:
    """Put the facts of the live table into a rebuilt one that its source did not give.

    Only the warehouse has them.
    """
    warehouse, columns = load.warehouse, load.project.columns(etl)
    there = warehouse.columns(etl.live_table)
    if not there or not {*by} <= there.keys():
        return
    names = warehouse.quoted(name for name in columns if name in there)
    same = [
        warehouse.matches(
            columns[name], f"new.{warehouse.quote(name)}", f"old.{warehouse.quote(name)}"
        )
        for name in by
    ]
    warehouse.execute(f"""
        INSERT INTO {warehouse.quote(etl.table)} ({names})
        SELECT {names} FROM {warehouse.quote(etl.live_table)} AS old
        WHERE NOT EXISTS (SELECT 1 FROM {warehouse.quote(etl.table)} AS new
          WHERE {" AND ".join(same)})
        """)


def _brake(declared: Deleted, gone: int, of: str, read: int) -> str:
    return (
        f"its source, which gave {read:,} rows, lacks {gone:,} of {of}, more than the share of"
        f" {declared.most} that may be deleted at once; nothing was changed. If they are really"
        " gone, raise `most` for one load; if the extract is not whole, load it again"
    )


def is_seen(load: Load, etl: ETL) -> bool:
    """Return whether the source's natural keys or grains are noted, those of rejected rows among
    them.

    They tell what the source no longer has: what is deleted, or what a rebuild leaves out.
    """
    leaves_out = bool(load.previous_keys) and not etl.factory.versioning and etl.most_rejected > 0
    return etl.deleted is not None or leaves_out
