"""Dimensions without versions as sets.

New members are added, and type-1 attributes of known ones overwritten.
"""

from collections.abc import Sequence

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.attributes import (
    compared_attributes,
    fill_inferred,
    given_attributes,
    resolve_attributes,
    with_constants,
)
from pypelineetl.load.dimensions.key_preservation import PREVIOUS_KEYS, load_previous_keys
from pypelineetl.load.dimensions.source_rows import (
    can_stream_sorted,
    in_order,
    record_seen_keys,
    reject_undecided,
    reject_unfit,
    stage,
)
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows

_MET = "pypelineetl_met"
_NEW = "pypelineetl_new"


def load_members(
    load: Load, session: DuckSession, etl: DimensionETL, source: Projection
) -> Progress:
    """Ensure that every source row is a member, as Dimension, CachedDimension and
    TypeOneSlowlyChangingDimension do.
    """
    staged = StagedRows(load, session, etl)
    key, natural_key = str(etl.factory.name("key")), etl.factory.natural_key
    changing = _changing(etl)
    requested = given_attributes(staged, etl)
    if can_stream_sorted(staged, source):
        yield 0
        rows = with_constants(staged, etl, source.select(requested, f"{SOURCE_ROWS}_given"))
        attributes = staged.aliases(etl.factory.names("attributes"))
        inserted = staged.insert(
            f"SELECT {_first_key(staged)}, {attributes} FROM ({in_order(staged, rows)})"
        )
        return Counts(read=inserted, inserted=inserted)
    given_key = [staged.request(key)] if key in source.columns else []
    compared = dict.fromkeys([key, *natural_key, *changing, *compared_attributes(etl)])
    with staged.read_concurrently(lambda staged: staged.load_current(list(compared))):
        read = stage(staged, source, [*given_key, *requested])
    yield read
    record_seen_keys(staged, natural_key)
    rejected = reject_unfit(staged, natural_key)
    rejected += reject_undecided(
        staged, [staged.alias(name) for name in natural_key], [], natural_key
    )
    if load.waiting:
        load.waiting.accept(staged, SOURCE_ROWS)
    filled = fill_inferred(staged, etl)
    resolve_attributes(staged, etl, CURRENT)
    same = staged.equal(natural_key, "r", "e")
    staged.session.keep(
        _NEW, f"SELECT * FROM {SOURCE_ROWS} AS r ANTI JOIN {CURRENT} AS e ON {same}"
    )
    inserted = staged.insert(_numbered(staged, key, has_key=bool(given_key)))
    updated = filled + (_update_known(staged, key, changing) if changing else 0)
    return Counts(read, inserted, updated, read - inserted - updated - rejected, rejected)


def _first_key(staged: StagedRows) -> str:
    """Return the surrogate key of a row of a table that had no members before."""
    return f"ord + {staged.largest(str(staged.etl.factory.name('key')))}"


def _changing(etl: DimensionETL) -> tuple[str, ...]:
    if etl.scd_type != "type 1":
        return ()
    others = (
        name for name in etl.factory.names("attributes") if name not in etl.factory.natural_key
    )
    declared = etl.factory.names("type1atts")
    changing = (*declared, *etl.previous, *etl.current) if declared else others
    return tuple(dict.fromkeys(name for name in changing if name not in etl.flags))


def _numbered(staged: StagedRows, key: str, *, has_key: bool) -> str:
    """Return the new members with their surrogate keys.

    As given or remembered, and else the numbers that follow.
    """
    given = [f"r.{staged.alias(key)}"] if has_key else []
    rows = f"{_NEW} AS r"
    if staged.load.previous_keys:
        load_previous_keys(staged)
        given.append("k.remembered")
        rows += (
            f" LEFT JOIN {PREVIOUS_KEYS} AS k ON"
            f" {staged.equal(staged.etl.factory.natural_key, 'r', 'k')}"
        )
    member = f"coalesce({', '.join(given)}, NULL)" if given else "NULL"
    attributes = staged.aliases(staged.etl.factory.names("attributes"), "r.")
    # Over rows, not over equal values of `ord`, which takes a hundred times as long.
    before = "sum(CAST(member IS NULL AS BIGINT)) OVER (ORDER BY ord ROWS UNBOUNDED PRECEDING)"
    number = f"coalesce(member, {staged.largest(key)} + {before})"
    return f"""
        SELECT {number}, * EXCLUDE (member, ord) FROM (SELECT {member} AS member, r.ord,
          {attributes} FROM {rows})
        ORDER BY ord
    """


def _update_known(staged: StagedRows, key: str, changing: Sequence[str]) -> int:
    """Overwrite what has changed, and return how many members that are."""
    same = staged.equal(staged.etl.factory.natural_key, "r", "e")
    staged.session.keep(
        _MET,
        f"""
        SELECT e.{staged.alias(key)}, {staged.aliases(changing, "r.")}
        FROM {SOURCE_ROWS} AS r JOIN {CURRENT} AS e ON {same}
        WHERE {staged.changed(changing, "r", "e")}
        """,
    )
    staged.update([key], changing, f"SELECT * FROM {_MET}")
    return staged.session.number(f"SELECT count(*) FROM {_MET}")
