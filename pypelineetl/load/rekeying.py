"""Facts that now belong to another version of their member, because a change of its past was told late."""

from pypelineetl.declare import FactETL, Member
from pypelineetl.keys import bring_members
from pypelineetl.load.contradictions import row_key
from pypelineetl.load.loading import Load
from pypelineetl.load.tablesets import EXISTING, TableSets
from pypelineetl.workbench import Workbench

_REKEYED = "pypelineetl_rekeyed"


def rekey_facts(load: Load, bench: Workbench, etl: FactETL) -> int:
    """Point facts to the version valid at their own date, for the keys that declare it; return how many changed."""
    keys = {
        column: key for column, key in etl.keys.items() if isinstance(key, Member) and key.as_of and key.follows_history
    }
    return sum(_rekey(load, bench, etl, column, key) for column, key in keys.items())


def _rekey(load: Load, bench: Workbench, etl: FactETL, column: str, key: Member) -> int:
    members = bring_members(bench, load.project, load.warehouse, load.project.dimension(key))
    if not members.is_versioned:
        return 0
    sets, by, moment = TableSets(load, bench, etl), row_key(etl), str(key.as_of)
    # The rows that the load has just written are there as well.
    load.warehouse.uncommitted.add(etl.table)
    sets.bring_existing([*dict.fromkeys([*by, column, moment])])
    parts = [f"n{part}" for part in range(len(key.natural_key))]
    same = " AND ".join(f"valid.{part} = now.{part}" for part in parts)
    bench.keep(
        _REKEYED,
        f"""
        SELECT {sets.names(by, "f.")}, valid.member
        FROM {EXISTING} AS f
        JOIN {members.table} AS now ON now.member = f.{sets.at(column)}
        JOIN {members.table} AS valid
          ON {same} AND valid.since <= f.{sets.at(moment)} AND valid.until > f.{sets.at(moment)}
        WHERE valid.member <> now.member
        """,
    )
    rekeyed = bench.number(f"SELECT count(*) FROM {_REKEYED}")
    if rekeyed:
        sets.update(by, [column], f"SELECT * FROM {_REKEYED}")
    return rekeyed
