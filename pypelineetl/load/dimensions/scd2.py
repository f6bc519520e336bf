"""Bulk load of a type-2 dimension: a change of a member adds a version.

docs/history.md is the model. SQL loads the members that have one new row, which is their latest
state; those are most of them. `HistoryRewriter` loads the others: members with several rows, with a
row that changes the past, and members that were deleted or inferred.
"""

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.attributes import type_three_value, with_constants
from pypelineetl.load.dimensions.history_rewriter import HistoryRewriter
from pypelineetl.load.dimensions.member_events import LATEST_EVENTS, MemberEvents
from pypelineetl.load.dimensions.source_rows import (
    can_stream_sorted,
    in_order,
    record_seen_keys,
    reject_undecided,
    reject_unfit,
    stage,
)
from pypelineetl.load.dimensions.version_sql import VersionSql
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows

_LATEST = "pypelineetl_latest"
"""The view of each member's latest version: `is_open`, and `last_event` of a dated dimension."""
_REWRITTEN = "pypelineetl_rewritten_members"
"""The natural keys of the members whose histories are rewritten."""
_CHANGES = "pypelineetl_changed"
"""The source rows that change something, with what their members were before."""
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
        What became of the rows.

    """
    steps = _LoadSteps(StagedRows(load, session, etl), etl)
    if steps.can_stream(source):
        yield 0
        inserted = steps.insert_first(source)
        return Counts(read=inserted, inserted=inserted)
    # Rows and rejects.
    with steps.staged.read_concurrently(steps.load_current_versions):
        read = stage(steps.staged, etl, source, steps.sql.requested())
    yield read
    # Before rejects: a member whose row is rejected is in the source, and must not be deleted.
    record_seen_keys(steps.staged, etl.factory.natural_key)
    rejected = reject_unfit(steps.staged, etl.factory.natural_key)
    rejected += steps.reject_undecided()
    if load.waiting:
        load.waiting.accept(steps.staged, SOURCE_ROWS)
    # What changes.
    steps.find_latest_versions()
    rewriter = steps.rewrite_histories()
    steps.find_changes()
    steps.confirm_states()
    session.drop(SOURCE_ROWS)
    inserted = steps.count("begins") + rewriter.inserted
    updated = steps.count("NOT begins AND overwrites") + rewriter.updated
    added_versions = steps.count("begins AND member IS NOT NULL") + rewriter.versions
    # Writing. Expired versions come first: a unique key may allow one open version per member.
    steps.expire_current()
    steps.overwrite_everywhere()
    steps.overwrite_latest()
    steps.insert_new_versions(rewriter)
    rewriter.write_changes()
    unchanged = read - inserted - updated - rejected
    return Counts(read, inserted, updated, unchanged, rejected, versions=added_versions)


class _LoadSteps:
    """The steps of one load. Each step gives one DuckDB table, or writes to the warehouse.

    In the statements, `r` is a source row and `e` the latest existing version of its member.
    """

    def __init__(self, staged: StagedRows, etl: DimensionETL) -> None:
        self.staged = staged
        self.sql = VersionSql(staged, etl)
        self._etl = etl
        self._versioning = self.sql.versioning
        self._events = MemberEvents(staged, etl)

    def can_stream(self, source: Projection) -> bool:
        """Return whether the rows can go into an empty table as they come."""
        # A dated dimension writes events, for which it needs the rows a second time.
        return not self.sql.is_dated and can_stream_sorted(self.staged, source)

    def insert_first(self, source: Projection) -> int:
        """Insert the first version of every member, in the order of the source's rows.

        Returns:
            The number of versions.

        """
        given = source.select(self.sql.requested(), f"{SOURCE_ROWS}_given")
        rows = in_order(self.staged, with_constants(self.staged, self._etl, given))
        largest_key = self.staged.largest(self._versioning.key)
        # The inner query adds the columns of a latest version, which no member has yet.
        return self.staged.insert(f"""
            SELECT ord + {largest_key}, {", ".join(self.sql.new_version().values())}
            FROM (
              SELECT *,
                NULL AS member,
                true AS is_open,
                NULL AS kept_number,
                NULL AS kept_until
              FROM ({rows})
            )
        """)

    def load_current_versions(self, staged: StagedRows) -> None:
        """Give CURRENT: the open version of each member, or all versions.

        All versions are read if the end of an open version is not NULL, as it may be any date then.
        A dated dimension gets LATEST_EVENTS as well.

        Args:
            staged: The rows in another DuckDB session, as the source is read at the same time.

        """
        until = self._versioning.until
        is_open = ""
        if until and self.sql.open_has_null:
            is_open = f"{staged.load.warehouse.quote(until)} IS NULL"
        staged.load_current(self.sql.current_columns(), is_open)
        if self.sql.is_dated:
            MemberEvents(staged, self._etl).load_latest()

    def reject_undecided(self) -> int:
        """Drop repeated source rows, and reject rows of one member that nothing orders.

        Returns:
            The number of rejected rows.

        """
        by = self._versioning.natural_key
        aliases = [self.staged.alias(name) for name in by]
        return reject_undecided(self.staged, aliases, self.sql.row_order(), by)

    def find_latest_versions(self) -> None:
        """Give _LATEST: the latest version of each member, and whether it is open."""
        staged, sql, versioning = self.staged, self.sql, self._versioning
        if versioning.until and sql.open_has_null:
            # CURRENT has the open versions. Closed ones are read for the members of the source
            # rows alone, if these have no open version.
            closed = f"{staged.load.warehouse.quote(versioning.until)} IS NOT NULL"
            staged.load_current_for(sql.current_columns(), versioning.natural_key, closed)
        by = staged.aliases(versioning.natural_key)
        # The window costs a sort of the whole dimension, so it is left out if it chooses nothing.
        chosen = ""
        if staged.session.number(f"SELECT count(*) - count(DISTINCT ({by})) FROM {CURRENT}"):
            chosen = f"""
                -- The latest version of each member.
                QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY {sql.latest_first()}) = 1
            """
        latest = f"SELECT *, {sql.is_open()} AS is_open FROM {CURRENT} {chosen}"
        if sql.is_dated:
            latest = self._with_last_event(latest)
        staged.session.view(_LATEST, latest)

    def _with_last_event(self, latest: str) -> str:
        """Return the latest versions, each with the date of its last event.

        An older release of the library kept no events. Then the beginning of the version counts.
        """
        key = self.staged.alias(self._versioning.key)
        since = self.staged.alias(str(self._versioning.since))
        return f"""
            SELECT v.*,
              coalesce(l.last_event, CAST(v.{since} AS TIMESTAMP)) AS last_event,
              l.last_event IS NULL AS has_no_event
            FROM ({latest}) AS v
            LEFT JOIN {LATEST_EVENTS} AS l ON l.version_key = v.{key}
        """

    def rewrite_histories(self) -> HistoryRewriter:
        """Compute the histories that need it, and take their rows out of SOURCE_ROWS."""
        rewriter = HistoryRewriter(
            self.staged, self._etl, self._versioning, self.sql.rules, self._events
        )
        while self._find_rewritten_members():
            # An extract often repeats old states. Without them fewer members need a rewrite.
            if self.sql.is_dated and rewriter.drop_repeated_rows(_REWRITTEN, _LATEST):
                continue
            rewriter.compute(_REWRITTEN)
            break
        return rewriter

    def _find_rewritten_members(self) -> bool:
        """Give _REWRITTEN: the members whose rows do more than begin the next version.

        Returns:
            Whether there are any.

        """
        staged, by = self.staged, self._versioning.natural_key
        conditions = []
        repeated = staged.repeated(by, "r")
        if repeated:
            conditions.append(repeated)
        if self._etl.inferred:
            conditions.append(f"CAST(e.{staged.alias(self._etl.inferred)} AS BOOLEAN)")
        if self.sql.is_dated:
            key = staged.alias(self._versioning.key)
            conditions.append(
                f"(e.{key} IS NOT NULL AND (NOT e.is_open OR r.effective_at < e.last_event))"
            )
        else:
            aliases = map(staged.alias, self.sql.ordering())
            conditions.extend(f"r.{alias} < e.{alias}" for alias in aliases)
        if not conditions:
            return False
        staged.session.keep(
            _REWRITTEN,
            f"""
            SELECT DISTINCT {staged.aliases(by, "r.")}
            FROM {self._rows_beside_latest()}
            WHERE {" OR ".join(conditions)}
            """,
        )
        return staged.session.number(f"SELECT count(*) FROM {_REWRITTEN}") > 0

    def find_changes(self) -> None:
        """Give _CHANGES: the source rows that begin a version or overwrite an attribute.

        `begins` and `overwrites` say which. `member` is the surrogate key of the latest version,
        NULL for a new member. `is_open` and the columns `kept_...` are values of that version.
        """
        staged, versioning = self.staged, self._versioning
        begins = self._beginning_conditions()
        compared = [name for name in versioning.overwritten if name not in self._etl.previous]
        is_changed = [*begins, staged.changed(compared, "r", "e")]
        columns = [
            self._row_columns(),
            f"e.{staged.alias(versioning.key)} AS member",
            "e.is_open",
            *self._kept_columns(),
        ]
        staged.session.keep(
            _CHANGES,
            f"""
            SELECT *, {self._overwrites(versioning.overwritten)} AS overwrites
            FROM (
              -- Each row beside the latest version of its member. A new member has none, so the
              -- conditions may be NULL: it begins a version.
              SELECT {", ".join(columns)}, coalesce({" OR ".join(begins)}, true) AS begins
              FROM {self._rows_beside_latest()}
              WHERE {" OR ".join(is_changed)}
            )
            """,
        )

    def _beginning_conditions(self) -> list[str]:
        """Return the conditions of which each makes a row begin a version."""
        staged, versioning = self.staged, self._versioning
        conditions = [
            f"e.{staged.alias(versioning.key)} IS NULL",
            "NOT e.is_open",
            staged.changed(versioning.followed, "r", "e"),
        ]
        if versioning.compares_dates and self.sql.is_dated:
            conditions.append("(r.effective IS NOT NULL AND r.effective_at <> e.last_event)")
        return conditions

    def _row_columns(self) -> str:
        """Return the columns of a row, with the type-0 and type-3 attributes of its member."""
        key = self.staged.alias(self._versioning.key)
        replaced = []
        for name in self._versioning.original:
            alias = self.staged.alias(name)
            kept = f"CASE WHEN e.{key} IS NULL THEN r.{alias} ELSE e.{alias} END"
            replaced.append(f"{kept} AS {alias}")
        for name, base in self._etl.previous.items():
            value = type_three_value(key, self.staged.alias(name), self.staged.alias(base))
            replaced.append(f"{value} AS {self.staged.alias(name)}")
        return f"r.* REPLACE ({', '.join(replaced)})" if replaced else "r.*"

    def _kept_columns(self) -> list[str]:
        """Return the values of the latest version that later steps need, as `kept_...`."""
        alias, versioning = self.staged.alias, self._versioning
        kept = [f"e.{alias(name)} AS kept_{alias(name)}" for name in versioning.overwritten]
        if versioning.number:
            kept.append(f"e.{alias(versioning.number)} AS kept_number")
        if versioning.until:
            kept.append(f"e.{alias(versioning.until)} AS kept_until")
        return kept

    def _overwrites(self, names: tuple[str, ...]) -> str:
        """Return the condition that a row of _CHANGES overwrites one of these attributes.

        For example `email IS DISTINCT FROM kept_email`.
        """
        conditions = []
        for name in names:
            alias = self.staged.alias(name)
            conditions.append(f"{alias} IS DISTINCT FROM kept_{alias}")
        return " OR ".join(conditions) or "false"

    def confirm_states(self) -> None:
        """Write an event for each row that confirms the open version at a later date.

        Such a row begins no version, but a later load must know the date. With `srcdateatt` it
        does begin one.
        """
        if not self.sql.is_dated or self._versioning.compares_dates:
            return
        key = self.staged.alias(self._versioning.key)
        since = self.staged.alias(str(self._versioning.since))
        changes = self.staged.changed(self._versioning.followed, "r", "e")
        rows = self._rows_beside_latest()
        confirmed = f"r.effective > e.last_event AND e.is_open AND NOT ({changes})"
        self._events.write(f"""
            SELECT e.{key} AS version_key, r.effective, 'state' AS event
            FROM {rows}
            WHERE {confirmed}
            UNION ALL
            -- The first event of a version of which an older release of the library kept none.
            SELECT e.{key}, CAST(e.{since} AS TIMESTAMP), 'state'
            FROM {rows}
            WHERE {confirmed} AND e.has_no_event
        """)

    def count(self, condition: str) -> int:
        """Return how many rows of _CHANGES meet a condition."""
        return self.staged.session.number(f"SELECT count(*) FROM {_CHANGES} WHERE {condition}")

    def expire_current(self) -> None:
        """End the open versions of the members that have a new version."""
        versioning = self._versioning
        if versioning.until:
            self.staged.update(
                [versioning.key],
                [versioning.until],
                f"""
                SELECT member, {self.sql.closing_date()}
                FROM {_CHANGES}
                WHERE begins AND is_open
                """,
            )

    def overwrite_everywhere(self) -> None:
        """Overwrite type-1 attributes in all versions of the changed members."""
        by = self._versioning.natural_key
        # One statement per attribute, so that a column without a change is not written.
        for name in self._versioning.everywhere:
            self.staged.update(
                by,
                [name],
                f"""
                SELECT {self.staged.aliases([*by, name])}
                FROM {_CHANGES}
                WHERE member IS NOT NULL AND {self._overwrites((name,))}
                """,
            )

    def overwrite_latest(self) -> None:
        """Overwrite type-1 attributes in the latest version of the changed members."""
        names, key = self._versioning.latest, self._versioning.key
        if names:
            # A version that begins has the new values anyway.
            self.staged.update(
                [key],
                names,
                f"""
                SELECT member, {self.staged.aliases(names)}
                FROM {_CHANGES}
                WHERE NOT begins AND ({self._overwrites(names)})
                """,
            )

    def insert_new_versions(self, rewriter: HistoryRewriter) -> None:
        """Insert the versions that begin, and their events, in the order of the source rows."""
        staged = self.staged
        largest_key = staged.largest(self._versioning.key)
        numbered = f"""
            -- Surrogate keys ascend with the source rows; `place` orders the versions of one row.
            SELECT {largest_key} + row_number() OVER (ORDER BY ord, place) AS version_key, *
            FROM ({self._new_versions(rewriter)})
        """
        if self.sql.is_dated:
            # Events need the keys as well, so the versions are kept.
            staged.session.keep(_NEW_VERSIONS, numbered)
            numbered = f"SELECT * FROM {_NEW_VERSIONS}"
        names = [name for name in self._etl.factory.columns if name != self._versioning.key]
        staged.insert(f"""
            SELECT version_key, {staged.aliases(names)}
            FROM ({numbered})
            ORDER BY ord, place
        """)
        if self.sql.is_dated:
            self._events.write(f"""
                SELECT version_key, effective_at AS effective, 'state' AS event
                FROM {_NEW_VERSIONS}
                WHERE effective_at IS NOT NULL
            """)
            rewriter.write_new_events(_NEW_VERSIONS)

    def _new_versions(self, rewriter: HistoryRewriter) -> str:
        """Return the new versions without surrogate keys, those of rewritten histories included.

        `effective_at` is NULL for the latter: the rewriter writes their events itself.
        """
        columns = []
        for name, expression in self.sql.new_version().items():
            columns.append(f"{expression} AS {self.staged.alias(name)}")
        if self.sql.is_dated:
            columns.append("effective_at")
        versions = f"""
            SELECT ord, 0 AS place, {", ".join(columns)}
            FROM {_CHANGES}
            WHERE begins
        """
        if rewriter.new_versions is None:
            return versions
        no_date = ", NULL AS effective_at" if self.sql.is_dated else ""
        return f"""
            {versions}
            UNION ALL BY NAME
            SELECT *{no_date}
            FROM {rewriter.new_versions}
        """

    def _rows_beside_latest(self) -> str:
        """Return the FROM clause of the rows `r`, each beside its member's latest version `e`.

            pypelineetl_rows AS r LEFT JOIN pypelineetl_latest AS e ON r.school_id = e.school_id

        The rows of a dated dimension have their date in one more column, `effective_at`.
        """
        by = self._versioning.natural_key
        rows = SOURCE_ROWS
        if self.sql.is_dated:
            keys = self.staged.aliases(by)
            known = f"({keys}) IN (SELECT ({keys}) FROM {_LATEST})"
            rows = f"(SELECT *, {self.sql.effective_at(known)} AS effective_at FROM {rows})"
        return f"{rows} AS r LEFT JOIN {_LATEST} AS e ON {self.staged.equal(by, 'r', 'e')}"
