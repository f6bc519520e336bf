"""From staging into the warehouse: all tables of a run in one step, of which readers see all or
nothing.

Where tables can be exchanged at once they are (MySQL, MariaDB); elsewhere, or where something hangs
on a table that would not come along, rows are exchanged in one transaction, and nobody who reads
the old ones is disturbed.
"""

from collections.abc import Collection, Mapping, Sequence

from pypelineetl.databases.base import Database, Replacement
from pypelineetl.errors import LoadError
from pypelineetl.load.schema_drift import differences, refuse_losses
from pypelineetl.publish.staging import Staging
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.table_names import OLD, kept_name, short_name


def refuse_unpublishable(staging: Staging, warehouse: Database) -> None:
    """Raise LoadError if a table cannot be renewed without losing what hangs on it.

    A foreign key of a table that is not renewed would hold on to the old rows; and a table whose
    DDL has changed has to be made anew, which views, triggers and policies do not outlive.
    """
    refuse_losses(
        staging.live, [etl for etl in staging.etls if etl not in staging.copied], warehouse
    )
    faults, changed = [], redeclared(staging, warehouse)
    for etl in staging.etls:
        dependents = warehouse.dependents(etl.table)
        others = [
            dependent.what
            for dependent in dependents
            if dependent.table and dependent.table not in staging.tables
        ]
        if others:
            faults.append(
                f'{_listed(others)} points to "{etl.table}", and its table is not part of this run'
            )
        lost = [dependent.what for dependent in dependents if not dependent.table]
        if lost and (etl.table in changed or differences(staging.live, etl, warehouse)):
            faults.append(
                f'"{etl.table}" is not what its DDL says, so it would be made anew, and'
                f" {_listed(lost)} lost"
            )
    if faults:
        message = (
            f"{'; '.join(faults)}. Drop that, run again, and make it again afterwards; nothing was"
            " changed."
        )
        raise LoadError(message)


def redeclared(staging: Staging, warehouse: Database) -> set[str]:
    """Return the tables whose DDL has changed since they were made.

    It may be in a key or an index alone.
    """
    own = [etl for etl in staging.etls if etl not in staging.copied]
    return {etl.table for etl in own if RunHistory(warehouse).is_redeclared(etl)}


def exchanging(staging: Staging, there: Collection[str]) -> list[tuple[str, str]]:
    """Return by which moves to other names staged tables take the live ones' places.

    The others are swept, or kept.
    """
    moves = []
    for table, staged in staging.tables.items():
        old = f"{short_name(table)}{OLD}{staging.generation}"
        away = kept_name(table, staging.generation) if staging.live.keep_previous else old
        moves += [(table, away)] if table in there else []
        moves.append((staged, table))
    return moves


def exchange_rows(
    warehouse: Database,
    replacements: Sequence[Replacement],
    kept: Mapping[str, str],
    redeclared: Collection[str],
) -> None:
    """Put the rows of staged tables in the place of the live ones', in the transaction that is
    open.

    The rows of live tables are kept in tables of the names in `kept`. A table that is redeclared,
    or has other columns, is made anew. Raises LoadError for one where a transaction cannot do that.
    """
    _keep(warehouse, kept)
    changed = [
        replacement
        for replacement in replacements
        if replacement.table in redeclared
        or warehouse.columns(replacement.table) != warehouse.columns(replacement.staged)
    ]
    if warehouse.renames_atomically:
        _create_missing(warehouse, changed)
        changed = []
    made_anew = [
        replacement
        for replacement in replacements
        if replacement in changed or warehouse.must_recreate(replacement.table)
    ]
    # Facts before the dimensions they may point to.
    for replacement in reversed(replacements):
        if replacement not in made_anew:
            warehouse.empty(replacement.table)
        elif warehouse.columns(replacement.table):
            warehouse.inherit(replacement)
            warehouse.drop(replacement.table)
    for replacement in replacements:
        if replacement in made_anew:
            warehouse.swap_in(replacement)
        else:
            names = warehouse.quoted(warehouse.columns(replacement.staged))
            into = f"INSERT INTO {warehouse.quote(replacement.table)} ({names})"
            warehouse.execute(f"{into} SELECT {names} FROM {warehouse.quote(replacement.staged)}")


def _create_missing(warehouse: Database, changed: Sequence[Replacement]) -> None:
    """Create the tables that are not there, before anything is changed.

    That would end the transaction.
    """
    for replacement in changed:
        if warehouse.columns(replacement.table):
            message = (
                f'the DDL of "{replacement.table}" has changed, so it has to be exchanged as a'
                " whole, and readers held it open for too long; run again when they are done."
                " Nothing was changed."
            )
            raise LoadError(message)
        warehouse.create(replacement.table, replacement.create)


def _keep(warehouse: Database, kept: Mapping[str, str]) -> None:
    for table, name in kept.items():
        if warehouse.columns(table):
            # With their types, which SQLite would lose by CREATE TABLE AS.
            columns = ", ".join(
                f"{warehouse.quote(each)} {kind}" for each, kind in warehouse.columns(table).items()
            )
            warehouse.execute(f"CREATE TABLE {warehouse.quote(name)} ({columns})")
            warehouse.execute(
                f"INSERT INTO {warehouse.quote(name)} SELECT * FROM {warehouse.quote(table)}"
            )


def _listed(things: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(things))
