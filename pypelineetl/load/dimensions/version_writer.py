"""Write the versions of a type-2 load: expire, overwrite and insert, as named steps."""

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection
from pypelineetl.load.dimensions.attributes import with_constants
from pypelineetl.load.dimensions.history_rewriter import HistoryRewriter
from pypelineetl.load.dimensions.member_events import MemberEvents
from pypelineetl.load.dimensions.source_rows import in_order
from pypelineetl.load.dimensions.version_changes import CHANGES, VersionChanges
from pypelineetl.load.dimensions.version_sql import VersionSql
from pypelineetl.load.staged_rows import GIVEN, StagedRows
from pypelineetl.load.steps import LARGEST_KEY, CreateTable, Insert, Step

_NEW_VERSIONS = "pypelineetl_numbered"
"""The new versions with their surrogate keys."""


class VersionWriter:
    """Writes the versions of one load. Each step writes into one table of the warehouse.

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
        self._events = MemberEvents(staged, etl)

    def insert_first(self, source: Projection) -> int:
        """Insert the first version of every member, in the order of the source's rows.

        Returns:
            The number of versions.

        """
        source.view(self._sql.requested(), GIVEN)
        given = with_constants(self._staged, self._etl, f"SELECT * FROM {GIVEN}")
        rows = in_order(self._staged, given)
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

    def update_steps(self) -> list[Step]:
        """Return the steps that change existing versions, in their order.

        Expired versions come first: a unique key may allow one open version of a member.
        """
        return [*self._expire(), *self._overwrite_everywhere(), *self._overwrite_latest()]

    def _expire(self) -> list[Step]:
        versioning = self._versioning
        if not versioning.until:
            return []
        expire = self._staged.update_step(
            "expire current versions",
            "End the open versions of the members that get a new version.",
            [versioning.key],
            [versioning.until],
            f"""
            SELECT __member, {self._sql.closing_date()}
            FROM {CHANGES}
            WHERE __begins AND __is_open
            """,
        )
        return [expire]

    def _overwrite_everywhere(self) -> list[Step]:
        by, steps = self._versioning.natural_key, []
        # One statement per attribute, so that a column without a change is not written.
        for name in self._versioning.everywhere:
            step = self._staged.update_step(
                f"overwrite {name}",
                "Overwrite this type-1 attribute in all versions of the changed members.",
                by,
                [name],
                f"""
                SELECT {self._staged.quoted([*by, name])}
                FROM {CHANGES}
                WHERE __member IS NOT NULL AND {self._changes.overwrites((name,))}
                """,
            )
            steps.append(step)
        return [*steps]

    def _overwrite_latest(self) -> list[Step]:
        names, key = self._versioning.latest, self._versioning.key
        if not names:
            return []
        # A version that begins has the new values anyway.
        overwrite = self._staged.update_step(
            "overwrite latest versions",
            "Overwrite type-1 attributes in the latest versions of the changed members.",
            [key],
            names,
            f"""
            SELECT __member, {self._staged.quoted(names)}
            FROM {CHANGES}
            WHERE NOT __begins AND ({self._changes.overwrites(names)})
            """,
        )
        return [overwrite]

    def number_step(self, rewritten: str | None) -> CreateTable:
        """Return the step that creates _NEW_VERSIONS.

        Args:
            rewritten: The DuckDB table of the new versions of rewritten histories, if there are.

        """
        return CreateTable(
            "number new versions",
            "Give the next surrogate keys to the versions that begin.",
            self._numbered(rewritten),
            _NEW_VERSIONS,
        )

    def insert_step(self, rewritten: str | None) -> Insert:
        """Return the step that inserts the versions that begin, in the order of the source rows.

        Args:
            rewritten: As for `number_step`.

        """
        # A dated dimension needs the same keys twice, for the versions and for their events.
        numbered = self._numbered(rewritten)
        rows = _NEW_VERSIONS if self._sql.is_dated else f"({numbered})"
        names = [name for name in self._etl.factory.columns if name != self._versioning.key]
        return self._staged.insert_step(
            "insert new versions",
            "Insert the versions that begin, those of new members included.",
            f"""
            SELECT __version_key, {self._staged.quoted(names)}
            FROM {rows}
            ORDER BY __row, __place
            """,
        )

    def event_step(self) -> Insert:
        """Return the step that inserts the events of the new versions of a dated dimension."""
        return self._events.write_step(
            "keep the dates of new versions",
            "Insert the effective dates that the source gave, which later loads compare.",
            f"""
            SELECT __version_key AS version_key, __effective_at AS effective, 'state' AS event
            FROM {_NEW_VERSIONS}
            WHERE __effective_at IS NOT NULL
            """,
        )

    def insert_new_versions(self, rewriter: HistoryRewriter) -> None:
        """Insert the versions that begin, and their events."""
        session, rewritten = self._staged.session, rewriter.new_versions
        self._staged.set_largest_key(self._versioning.key)
        if not self._sql.is_dated:
            self.insert_step(rewritten).run(session)
            return
        self.number_step(rewritten).run(session)
        self.insert_step(rewritten).run(session)
        self._events.perform(self.event_step())
        rewriter.write_new_events(_NEW_VERSIONS)

    def insert_steps(self) -> list[Step]:
        """Return the steps of `insert_new_versions` if no history is rewritten."""
        if not self._sql.is_dated:
            return [self.insert_step(None)]
        return [self.number_step(None), self.insert_step(None), self.event_step()]

    def _numbered(self, rewritten: str | None) -> str:
        """Return the new versions with their surrogate keys."""
        return f"""
            -- Surrogate keys ascend with the source rows; `__place` orders the versions of one row.
            SELECT
              {LARGEST_KEY} + row_number() OVER (ORDER BY __row, __place) AS __version_key,
              *
            FROM ({self._new_versions(rewritten)})
        """

    def _new_versions(self, rewritten: str | None) -> str:
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
        if rewritten is None:
            return versions
        no_date = ", NULL AS __effective_at" if self._sql.is_dated else ""
        return f"""
            {versions}
            UNION ALL BY NAME
            SELECT *{no_date}
            FROM {rewritten}
        """
