"""Source tests: read the first row of an ETL's source, and compare its columns with the ETL.

`run.py` does this before a run, and `tests.py` on its own. Nothing is
written.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.declare.keys import Member
from pypelineetl.errors import DatabaseError, error_text, quoted
from pypelineetl.events import SourceTested
from pypelineetl.extract.sources import check_columns, first_columns, superfluous_columns
from pypelineetl.project.project import Project
from pypelineetl.shutdown import raise_if_requested

if TYPE_CHECKING:
    from sqlalchemy import URL


def check_source(project: Project, etl: ETL) -> SourceTested:
    """Try the source of an ETL, and return its problems and warnings.

    There are warnings about columns that nothing uses, keys without
    `as_of`, comparisons that depend on the database, and privileges that
    reading does not need.
    """
    try:
        columns = first_columns(project, etl)
        check_columns(etl, columns)
    except Exception as error:  # noqa: BLE001 - a Python source may raise anything; that is its problem
        # The source may have wrapped a shutdown request in its own
        # exception.
        raise_if_requested()
        return SourceTested(etl, (error_text(error),))
    warnings = []
    unused = superfluous_columns(etl, columns)
    if unused:
        warnings.append(f"the source gives {quoted(unused)}, which nothing uses")
    warnings += version_notes(project, etl)
    warnings += _collation_warnings(project, etl)
    warnings += _privilege_warnings(project, etl)
    return SourceTested(etl, (), tuple(warnings))


def test_sources(project: Project, etls: Iterable[ETL]) -> Iterator[SourceTested]:
    """Try the sources of ETLs, one after the other."""
    tester = SourceTester(project)
    for etl in etls:
        yield tester.test(etl)


class SourceTester:
    """Tries sources. It tries an unreachable database only once, not once for each ETL."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._unreachable: dict[URL, ETL] = {}

    def test(self, etl: ETL) -> SourceTested:
        """Try the source of an ETL, and return its problems and warnings."""
        url = self._project.source_url(etl) if isinstance(etl.source, str) else None
        if url in self._unreachable:
            first = self._unreachable[url]
            problem = f"the source is that of {first.label}, which cannot be reached"
            return SourceTested(etl, (problem,))
        tested = check_source(self._project, etl)
        # A source test may also fail in a database that can be reached.
        # Then other ETLs are tried.
        if url and tested.faults and not self._is_reachable(etl):
            self._unreachable[url] = etl
        return tested

    def _is_reachable(self, etl: ETL) -> bool:
        try:
            self._project.open_source(etl).close()
        except DatabaseError:
            return False
        return True


def version_notes(project: Project, etl: ETL) -> list[str]:
    """Return a note if a fact refers to versions of a dimension without an `as_of`.

    Such a key gets the version that is current when the row is loaded.
    Another version may be current when the row is loaded again.
    """
    if not isinstance(etl, FactETL):
        return []
    columns = []
    for column, key in etl.keys.items():
        has_no_date = isinstance(key, Member) and key.as_of is None
        if has_no_date and project.dimension(key).scd_type == "type 2":
            columns.append(column)
    if not columns:
        return []
    note = (
        f"key {quoted(columns)} has no as_of and refers to a dimension with versions, so each"
        " load that reads a row again (--full, a rebuild, an overlap) gives it the version that is"
        ' current then; give the key as_of="<the column with the date of the fact>" to keep the'
        " version of that date"
    )
    return [note]


def _collation_warnings(project: Project, etl: ETL) -> Iterator[str]:
    """Yield a warning if a query compares texts, which each database does in its own way."""
    if not isinstance(etl.source, str):
        return
    columns = project.source_translation(etl).folded
    if columns:
        yield (
            f"the SQL compares texts ({quoted(columns)}), which {project.source_dialect(etl)} does"
            " by its own collation; in MySQL, 'A' mostly equals 'a', 'é' equals 'e' and 'a ' equals"
            " 'a'. Write LOWER(…) on both sides where that matters"
        )


def _privilege_warnings(project: Project, etl: ETL) -> Iterator[str]:
    """Yield a warning if the account of a source may do more than read.

    Only the first ETL that reads from the source gets the warning, so it is
    shown once.
    """
    # A file or a Python function has no account.
    if not isinstance(etl.source, str) or etl is not _first_reader(project, etl):
        return
    with project.open_source(etl) as source:
        privileges = source.excess_privileges()
        if privileges:
            yield (
                f"the account of {source.name} may do more than read: {', '.join(privileges)}. Use"
                " one that can only SELECT; docs/security.md has the grants"
            )


def _first_reader(project: Project, etl: ETL) -> ETL:
    """Return the first switched-on ETL that reads from the same source database."""
    url = project.source_url(etl)
    for other in project.etls:
        if other.active and isinstance(other.source, str) and project.source_url(other) == url:
            return other
    return etl
