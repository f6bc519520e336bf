"""Drift: an existing table whose columns are not those of its DDL.

What the DDL means is asked of the database itself, by way of a temporary table; nothing here knows how any database
writes its types.
"""

from collections.abc import Mapping

from pypelineetl.databases.base import Database
from pypelineetl.declare import ETL
from pypelineetl.errors import LoadError
from pypelineetl.project import Project
from pypelineetl.staging import short_name


def check_drift(project: Project, etl: ETL, warehouse: Database) -> None:
    """Raise LoadError if the existing table is not what its DDL says; every difference is told at once."""
    if found := differences(project, etl, warehouse):
        message = (
            f'the table "{etl.table}" is not what its DDL says: {"; ".join(found)}.'
            " Rebuild it (--delete_existing_tables), or change the table or its DDL until they agree."
        )
        raise LoadError(message)


def differences(project: Project, etl: ETL, warehouse: Database) -> list[str]:
    """Return in what an existing table is not what its DDL says."""
    temporary = f"{short_name(etl.table)}__ddl"
    meant = warehouse.meant(project.create_temporary(etl, temporary), temporary)
    return _differences(meant, warehouse.columns(etl.table))


def _differences(meant: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    missing = [f'it has no column "{name}" ({kind})' for name, kind in meant.items() if name not in found]
    extra = [f'its column "{name}" ({kind}) is not in the DDL' for name, kind in found.items() if name not in meant]
    other = [
        f'its column "{name}" is {found[name]}, and the DDL says {kind}'
        for name, kind in meant.items()
        if name in found and found[name] != kind
    ]
    return [*missing, *extra, *other]
