"""A source that gives no rows where its table held some.

More often it is broken than empty, so the load fails.
"""

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import duckdb_type


def holds_rows(project: Project, etl: ETL, warehouse: Database) -> bool:
    """Whether a table holds rows that its source once gave.

    Special and inferred members are not such rows.
    """
    there = warehouse.columns(etl.table)
    if not there or etl.source is None:
        return False
    conditions = (
        _of_the_source(project, etl, warehouse, set(there)) if isinstance(etl, DimensionETL) else []
    )
    if conditions is None:
        return False
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return bool(warehouse.query(f"SELECT 1 FROM {warehouse.quote(etl.table)}{where} LIMIT 1"))


def _of_the_source(
    project: Project, etl: DimensionETL, warehouse: Database, there: set[str]
) -> list[str] | None:
    """Return the conditions that a member came from the source.

    None if that cannot be told of any member.
    """
    factory, quote = etl.factory, warehouse.quote
    key = str(factory.name("key"))
    special = ", ".join(str(int(member[key])) for member in etl.special)
    conditions = [f"{quote(key)} NOT IN ({special})"] if special and key in there else []
    if etl.inferred in there:
        is_boolean = duckdb_type(project.columns(etl)[str(etl.inferred)]) == "BOOLEAN"
        flag = quote(str(etl.inferred))
        return [*conditions, f"({flag} IS NULL OR {flag} = {'false' if is_boolean else '0'})"]
    if not any(_infers(project, fact, etl) for fact in project.facts):
        return conditions
    # A member that a fact has made knows only its natural key.
    unknown = {key, *factory.natural_key, *factory.versioning, *etl.flags}
    known = [name for name in factory.names("attributes") if name in there - unknown]
    return (
        [*conditions, f"({' OR '.join(f'{quote(name)} IS NOT NULL' for name in known)})"]
        if known
        else None
    )


def _infers(project: Project, fact: FactETL, etl: DimensionETL) -> bool:
    return any(
        key.missing == "infer" and project.dimension(key).name == etl.name
        for key in fact.keys.values()
    )


def refuse_empty(etl: ETL, counts: Counts, *, held_rows: bool, is_rebuilt: bool) -> None:
    """Raise LoadError if a load that read the whole source got no rows, where the table held some
    before.

    A fact with `append` or `period` may get none, but in a rebuild: its source gives only what is
    new, or only the periods to replace, and no row is lost by that. A dimension with `deleted` has
    a share of its own that may be gone.
    """
    if counts.read or not held_rows or etl.empty_source == "allow":
        return
    if isinstance(etl, DimensionETL) and etl.deleted:
        return
    adds = isinstance(etl, FactETL) and etl.write_mode in {"append", "replace_period"}
    if adds and not is_rebuilt:
        return
    message = (
        f'its source gave no rows, and "{etl.table}" holds rows of earlier loads. A source that was'
        " full before is more often broken than empty, so nothing was changed. Load again when the"
        ' source is whole; if it is really empty, declare empty_source="allow"'
    )
    raise LoadError(message)
