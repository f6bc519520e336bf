"""Read what a table holds before a load, to compare with it after the load.

If a source gives no rows although its table had some, the source is more often broken than empty.
Such a load fails, unless the ETL declares `empty_source="allow"`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pypelineetl.databases.base import Database
from pypelineetl.declare.checks import RowCount
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts
from pypelineetl.load.checks import count_rows
from pypelineetl.load.context import Load
from pypelineetl.load.staged_rows import special_keys
from pypelineetl.load.uniqueness import largest_before
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import duckdb_type


@dataclass(frozen=True)
class Baseline:
    """What a table holds before a load."""

    held_rows: bool
    """Whether the table holds rows that its source gave to earlier loads."""
    rows: int | None
    """How many rows the table holds; None if no check compares with that."""


def read_baseline(project: Project, etl: ETL, live: ETL, warehouse: Database) -> Baseline:
    """Read what a table holds before a load.

    Args:
        project: The project that declares the ETL.
        etl: The ETL that is loaded.
        live: The ETL of the live table, which a rebuild replaces.
        warehouse: The open warehouse.

    """
    rows = None
    # Counting may read the whole table, so it is done only for a check that needs the number.
    for check in etl.checks:
        if isinstance(check, RowCount) and check.change is not None:
            rows = count_rows(Load(project, warehouse, project.clock()), live)
            break
    return Baseline(_holds_rows(project, live, warehouse), rows)


def largest_keys(load: Load, dimensions: Iterable[DimensionETL]) -> dict[DimensionETL, int | None]:
    """Return the largest surrogate key of each dimension before a load writes any row."""
    found = {}
    for dimension in dimensions:
        found[dimension] = largest_before(load, dimension)
    return found


def refuse_empty(etl: ETL, counts: Counts, baseline: Baseline, *, is_rebuilt: bool) -> None:
    """Refuse a source without rows, where the table held some before.

    Args:
        etl: The ETL that was loaded from all of its source.
        counts: The counts of the load.
        baseline: What the table held before.
        is_rebuilt: Whether the load fills a staged table that replaces the live one.

    Raises:
        LoadError: The source gave no rows.

    """
    if counts.read or not baseline.held_rows or etl.empty_source == "allow":
        return
    if isinstance(etl, DimensionETL) and etl.deleted:
        # `deleted` has its own limit for the share of members that may be deleted.
        return
    adds = isinstance(etl, FactETL) and etl.write_mode in {"append", "replace_period"}
    if adds and not is_rebuilt:
        # Such a source gives only new rows, or only the periods to replace. No row is lost.
        return
    message = (
        f'the source gave no rows, and "{etl.table}" holds rows of earlier loads. A source that was'
        " full before is more often broken than empty, so nothing was changed. Load again when the"
        ' source is whole; if it is really empty, declare empty_source="allow"'
    )
    raise LoadError(message)


def _holds_rows(project: Project, etl: ETL, warehouse: Database) -> bool:
    """Return whether a table holds rows that its source gave. Special members are not such rows."""
    columns = warehouse.catalog.columns(etl.table)
    # No columns: the table does not exist. No source: all members come from facts.
    if not columns or etl.source is None:
        return False
    conditions: list[str] | None = []
    if isinstance(etl, DimensionETL):
        conditions = _source_conditions(project, etl, warehouse, columns)
    if conditions is None:
        return False
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return bool(warehouse.query(f"SELECT 1 FROM {warehouse.quote(etl.table)}{where} LIMIT 1"))


def _source_conditions(
    project: Project, etl: DimensionETL, warehouse: Database, columns: Collection[str]
) -> list[str] | None:
    """Return the conditions that a member came from the source, and not from a fact.

    None if no member shows where it came from.
    """
    factory, quote = etl.factory, warehouse.quote
    key = str(factory.name("key"))
    conditions = []
    special = special_keys(etl)
    if special and key in columns:
        conditions.append(f"{quote(key)} NOT IN ({special})")
    if etl.inferred in columns:
        is_boolean = duckdb_type(project.columns(etl)[str(etl.inferred)]) == "BOOLEAN"
        flag = quote(str(etl.inferred))
        conditions.append(f"({flag} IS NULL OR {flag} = {'false' if is_boolean else '0'})")
        return conditions
    if not any(_infers(project, fact, etl) for fact in project.facts):
        return conditions
    # Without a flag, an inferred member is the one that has no attribute but its natural key.
    filled = {key, *factory.natural_key, *factory.versioning, *etl.flags}
    own = [name for name in factory.names("attributes") if name in columns and name not in filled]
    if not own:
        # The natural key is the whole member, so one from the source looks like an inferred one.
        return None
    is_filled = " OR ".join(f"{quote(name)} IS NOT NULL" for name in own)
    conditions.append(f"({is_filled})")
    return conditions


def _infers(project: Project, fact: FactETL, etl: DimensionETL) -> bool:
    for key in fact.keys.values():
        if key.missing == "infer" and project.dimension(key).name == etl.name:
            return True
    return False
