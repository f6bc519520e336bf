"""Named steps of a load in bulk, each with its SQL: a load runs them, and `--show_sql` prints them.

A module that loads rows builds its steps from the declarations alone, so that the printed SQL is
the SQL that runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pypelineetl.databases.bulk import BulkWriter
from pypelineetl.duck.rows import Row
from pypelineetl.duck.session import DuckSession
from pypelineetl.sql.schema import Column

CHANGES = "pypelineetl_changes"
"""The table of the keys and new values of one update."""
LARGEST_KEY = "getvariable('pypelineetl_largest_key')"
"""The DuckDB expression of the largest surrogate key that a dimension has or had.

It is a variable, because only the open warehouse has the number.
"""
AUDIT_KEY = "getvariable('pypelineetl_audit_key')"
"""The DuckDB expression of the audit key of the load, which only a run has."""


@dataclass(frozen=True)
class Step:
    """One step of a load. This class is one statement in DuckDB."""

    name: str
    """What the step does, in a few words."""
    purpose: str
    """What the step is for, in one sentence."""
    query: str
    """The statement, or the query whose rows the step uses."""

    def statements(self, session: DuckSession) -> list[str]:  # noqa: ARG002 - some steps need it
        """Return the statements that the step runs, in their order."""
        return [self.query]

    def run(self, session: DuckSession) -> None:
        """Run the statement."""
        session.run(self.query)

    def rows(self, session: DuckSession) -> list[Row]:
        """Run the statement, and return its rows."""
        return session.rows(self.query)

    def number(self, session: DuckSession) -> int:
        """Run the statement, and return the single number of its result."""
        return session.number(self.query)


@dataclass(frozen=True)
class CreateTable(Step):
    """A step that creates a table of the load from the rows of a query."""

    table: str
    """The name of the table in DuckDB."""

    def statements(self, session: DuckSession) -> list[str]:
        """Return the CREATE TABLE."""
        return [session.table_statement(self.table, self.query)]

    def run(self, session: DuckSession) -> None:
        """Create the table."""
        session.keep(self.table, self.query)

    def count(self, session: DuckSession) -> int:
        """Create the table, and return the number of its rows."""
        self.run(session)
        return session.number(f"SELECT count(*) FROM {self.table}")


@dataclass(frozen=True)
class CreateView(Step):
    """A step that creates a view of the load."""

    view: str
    """The name of the view in DuckDB."""

    def statements(self, session: DuckSession) -> list[str]:
        """Return the CREATE VIEW."""
        return [session.view_statement(self.view, self.query)]

    def run(self, session: DuckSession) -> None:
        """Create the view."""
        session.view(self.view, self.query)


@dataclass(frozen=True)
class Insert(Step):
    """A step that inserts the rows of a query into a table of the warehouse."""

    bulk: BulkWriter
    """What writes into the warehouse."""
    table: str
    """The table of the warehouse."""
    columns: Sequence[Column]
    """The columns of the table, in the order of the query's columns."""

    def statements(self, session: DuckSession) -> list[str]:  # noqa: ARG002 - as the base has it
        """Return the statements that insert, those of DuckDB first."""
        return self.bulk.insert_statements(self.table, self.columns, self.query)

    def number(self, session: DuckSession) -> int:
        """Insert the rows, and return how many they are."""
        return self.bulk.insert(self.table, self.columns, session, self.query)

    def run(self, session: DuckSession) -> None:
        """Insert the rows."""
        self.number(session)


@dataclass(frozen=True)
class Update(Step):
    """A step that updates rows of a table of the warehouse. The query runs once, into CHANGES."""

    bulk: BulkWriter
    """What writes into the warehouse."""
    table: str
    """The table of the warehouse."""
    keys: Sequence[Column]
    """The columns that identify a row: the first columns of the query."""
    values: Sequence[Column]
    """The columns that are set: the other columns of the query, and those of `constants`."""
    constants: str = ""
    """Further columns of CHANGES, with a comma before each one: the audit column."""
    where: str = ""
    """A further condition of the warehouse's rows, with qualified column names."""

    def statements(self, session: DuckSession) -> list[str]:
        """Return the statement that keeps the changes, and those that write them."""
        writes = self.bulk.update_statements(
            self.table, self.keys, self.values, self._changes(), where=self.where
        )
        return [session.table_statement(CHANGES, self.query), *writes]

    def run(self, session: DuckSession) -> None:
        """Update the rows. Without changes the warehouse gets no statement."""
        session.keep(CHANGES, self.query)
        if session.number(f"SELECT count(*) FROM {CHANGES}"):
            self.bulk.update(
                self.table, self.keys, self.values, session, self._changes(), where=self.where
            )

    def _changes(self) -> str:
        return f"SELECT *{self.constants} FROM {CHANGES}"
