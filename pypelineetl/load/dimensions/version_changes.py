"""Find the source rows of a type-2 dimension that change something, by SQL steps in DuckDB.

scd2.py calls the steps in their order. Each step creates one DuckDB table or view. In the
statements, `r` is a source row and `e` the latest existing version of its member.
"""

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.names import added, quoted
from pypelineetl.load.dimensions.attributes import type_three_value
from pypelineetl.load.dimensions.history_rewriter import HistoryRewriter
from pypelineetl.load.dimensions.member_events import LATEST_EVENTS, MemberEvents
from pypelineetl.load.dimensions.source_rows import reject_undecided
from pypelineetl.load.dimensions.version_sql import VersionSql
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows
from pypelineetl.load.steps import CreateTable, CreateView, Step

CHANGES = "pypelineetl_changed"
"""The source rows that change something, with what their members were before."""
_DATED = "pypelineetl_dated"
"""The view of the source rows of a dated dimension with their date, `__effective_at`."""
_LATEST = "pypelineetl_latest"
"""The view of each member's latest version, with `__is_open`, and `__last_event` if it is dated."""
_REPEATED = "pypelineetl_repeated"
"""The natural keys of which SOURCE_ROWS has several rows."""
_REWRITTEN = "pypelineetl_rewritten_members"
"""The natural keys of the members whose histories are rewritten."""


class VersionChanges:
    """Finds what the source rows of one load change.

    Args:
        staged: The source rows.
        etl: The dimension.
        sql: The expressions of its versions.

    """

    def __init__(self, staged: StagedRows, etl: DimensionETL, sql: VersionSql) -> None:
        self._staged = staged
        self._sql = sql
        self._etl = etl
        self._versioning = sql.versioning
        self._events = MemberEvents(staged, etl)

    def load_current_versions(self, staged: StagedRows) -> None:
        """Create CURRENT: the open version of each member, or all versions.

        It has all versions if the end of an open version is not NULL, because it may be any date
        then. A dated dimension gets LATEST_EVENTS as well.

        Args:
            staged: The rows in another DuckDB session, as the source is read at the same time.

        """
        until = self._versioning.until
        is_open = ""
        if until and self._sql.open_has_null:
            is_open = f"{staged.load.warehouse.quote(until)} IS NULL"
        staged.load_current(self._sql.current_columns(), is_open)
        if self._sql.is_dated:
            MemberEvents(staged, self._etl).load_latest()

    def reject_undecided(self) -> int:
        """Drop repeated source rows, and reject rows of one member whose order is not known.

        Returns:
            The number of rejected rows.

        """
        by = self._versioning.natural_key
        columns = [self._staged.quote(name) for name in by]
        return reject_undecided(self._staged, columns, self._sql.row_order(), by)

    def find_latest_versions(self) -> None:
        """Create _LATEST: the latest version of each member, and whether it is open."""
        staged, sql, versioning = self._staged, self._sql, self._versioning
        if versioning.until and sql.open_has_null:
            # CURRENT has the open versions. Closed versions are read only for members of the source
            # rows that have no open version.
            closed = f"{staged.load.warehouse.quote(versioning.until)} IS NOT NULL"
            staged.load_current_for(sql.current_columns(), versioning.natural_key, closed)
        by = staged.quoted(versioning.natural_key)
        # The window sorts the whole dimension. It is left out if each member has one version here.
        repeated = staged.session.number(f"SELECT count(*) - count(DISTINCT ({by})) FROM {CURRENT}")
        self.latest_step(has_several=repeated > 0).run(staged.session)
        for step in self.date_steps():
            step.run(staged.session)

    def date_steps(self) -> list[Step]:
        """Return the step that creates _DATED. An undated dimension has no such step."""
        if not self._sql.is_dated:
            return []
        keys = self._staged.quoted(self._versioning.natural_key)
        known = f"({keys}) IN (SELECT ({keys}) FROM {_LATEST})"
        date = CreateView(
            "date the source rows",
            "Give each row the date from which its state is valid.",
            f"""
            SELECT *, {self._sql.effective_at(known)} AS __effective_at
            FROM {SOURCE_ROWS}
            """,
            _DATED,
        )
        return [date]

    def latest_step(self, *, has_several: bool) -> CreateView:
        """Return the step that creates _LATEST.

        Args:
            has_several: Whether CURRENT has several versions of a member.

        """
        by = self._staged.quoted(self._versioning.natural_key)
        chosen = ""
        if has_several:
            chosen = f"""
                -- The latest version of each member.
                QUALIFY row_number() OVER (
                  PARTITION BY {by} ORDER BY {self._sql.latest_first()}
                ) = 1
            """
        latest = f"""
            SELECT *, {self._sql.is_open()} AS __is_open
            FROM {CURRENT}
            {chosen}
        """
        if self._sql.is_dated:
            latest = self._with_last_event(latest)
        return CreateView(
            "choose latest versions",
            "Take the latest version of each member, and show whether it is open.",
            latest,
            _LATEST,
        )

    def _with_last_event(self, latest: str) -> str:
        """Return the latest versions, each with the date of its last event.

        An older release of the library kept no events. Then the beginning of the version counts.
        """
        key = self._staged.quote(self._versioning.key)
        since = self._staged.quote(str(self._versioning.since))
        return f"""
            SELECT v.*,
              coalesce(l.last_event, CAST(v.{since} AS TIMESTAMP)) AS __last_event,
              l.last_event IS NULL AS __has_no_event
            FROM ({latest}) AS v
            LEFT JOIN {LATEST_EVENTS} AS l ON l.version_key = v.{key}
        """

    def rewrite_histories(self) -> HistoryRewriter:
        """Compute the histories that need it, and take their rows out of SOURCE_ROWS."""
        rewriter = HistoryRewriter(
            self._staged, self._etl, self._versioning, self._sql.rules, self._events
        )
        while self._find_rewritten_members():
            # An extract often repeats old states. Without those rows, fewer members need a rewrite,
            # so the members are found again.
            if self._sql.is_dated and rewriter.drop_repeated_rows(_REWRITTEN, _LATEST):
                continue
            rewriter.compute(_REWRITTEN)
            break
        return rewriter

    def _find_rewritten_members(self) -> bool:
        """Create _REWRITTEN: the members whose rows do more than begin the next version.

        Returns:
            Whether there are any.

        """
        session = self._staged.session
        repeated = self.repeated_step().count(session)
        step = self.rewritten_step(has_repeated=repeated > 0)
        return step is not None and step.count(session) > 0

    def repeated_step(self) -> CreateTable:
        """Return the step that creates _REPEATED."""
        by = self._staged.quoted(self._versioning.natural_key)
        return CreateTable(
            "find members with several rows",
            "List the natural keys of which the source gives several rows.",
            f"""
            SELECT {by}
            FROM {SOURCE_ROWS}
            GROUP BY {by}
            HAVING count(*) > 1
            """,
            _REPEATED,
        )

    def rewritten_step(self, *, has_repeated: bool) -> CreateTable | None:
        """Return the step that creates _REWRITTEN; None if there can be no such members.

        Args:
            has_repeated: Whether _REPEATED has any member.

        """
        staged, by = self._staged, self._versioning.natural_key
        conditions = []
        # Several rows of one member.
        if has_repeated:
            row_by, repeated_by = staged.quoted(by, "r."), staged.quoted(by)
            conditions.append(f"({row_by}) IN (SELECT ({repeated_by}) FROM {_REPEATED})")
        # The first row of an inferred member, which fills it in.
        if self._etl.inferred:
            conditions.append(f"CAST(e.{staged.quote(self._etl.inferred)} AS BOOLEAN)")
        # A member that returns, or a row that changes the past.
        if self._sql.is_dated:
            key = staged.quote(self._versioning.key)
            conditions.append(
                f"(e.{key} IS NOT NULL AND (NOT e.__is_open OR r.__effective_at < e.__last_event))"
            )
        else:
            # A row that is older than the latest version, by its ordering attribute.
            columns = map(staged.quote, self._sql.ordering())
            conditions.extend(f"r.{column} < e.{column}" for column in columns)
        if not conditions:
            return None
        return CreateTable(
            "find histories to rewrite",
            "List the members whose rows change the past: Python computes their histories.",
            f"""
            SELECT DISTINCT {staged.quoted(by, "r.")}
            FROM {self._rows_beside_latest()}
            WHERE {" OR ".join(conditions)}
            """,
            _REWRITTEN,
        )

    def changes_step(self) -> CreateTable:
        """Return the step that creates CHANGES: rows that begin a version or overwrite something.

        `__begins` and `__overwrites` show which. `__member` is the surrogate key of the latest
        version, NULL for a new member. `__is_open`, `__latest_number`, `__latest_until` and the
        columns `__kept_…` are values of that version.
        """
        staged, versioning = self._staged, self._versioning
        begins = self._beginning_conditions()
        # A type-3 column changes only together with its attribute.
        compared = [name for name in versioning.overwritten if name not in self._etl.previous]
        is_changed = [*begins, staged.changed(compared, "r", "e")]
        columns = [
            self._row_columns(),
            f"e.{staged.quote(versioning.key)} AS __member",
            "e.__is_open",
            *self._kept_columns(),
        ]
        return CreateTable(
            "detect changes",
            "Keep the source rows that begin a version or overwrite an attribute.",
            f"""
            SELECT *, {self.overwrites(versioning.overwritten)} AS __overwrites
            FROM (
              -- Each row beside the latest version of its member. A new member has none, so the
              -- conditions may be NULL: it begins a version.
              SELECT {", ".join(columns)}, coalesce({" OR ".join(begins)}, true) AS __begins
              FROM {self._rows_beside_latest()}
              WHERE {" OR ".join(is_changed)}
            )
            """,
            CHANGES,
        )

    def _beginning_conditions(self) -> list[str]:
        """Return the conditions of which each makes a row begin a version."""
        staged, versioning = self._staged, self._versioning
        conditions = [
            # A new member.
            f"e.{staged.quote(versioning.key)} IS NULL",
            # A member that returns.
            "NOT e.__is_open",
            # A changed type-2 attribute.
            staged.changed(versioning.followed, "r", "e"),
        ]
        # With `srcdateatt`, another date begins a version as well.
        if versioning.compares_dates and self._sql.is_dated:
            conditions.append("(r.__effective IS NOT NULL AND r.__effective_at <> e.__last_event)")
        return conditions

    def _row_columns(self) -> str:
        """Return the columns of a row, with the type-0 and type-3 attributes of its member."""
        key = self._staged.quote(self._versioning.key)
        replaced = []
        for name in self._versioning.original:
            column = self._staged.quote(name)
            kept = f"CASE WHEN e.{key} IS NULL THEN r.{column} ELSE e.{column} END"
            replaced.append(f"{kept} AS {column}")
        for name, base in self._etl.previous.items():
            value = type_three_value(key, self._staged.quote(name), self._staged.quote(base))
            replaced.append(f"{value} AS {self._staged.quote(name)}")
        return f"r.* REPLACE ({', '.join(replaced)})" if replaced else "r.*"

    def _kept_columns(self) -> list[str]:
        """Return the values of the latest version that later steps need."""
        quote, versioning = self._staged.quote, self._versioning
        kept = [f"e.{quote(name)} AS {self._kept(name)}" for name in versioning.overwritten]
        if versioning.number:
            kept.append(f"e.{quote(versioning.number)} AS __latest_number")
        if versioning.until:
            kept.append(f"e.{quote(versioning.until)} AS __latest_until")
        return kept

    def _kept(self, name: str) -> str:
        """Return the column of CHANGES with an attribute of the latest version."""
        return quoted(added("kept", self._staged.names[name]))

    def overwrites(self, names: tuple[str, ...]) -> str:
        """Return the condition that a row of CHANGES overwrites one of these attributes.

        For example `"email" IS DISTINCT FROM "__kept_email"`.
        """
        quote = self._staged.quote
        conditions = [f"{quote(name)} IS DISTINCT FROM {self._kept(name)}" for name in names]
        return " OR ".join(conditions) or "false"

    def confirm_steps(self) -> list[Step]:
        """Return the step that writes an event for each row that confirms the open version.

        Such a row begins no version, but a later load must know its date. An undated dimension has
        no such step. With `srcdateatt` such a row begins a version.
        """
        if not self._sql.is_dated or self._versioning.compares_dates:
            return []
        key = self._staged.quote(self._versioning.key)
        since = self._staged.quote(str(self._versioning.since))
        changes = self._staged.changed(self._versioning.followed, "r", "e")
        rows = self._rows_beside_latest()
        confirmed = f"r.__effective > e.__last_event AND e.__is_open AND NOT ({changes})"
        confirm = self._events.write_step(
            "confirm states",
            "Keep the dates at which rows confirm the open version, which changes no version.",
            f"""
            SELECT e.{key} AS version_key, r.__effective AS effective, 'state' AS event
            FROM {rows}
            WHERE {confirmed}
            UNION ALL
            -- The first event of a version of which an older release of the library kept none.
            SELECT e.{key}, CAST(e.{since} AS TIMESTAMP), 'state'
            FROM {rows}
            WHERE {confirmed} AND e.__has_no_event
            """,
        )
        return [confirm]

    def count(self, condition: str) -> int:
        """Return how many rows of CHANGES meet a condition."""
        return self._staged.session.number(f"SELECT count(*) FROM {CHANGES} WHERE {condition}")

    def _rows_beside_latest(self) -> str:
        """Return the FROM clause of the rows `r`, each joined with its member's latest version `e`.

            pypelineetl_rows AS r LEFT JOIN pypelineetl_latest AS e ON r."school_id" = e."school_id"

        The rows of a dated dimension come from _DATED.
        """
        by = self._versioning.natural_key
        rows = _DATED if self._sql.is_dated else SOURCE_ROWS
        return f"""{rows} AS r
            LEFT JOIN {_LATEST} AS e ON {self._staged.equal(by, "r", "e")}"""
