"""Swap all staged tables of a run with the live ones in one step: readers see all or nothing.

MySQL and MariaDB rename all tables at once. Other databases replace the rows in one transaction,
which does not disturb readers of the old rows. MySQL does that too if a rename would lose something
that depends on a table.
"""

from collections.abc import Collection, Mapping, Sequence

from pypelineetl.databases.base import Database
from pypelineetl.databases.table_swap import Replacement
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import LoadError
from pypelineetl.load.schema_drift import differences, refuse_losses
from pypelineetl.publish.staging import Staging
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.table_names import kept_name, old_name


def refuse_unpublishable(staging: Staging, warehouse: Database) -> None:
    """Raise LoadError if a table cannot be replaced without losing what depends on it.

    A foreign key of a table outside of the run would still refer to the old rows. A table whose DDL
    has changed must be created again, and views, triggers and policies on it would be lost.
    """
    own = [etl for etl in staging.etls if etl not in staging.copied]
    # The check comes before anything is loaded, because a rebuild may take hours.
    refuse_losses(staging.live, own, warehouse)
    problems: list[str] = []
    changed = redeclared(staging, warehouse)
    for etl in staging.etls:
        problems += _problems_of_dependents(staging, etl, warehouse, changed)
    if problems:
        message = (
            f"{'; '.join(problems)}. Drop that, run again, and create it again afterwards; nothing"
            " was changed."
        )
        raise LoadError(message)


def _problems_of_dependents(
    staging: Staging, etl: ETL, warehouse: Database, changed: Collection[str]
) -> list[str]:
    """Return what depends on one table and keeps it from being replaced."""
    problems: list[str] = []
    foreign_keys: list[str] = []
    others: list[str] = []
    for dependent in warehouse.catalog.dependents(etl.table):
        if not dependent.table:
            others.append(dependent.what)
        elif dependent.table not in staging.tables:
            foreign_keys.append(dependent.what)
    if foreign_keys:
        problems.append(
            f'{_listed(foreign_keys)} points to "{etl.table}", and its table is not part of this'
            " run"
        )
    if others and (etl.table in changed or differences(staging.live, etl, warehouse)):
        problems.append(
            f'"{etl.table}" is not what its DDL says, so it would be created again, and'
            f" {_listed(others)} lost"
        )
    return problems


def redeclared(staging: Staging, warehouse: Database) -> set[str]:
    """Return the tables whose DDL has changed since they were created.

    A comparison of columns does not show all changes: a key or an index may have changed.
    """
    history = RunHistory(warehouse)
    own = [etl for etl in staging.etls if etl not in staging.copied]
    return {etl.table for etl in history.redeclared(own)}


def rename_moves(staging: Staging, existing: Collection[str]) -> list[tuple[str, str]]:
    """Return the renames, in order, that make the staged tables live.

    Args:
        staging: The staged tables.
        existing: The names of all tables in the warehouse.

    Returns:
        Pairs of an old and a new name. A live table is renamed to its previous table, or to a name
        that the next clean-up drops.

    For one table: `[("sale", "sale__old_0a1b2c3d"), ("sale__staged_0a1b2c3d", "sale")]`.
    """
    moves: list[tuple[str, str]] = []
    for table, staged in staging.tables.items():
        # A table that is built for the first time has no live one to rename.
        if table in existing:
            name = kept_name if staging.live.keep_previous else old_name
            moves.append((table, name(table, staging.generation)))
        moves.append((staged, table))
    return moves


def replace_rows(
    warehouse: Database,
    replacements: Sequence[Replacement],
    kept: Mapping[str, str],
    redeclared: Collection[str],
) -> None:
    """Replace the rows of live tables by those of staged tables, in the open transaction.

    Args:
        warehouse: The connection with the open transaction.
        replacements: The tables, dimensions first.
        kept: The previous table for each live table whose rows are kept.
        redeclared: The tables whose DDL has changed. They are created again, as are tables whose
            columns differ.

    Raises:
        LoadError: A table must be created again, and a transaction cannot do that.
    """
    for table, name in kept.items():
        _keep_rows(warehouse, table, name)
    created_again = _created_again(warehouse, replacements, redeclared)
    warehouse.swap.prepare(created_again)
    # Facts come before the dimensions that they may have foreign keys to.
    for replacement in reversed(replacements):
        if replacement not in created_again:
            warehouse.catalog.empty(replacement.table)
        elif warehouse.catalog.columns(replacement.table):
            # Grants belong to a table, not to its rows, and would be dropped with it.
            warehouse.swap.copy_grants(replacement)
            warehouse.catalog.drop(replacement.table)
    for replacement in replacements:
        if replacement in created_again:
            warehouse.swap.swap_in(replacement)
        else:
            _insert_rows(warehouse, replacement)


def _created_again(
    warehouse: Database, replacements: Sequence[Replacement], redeclared: Collection[str]
) -> list[Replacement]:
    """Return the replacements whose staged table itself takes the live table's name."""
    changed = [
        replacement
        for replacement in replacements
        if replacement.table in redeclared
        or warehouse.catalog.columns(replacement.table)
        != warehouse.catalog.columns(replacement.staged)
    ]
    if warehouse.swap.renames_atomically:
        # A table that does not exist yet is created here, and gets its rows like all others.
        _create_missing(warehouse, changed)
        changed = []
    return [
        replacement
        for replacement in replacements
        if replacement in changed or warehouse.swap.must_recreate(replacement.table)
    ]


def _create_missing(warehouse: Database, changed: Sequence[Replacement]) -> None:
    """Create the live tables that do not exist, before anything is changed.

    CREATE TABLE commits on the databases that need this, so it must come first.
    """
    for replacement in changed:
        if warehouse.catalog.columns(replacement.table):
            message = (
                f'the DDL of "{replacement.table}" has changed, so the table has to be swapped as a'
                " whole, and readers held it open for too long; run again when they are done."
                " Nothing was changed."
            )
            raise LoadError(message)
        warehouse.catalog.create(replacement.table, replacement.create)


def _keep_rows(warehouse: Database, table: str, name: str) -> None:
    """Copy the rows of a live table, if it exists, into a new previous table."""
    columns = warehouse.catalog.columns(table)
    if not columns:
        return
    # Not by CREATE TABLE AS, which would lose the declared types on SQLite.
    typed = ", ".join(f"{warehouse.quote(column)} {kind}" for column, kind in columns.items())
    warehouse.execute(f"CREATE TABLE {warehouse.quote(name)} ({typed})")
    warehouse.execute(f"INSERT INTO {warehouse.quote(name)} SELECT * FROM {warehouse.quote(table)}")


def _insert_rows(warehouse: Database, replacement: Replacement) -> None:
    """Copy the rows of a staged table into its live table, which is empty."""
    # Columns are listed by name, because the two tables may have them in a different order.
    names = warehouse.quoted(warehouse.catalog.columns(replacement.staged))
    warehouse.execute(f"""
        INSERT INTO {warehouse.quote(replacement.table)} ({names})
        SELECT {names}
        FROM {warehouse.quote(replacement.staged)}
    """)


def _listed(things: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(things))
