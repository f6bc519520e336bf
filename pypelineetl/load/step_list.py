"""List the steps of the load of an ETL, for `run.py --show_sql`, without any connection."""

from collections.abc import Iterator

import duckdb
from sqlglot import exp

from pypelineetl.databases import database_class
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.scd1 import member_steps
from pypelineetl.load.dimensions.scd2 import version_steps
from pypelineetl.load.facts.fact_steps import fact_steps
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.load.steps import Step
from pypelineetl.load.strategy import why_row_by_row
from pypelineetl.project.project import Project
from pypelineetl.sql.dialect import parse_statement
from pypelineetl.sql.layout import laid_out


def step_text(project: Project, etl: ETL) -> Iterator[str]:
    """Yield the steps of an update by an ETL as text: name, purpose and SQL of each.

    They are the steps of a load into a table that has rows. What depends on the rows is left out:
    the steps that repeat, reject or merge rows, fill inferred members or rewrite histories.

    Args:
        project: The project.
        etl: The ETL, which may be switched off.

    """
    reason = why_row_by_row(project, etl)
    if reason:
        yield f"-- {etl.label}: loaded row by row, without such steps: {reason}\n"
        return
    if etl.source is None:
        yield f"-- {etl.label}: facts make its members, so it has no steps of its own\n"
        return
    warehouse = database_class(project.warehouse_url).without_connection()
    with duckdb.connect(":memory:") as connection:
        name = None if warehouse.hosts_loads else "memory"
        session = DuckSession(connection, in_memory=name, scans=False, streams=False)
        staged = StagedRows(Load(project, warehouse, project.clock()), session, etl)
        for number, step in enumerate(_steps(staged, etl), 1):
            yield f"-- {etl.label}: step {number}, {step.name}\n-- {step.purpose}\n"
            for statement in step.statements(session):
                yield f"{laid_out(statement)};\n"
            yield "\n"


def _steps(staged: StagedRows, etl: ETL) -> Iterator[Step]:
    if isinstance(etl, FactETL):
        yield from fact_steps(staged, etl)
    elif etl.scd_type == "type 2":
        yield from version_steps(staged, etl)
    else:
        key = str(etl.factory.name("key"))
        # Only an open source shows all of its columns. SQL shows most of them without that.
        is_sql = isinstance(etl.source, str)
        gives_keys = is_sql and key in _output_columns(staged.load.project, etl)
        yield from member_steps(staged, etl, gives_keys=gives_keys)


def _output_columns(project: Project, etl: ETL) -> list[str]:
    """Return the columns that a SELECT names; `*` for those that it does not name."""
    parsed = parse_statement(str(etl.source), project.dialect_of_sql(etl))
    return list(parsed.named_selects) if isinstance(parsed, exp.Query) else []
