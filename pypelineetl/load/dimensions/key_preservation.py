"""Surrogate keys that outlive a rebuild: a new table's members have the keys of the old one's, and
its history.

What a type-2 dimension has been told over time its source no longer knows, so a rebuild takes all
versions over. Of other dimensions it takes the keys, the attributes of type 0 and 3, and the
members that only the warehouse knows; all other attributes are read anew.
"""

from collections.abc import Iterator, Mapping, Sequence

from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection, request_column
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.context import BEGINNING_OF_TIME, Load, dated
from pypelineetl.load.dimensions.deletions import SEEN, is_seen
from pypelineetl.load.staged_rows import CURRENT, StagedRows
from pypelineetl.project.project import Project
from pypelineetl.sql.schema import AUDIT_KEY
from pypelineetl.sql.sql_casts import duckdb_type
from pypelineetl.state.surrogate_keys import LargestKeys

PREVIOUS_KEYS = "pypelineetl_remembered"
"""The surrogate keys of the members of old, at the bench."""
_ATTRIBUTES = "pypelineetl_remembered_attributes"
_OLD_MEMBERS = "pypelineetl_remembered_members"
_KEYS_PER_STATEMENT = 500
_NAME_LENGTH = (
    40  # of the table's own name in the temporary one's, which PostgreSQL would cut at 63
)


def preserve_members(
    project: Project, etl: DimensionETL, warehouse: Database, audit_key: int
) -> str:
    """Note what a dimension's table has that a rebuild must not lose; return the temporary table
    that has it.

    Nothing if the table is not one whose members could be known again.
    """
    existing = warehouse.columns(etl.table)
    wanted = [name for name in project.columns(etl) if name in existing]
    key = str(etl.factory.name("key"))
    if not {key, *etl.factory.natural_key} <= set(wanted):
        return ""
    table = f"{etl.table[:_NAME_LENGTH]}__remembered"
    special = ", ".join(str(int(member[key])) for member in etl.special)
    where = f" WHERE {warehouse.quote(key)} NOT IN ({special})" if special else ""
    audited = (
        f", {audit_key} AS {AUDIT_KEY}"
        if project.audit_column(etl) and AUDIT_KEY not in wanted
        else ""
    )
    selected = (
        f"SELECT {warehouse.quoted(wanted)}{audited} FROM {warehouse.quote(etl.table)}{where}"
    )
    warehouse.execute(f"CREATE TEMPORARY TABLE {warehouse.quote(table)} AS {selected}")
    warehouse.uncommitted.add(table)
    [(largest,)] = warehouse.query(
        f"SELECT MAX({warehouse.quote(key)}) FROM {warehouse.quote(table)}"
    )
    if isinstance(largest, int):
        keys = LargestKeys(warehouse)
        keys.save(etl, max(largest, keys.of(etl)))
    return table


def take_versions_over(
    project: Project, etl: DimensionETL, warehouse: Database, previous_keys: str
) -> None:
    """Put all versions of old into a rebuilt type-2 dimension's table, with what columns that are
    new in it need.
    """
    given = {name: warehouse.quote(name) for name in warehouse.columns(previous_keys)}
    given |= _new_flags(project, etl, set(given))
    given |= _new_versioning(project, etl, warehouse, previous_keys)
    table = warehouse.quote(etl.table)
    selected = f"SELECT {', '.join(given.values())} FROM {warehouse.quote(previous_keys)}"
    warehouse.execute(f"INSERT INTO {table} ({warehouse.quoted(given)}) {selected}")


def _new_flags(project: Project, etl: DimensionETL, there: set[str]) -> dict[str, str]:
    """Return the flags that members of old did not have.

    A member is neither inferred nor gone until a load says so.
    """
    columns = project.columns(etl)
    return {
        name: "false" if duckdb_type(columns[name]) == "BOOLEAN" else "0"
        for name in etl.flags
        if name not in there
    }


def _new_versioning(
    project: Project, etl: DimensionETL, warehouse: Database, previous_keys: str
) -> dict[str, str]:
    """Return what dates and numbers the members of old as versions, where their table had no
    columns for that.

    Raises LoadError if it had several versions of a member, whose dates nobody knows.
    """
    factory, quote = etl.factory, warehouse.quote
    columns, there = project.columns(etl), warehouse.columns(previous_keys)
    number, since, until = (
        factory.name(argument) for argument in ("versionatt", "fromatt", "toatt")
    )
    by = warehouse.quoted(factory.natural_key)
    if since and since not in there:
        several = f"SELECT 1 FROM {quote(previous_keys)} GROUP BY {by} HAVING COUNT(*) > 1 LIMIT 1"
        if warehouse.query(several):
            message = (
                f'"{etl.table}" has several versions of a member, and no column "{since}" that'
                " dates them. A rebuild cannot know their dates: rename the column that had them,"
                " if there is one, or add the column and fill it, and run again"
            )
            raise LoadError(message)
    ordering = [name for name in (since, number, factory.name("key")) if name and name in there]
    order = warehouse.quoted(ordering)
    story = f"OVER (PARTITION BY {by} ORDER BY {order})"
    first = (
        dated(columns[since], factory.arguments.get("minfrom") or BEGINNING_OF_TIME)
        if since
        else None
    )
    last = dated(columns[until], factory.arguments.get("maxto")) if until else None
    found: dict[str, str] = {}
    if since and since not in there:
        found[since] = f"'{first}'"
    if until and until not in there:
        end = f"'{last}'" if last else "NULL"
        found[until] = (
            f"COALESCE(LEAD({quote(str(since))}) {story}, {end})" if since in there else end
        )
    if number and number not in there:
        found[number] = f"ROW_NUMBER() {story}"
    return found


def restore_members(load: Load, session: DuckSession, etl: DimensionETL) -> Iterator[str]:
    """Put those members of old into a rebuilt table that its source does not give and that must
    stay; yield notes.

    They are those that facts outside of this rebuild point to, the inferred ones, those of which a
    row was rejected, all of a dimension without a source, and all others if it is declared what
    becomes of members that are gone. Attributes of type 0 and 3 are kept as well.
    """
    if etl.factory.versioning:
        return
    if is_seen(load, etl) and not etl.deleted:
        _restore_rejected(StagedRows(load, session, etl), etl)
    _restore_attributes(StagedRows(load, session, etl), etl)
    warehouse = load.warehouse
    table, previous_keys = warehouse.quote(etl.table), warehouse.quote(load.previous_keys)
    given = {name: f"old.{warehouse.quote(name)}" for name in warehouse.columns(load.previous_keys)}
    inferred = f"{given[str(etl.inferred)]} = {_true(load, etl)}" if etl.inferred in given else ""
    given |= _new_flags(load.project, etl, set(given))
    pointing = _pointing(load, etl)
    reasons = [inferred, *pointing.values()]
    staying = (
        "" if etl.deleted or etl.source is None else " OR ".join(filter(None, reasons)) or "1 = 0"
    )
    # A dimension without a source has no members yet; and NULL may be a value of theirs.
    key = map(warehouse.quote, etl.factory.natural_key)
    same = " AND ".join(f"there.{name} = old.{name}" for name in key)
    missing = (
        f"NOT EXISTS (SELECT 1 FROM {table} AS there WHERE {same})"
        if etl.source is not None
        else "1 = 1"
    )
    gone = f"FROM {previous_keys} AS old WHERE {missing}"
    if etl.source is not None and not etl.deleted and pointing:
        yield from _told_of_kept(load, gone, pointing)
    kept = f"{gone} AND ({staying})" if staying else gone
    if warehouse.rehearses:
        # In a plan the rebuilt table is temporary, and MySQL reads no temporary table twice in one
        # statement: the rows go through a table of their own.
        copy = warehouse.quote(f"{etl.table[:_NAME_LENGTH]}__kept")
        warehouse.execute(f"CREATE TEMPORARY TABLE {copy} AS SELECT old.* {kept}")
        kept = f"FROM {copy} AS old"
    warehouse.execute(f"""
        INSERT INTO {table} ({warehouse.quoted(given)})
        SELECT {", ".join(given.values())} {kept}
        """)


def _restore_rejected(staged: StagedRows, etl: DimensionETL) -> None:
    """Put the members of old into a rebuilt table that its source has, but of which no row could be
    loaded.
    """
    warehouse, names = (
        staged.load.warehouse,
        [str(etl.factory.name("key")), *etl.factory.natural_key],
    )
    key, table = warehouse.quote(names[0]), warehouse.quote(staged.load.previous_keys)
    staged.load_current(names)
    _bring_old(staged, names, _OLD_MEMBERS)
    by = etl.factory.natural_key
    rejected = staged.session.rows(f"""
        SELECT o.{staged.alias(names[0])}
        FROM {_OLD_MEMBERS} AS o
        SEMI JOIN {SEEN} AS s ON {staged.equal(by, "o", "s")}
        ANTI JOIN {CURRENT} AS e ON {staged.equal(by, "o", "e")}
        """)
    given = {name: warehouse.quote(name) for name in warehouse.columns(staged.load.previous_keys)}
    given |= _new_flags(staged.load.project, etl, set(given))
    for first in range(0, len(rejected), _KEYS_PER_STATEMENT):
        some = [found for (found,) in rejected[first : first + _KEYS_PER_STATEMENT]]
        marks = ", ".join([warehouse.placeholder] * len(some))
        warehouse.change(
            f"""
            INSERT INTO {warehouse.quote(etl.table)} ({warehouse.quoted(given)})
            SELECT {", ".join(given.values())} FROM {table} WHERE {key} IN ({marks})
            """,
            adapted(warehouse.parameter_adapters, [names[0]] * len(some), tuple(some)),
        )


def _pointing(load: Load, etl: DimensionETL) -> dict[str, str]:
    """Return by fact the condition that it points to a member of old.

    Facts that this run rebuilds as well do not.
    """
    warehouse, found = load.warehouse, {}
    old = f"old.{warehouse.quote(str(etl.factory.name('key')))}"
    for fact in load.project.facts:
        keys = [column for column, key in fact.keys.items() if key.dimension == etl.name]
        if fact.stands_for or not keys:
            continue
        there = warehouse.columns(fact.table)
        table = warehouse.quote(fact.table)
        conditions = [
            f"{old} IN (SELECT {name} FROM {table} WHERE {name} IS NOT NULL)"
            for name in map(warehouse.quote, (column for column in keys if column in there))
        ]
        if conditions:
            found[fact.name] = " OR ".join(conditions)
    return found


def _told_of_kept(load: Load, gone: str, pointing: Mapping[str, str]) -> Iterator[str]:
    """Yield a note of members that the source no longer has, and that stay for facts which are not
    rebuilt.
    """
    facts = {}
    for name, condition in pointing.items():
        [(members,)] = load.warehouse.query(f"SELECT COUNT(*) {gone} AND ({condition})")
        if members:
            facts[name] = members
    if facts:
        told = ", ".join(f'{members:,} for fact "{name}"' for name, members in facts.items())
        yield (
            "members that its source no longer has stay, because facts point to them that are not"
            f" rebuilt with it: {told}. To be rid of them, rebuild those facts too"
        )


def _restore_attributes(staged: StagedRows, etl: DimensionETL) -> None:
    """Give the members of a rebuilt table the attributes of type 0 and 3 that its source does not
    know any more.

    An inferred member has none yet. A value before the last change that the source itself gave, in
    one extract, stays.
    """
    warehouse = staged.load.warehouse
    there = set(warehouse.columns(staged.load.previous_keys))
    original = [name for name in etl.original if name in there]
    previous = {kept: name for kept, name in etl.previous.items() if name in there}
    if not (original or previous):
        return
    key = str(etl.factory.name("key"))
    flag = [etl.inferred] if etl.inferred and etl.inferred in there else []
    old = dict.fromkeys(
        [key, *original, *previous.values(), *flag, *(kept for kept in previous if kept in there)]
    )
    _bring_old(staged, list(old), _ATTRIBUTES)
    staged.load_current(list(dict.fromkeys([key, *original, *previous, *previous.values()])))
    values = {name: f"o.{staged.alias(name)}" for name in original}
    for kept, name in previous.items():
        before = f"o.{staged.alias(kept)}" if kept in there else "NULL"
        values[kept] = (
            f"CASE WHEN e.{staged.alias(kept)} IS NOT NULL THEN e.{staged.alias(kept)}"
            f" WHEN e.{staged.alias(name)} IS DISTINCT FROM o.{staged.alias(name)}"
            f" THEN o.{staged.alias(name)} ELSE {before} END"
        )
    differs = " OR ".join(
        f"e.{staged.alias(name)} IS DISTINCT FROM ({value})" for name, value in values.items()
    )
    arrived = f"NOT coalesce(CAST(o.{staged.alias(flag[0])} AS BOOLEAN), false)" if flag else "true"
    staged.update(
        [key],
        list(values),
        f"""
        SELECT e.{staged.alias(key)},
          {", ".join(f"{value} AS {staged.alias(name)}" for name, value in values.items())}
        FROM {CURRENT} AS e JOIN {_ATTRIBUTES} AS o ON {staged.equal([key], "e", "o")}
        WHERE {arrived} AND ({differs})
        """,
    )


def _bring_old(staged: StagedRows, names: Sequence[str], kept: str) -> None:
    """Bring columns of the members of old to the bench."""
    warehouse = staged.load.warehouse
    query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(staged.load.previous_keys)}"
    scanned = warehouse.scanned_here(
        staged.session, staged.load.project.warehouse_url, staged.load.previous_keys, query
    )
    given = Projection(staged.session, scanned, lambda: warehouse.stream(query))
    staged.session.keep(
        kept, given.select([staged.request(name) for name in names], f"{kept}_given")
    )


def _true(load: Load, etl: DimensionETL) -> str:
    return "true" if duckdb_type(load.project.columns(etl)[str(etl.inferred)]) == "BOOLEAN" else "1"


def load_previous_keys(staged: StagedRows) -> None:
    """Bring the surrogate keys of the members of old to the bench."""
    warehouse, natural_key = staged.load.warehouse, staged.etl.factory.natural_key
    key = str(staged.etl.factory.name("key"))
    names = [*natural_key, key]
    query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(staged.load.previous_keys)}"
    requested = [
        *map(staged.request, natural_key),
        request_column("remembered", key, staged.columns[key]),
    ]
    scanned = warehouse.scanned_here(
        staged.session, staged.load.project.warehouse_url, staged.load.previous_keys, query
    )
    given = Projection(staged.session, scanned, lambda: warehouse.stream(query)).select(
        requested, f"{PREVIOUS_KEYS}_given"
    )
    by = staged.aliases(natural_key)
    staged.session.keep(
        PREVIOUS_KEYS, f"SELECT {by}, min(remembered) AS remembered FROM ({given}) GROUP BY {by}"
    )
