"""Load a type-2 dimension in bulk: a changed member gets a new version.

docs/history.md is the model. Most members have one new row, which is their latest state: SQL loads
them. `HistoryRewriter` loads the others: members with several rows, with a row that changes the
past, and members that were deleted or inferred.
"""

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.attributes import with_constants
from pypelineetl.load.dimensions.history_rewriter import HistoryRewriter
from pypelineetl.load.dimensions.member_events import MemberEvents
from pypelineetl.load.dimensions.source_rows import (
    can_stream_sorted,
    in_order,
    record_seen_keys,
    reject_unfit,
    stage,
)
from pypelineetl.load.dimensions.version_changes import CHANGES, VersionChanges
from pypelineetl.load.dimensions.version_sql import VersionSql
from pypelineetl.load.staged_rows import SOURCE_ROWS, StagedRows

_NEW_VERSIONS = "pypelineetl_numbered"
"""The new versions with their surrogate keys."""


def load_versions(
    load: Load, session: DuckSession, etl: DimensionETL, source: Projection
) -> Progress:
    """Load the source's rows into a type-2 dimension.

    Args:
        load: The load, with the open warehouse.
        session: The DuckDB session of the load.
        etl: The dimension.
        source: The source's rows.

    Yields:
        The number of rows read, once.

    Returns:
        The counts of the load.

    """
    staged = StagedRows(load, session, etl)
    sql = VersionSql(staged, etl)
    changes = VersionChanges(staged, etl, sql)
    writer = _VersionWriter(staged, etl, sql, changes)
    # A dated dimension writes events, for which it needs the rows a second time.
    if not sql.is_dated and can_stream_sorted(staged, source):
        yield 0
        inserted = writer.insert_first(source)
        return Counts(read=inserted, inserted=inserted)
    # Rows and rejects.
    with staged.read_concurrently(changes.load_current_versions):
        read = stage(staged, etl, source, sql.requested())
    yield read
    # Before rejects: a member whose row is rejected is in the source, and must not be deleted.
    record_seen_keys(staged, etl.factory.natural_key)
    rejected = reject_unfit(staged, etl.factory.natural_key) + changes.reject_undecided()
    if load.waiting:
        load.waiting.accept(staged, SOURCE_ROWS)
    # What changes. Rewritten members leave SOURCE_ROWS first, so that SQL finds one row for each.
    changes.find_latest_versions()
    rewriter = changes.rewrite_histories()
    changes.find_changes()
    changes.confirm_states()
    # Later steps read CHANGES only, so the memory of the rows can be freed.
    session.drop(SOURCE_ROWS)
    inserted = changes.count("__begins") + rewriter.inserted
    updated = changes.count("NOT __begins AND __overwrites") + rewriter.updated
    added_versions = changes.count("__begins AND __member IS NOT NULL") + rewriter.versions
    # Writing. Expired versions come first: a unique key may allow one open version per member.
    writer.expire_current()
    writer.overwrite_everywhere()
    writer.overwrite_latest()
    writer.insert_new_versions(rewriter)
    rewriter.write_changes()
    unchanged = read - inserted - updated - rejected
    return Counts(read, inserted, updated, unchanged, rejected, versions=added_versions)


class _VersionWriter:
    """Writes the versions of one load. Each step is one statement of the warehouse.

    Args:
        staged: The source rows.
        etl: The dimension.
        sql: The expressions of its versions.
        changes: What the source rows change.

    """

    def __init__(
        self, staged: StagedRows, etl: DimensionETL, sql: VersionSql, changes: VersionChanges
    ) -> None:
        self._staged = staged
        self._etl = etl
        self._sql = sql
        self._versioning = sql.versioning
        self._changes = changes

    def insert_first(self, source: Projection) -> int:
        """Insert the first version of every member, in the order of the source's rows.

        Returns:
            The number of versions.

        """
        given = source.select(self._sql.requested(), f"{SOURCE_ROWS}_given")
        rows = in_order(self._staged, with_constants(self._staged, self._etl, given))
        largest_key = self._staged.largest(self._versioning.key)
        # The inner query adds the columns of a latest version, which no member has yet.
        return self._staged.insert(f"""
            SELECT __row + {largest_key}, {", ".join(self._sql.new_version().values())}
            FROM (
              SELECT *,
                NULL AS __member,
                true AS __is_open,
                NULL AS __latest_number,
                NULL AS __latest_until
              FROM ({rows})
            )
        """)

    def expire_current(self) -> None:
        """End the open versions of the members that have a new version."""
        versioning = self._versioning
        if versioning.until:
            self._staged.update(
                [versioning.key],
                [versioning.until],
                f"""
                SELECT __member, {self._sql.closing_date()}
                FROM {CHANGES}
                WHERE __begins AND __is_open
                """,
            )

    def overwrite_everywhere(self) -> None:
        """Overwrite type-1 attributes in all versions of the changed members."""
        by = self._versioning.natural_key
        # One statement per attribute, so that a column without a change is not written.
        for name in self._versioning.everywhere:
            self._staged.update(
                by,
                [name],
                f"""
                SELECT {self._staged.quoted([*by, name])}
                FROM {CHANGES}
                WHERE __member IS NOT NULL AND {self._changes.overwrites((name,))}
                """,
            )

    def overwrite_latest(self) -> None:
        """Overwrite type-1 attributes in the latest version of the changed members."""
        names, key = self._versioning.latest, self._versioning.key
        if names:
            # A version that begins has the new values anyway.
            self._staged.update(
                [key],
                names,
                f"""
                SELECT __member, {self._staged.quoted(names)}
                FROM {CHANGES}
                WHERE NOT __begins AND ({self._changes.overwrites(names)})
                """,
            )

    def insert_new_versions(self, rewriter: HistoryRewriter) -> None:
        """Insert the versions that begin, and their events, in the order of the source rows."""
        staged = self._staged
        events = MemberEvents(staged, self._etl)
        largest_key = staged.largest(self._versioning.key)
        numbered = f"""
            -- Surrogate keys ascend with the source rows; `__place` orders the versions of one row.
            SELECT {largest_key} + row_number() OVER (ORDER BY __row, __place) AS __version_key, *
            FROM ({self._new_versions(rewriter)})
        """
        if self._sql.is_dated:
            # Two statements need the same keys, for the versions and for their events.
            staged.session.keep(_NEW_VERSIONS, numbered)
            numbered = f"SELECT * FROM {_NEW_VERSIONS}"
        names = [name for name in self._etl.factory.columns if name != self._versioning.key]
        staged.insert(f"""
            SELECT __version_key, {staged.quoted(names)}
            FROM ({numbered})
            ORDER BY __row, __place
        """)
        if self._sql.is_dated:
            events.write(f"""
                SELECT __version_key AS version_key, __effective_at AS effective, 'state' AS event
                FROM {_NEW_VERSIONS}
                WHERE __effective_at IS NOT NULL
            """)
            rewriter.write_new_events(_NEW_VERSIONS)

    def _new_versions(self, rewriter: HistoryRewriter) -> str:
        """Return the new versions without surrogate keys, those of rewritten histories included.

        `__effective_at` is NULL for the latter: the rewriter writes their events itself.
        """
        columns = []
        for name, expression in self._sql.new_version().items():
            columns.append(f"{expression} AS {self._staged.quote(name)}")
        if self._sql.is_dated:
            columns.append("__effective_at")
        versions = f"""
            SELECT __row, 0 AS __place, {", ".join(columns)}
            FROM {CHANGES}
            WHERE __begins
        """
        if rewriter.new_versions is None:
            return versions
        no_date = ", NULL AS __effective_at" if self._sql.is_dated else ""
        return f"""
            {versions}
            UNION ALL BY NAME
            SELECT *{no_date}
            FROM {rewriter.new_versions}
        """
