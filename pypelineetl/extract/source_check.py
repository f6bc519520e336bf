"""Checks of sources before a run.

Each is opened read-only, its query is tried, and its columns are compared.
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
    """Try an ETL's source.

    The result tells every fault, and as warnings the columns that nothing uses.
    """
    try:
        columns = first_columns(project, etl)
        check_columns(etl, columns)
    except Exception as error:  # noqa: BLE001 - a Python source may raise anything, which is then its fault to tell
        raise_if_requested()
        return SourceTested(etl, (error_text(error),))
    spare = superfluous_columns(etl, columns)
    warnings = [f"its source gives {quoted(spare)}, which nothing uses"] if spare else []
    warnings += [*version_notes(project, etl), *_folded_texts(project, etl)]
    return SourceTested(etl, (), (*warnings, *_of_the_account(project, etl)))


def test_sources(project: Project, etls: Iterable[ETL]) -> Iterator[SourceTested]:
    """Try the sources of ETLs, one after the other.

    A database that cannot be reached is asked and told of once.
    """
    tester = _Tester(project)
    yield from map(tester.test, etls)


class _Tester:
    """Tries sources, and knows which of their databases cannot be reached."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._away: dict[URL, ETL] = {}

    def test(self, etl: ETL) -> SourceTested:
        """Try the source of an ETL, unless its database was away before."""
        url = self._project.source_url(etl) if isinstance(etl.source, str) else None
        if url in self._away:
            first = self._away[url]
            return SourceTested(
                etl, (f"its source is that of {first.label}, which cannot be reached",)
            )
        tested = check_source(self._project, etl)
        if url and tested.faults and not _is_reachable(self._project, etl):
            self._away[url] = etl
        return tested


def _is_reachable(project: Project, etl: ETL) -> bool:
    try:
        project.open_source(etl).close()
    except DatabaseError:
        return False
    return True


def version_notes(project: Project, etl: ETL) -> list[str]:
    """Return what to tell of a fact's keys that point to whichever version is current when they are
    loaded.
    """
    if not isinstance(etl, FactETL):
        return []
    keys = [
        column
        for column, key in etl.keys.items()
        if isinstance(key, Member)
        and key.as_of is None
        and project.dimension(key).scd_type == "type 2"
    ]
    if not keys:
        return []
    note = (
        f"its key {quoted(keys)} has no as_of and points to a dimension with versions, so each load"
        " that reads a row again (--full, a rebuild, an overlap) points it to the version that is"
        ' current then; give the key as_of="<the column with the moment of the fact>" to keep the'
        " version of that moment"
    )
    return [note]


def _folded_texts(project: Project, etl: ETL) -> Iterator[str]:
    """Yield what to tell of a translated query that compares texts."""
    if not isinstance(etl.source, str):
        return
    folded = project.source_translation(etl).folded
    if folded:
        yield (
            f"its SQL compares texts ({quoted(folded)}), which {project.source_dialect(etl)} does"
            " by its own collation; MySQL mostly takes 'A' for 'a', 'é' for 'e' and 'a ' for 'a'."
            " Write LOWER(…) on both sides where that matters"
        )


def _of_the_account(project: Project, etl: ETL) -> Iterator[str]:
    """Yield what is wrong with the account of a source, told once.

    With the first ETL that reads it.
    """
    if not isinstance(etl.source, str) or etl is not _first_reader(project, etl):
        return
    with project.open_source(etl) as source:
        if excess_privileges := source.excess_privileges():
            yield (
                f"the account of {source.name} may do more than read:"
                f" {', '.join(excess_privileges)}. Use one that can only SELECT; docs/security.md"
                " has the grants"
            )


def _first_reader(project: Project, etl: ETL) -> ETL:
    url = project.source_url(etl)
    readers = (each for each in project.etls if each.active and isinstance(each.source, str))
    return next((each for each in readers if project.source_url(each) == url), etl)
