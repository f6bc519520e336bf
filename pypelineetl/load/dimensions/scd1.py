"""Load a dimension without versions in bulk: insert new members, and overwrite changed ones."""

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
from pypelineetl.load.dimensions.previous_members import PREVIOUS_KEYS, load_previous_keys
from pypelineetl.load.dimensions.source_rows import (
    can_stream_sorted,
    in_order,
    record_seen_keys,
    reject_undecided,
    reject_unfit,
    stage,
)
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows

_CHANGED = "pypelineetl_changed_members"
"""The existing members of which an attribute changes, with their new attributes."""
_NEW = "pypelineetl_new_members"
"""The source rows of members that the table does not have."""


def load_members(
    load: Load, session: DuckSession, etl: DimensionETL, source: Projection
) -> Progress:
    """Load the source's rows into a dimension without versions.

    The result is that of pygrametl's Dimension, CachedDimension and
    TypeOneSlowlyChangingDimension. Only the last one changes existing members.

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
    if can_stream_sorted(staged, source):
        yield 0
        inserted = _insert_first(staged, etl, source)
        return Counts(read=inserted, inserted=inserted)
    key, natural_key = str(etl.factory.name("key")), etl.factory.natural_key
    overwritten = _overwritten_attributes(etl)
    # Rows and rejects. The source may give surrogate keys itself, such as those of a date.
    requested = given_attributes(staged, etl)
    gives_keys = key in source.columns
    if gives_keys:
        requested = [staged.request(key), *requested]
    compared = dict.fromkeys([key, *natural_key, *overwritten, *compared_attributes(etl)])
    # The warehouse is read while the source is.
    with staged.read_concurrently(lambda staged: staged.load_current(list(compared))):
        read = stage(staged, etl, source, requested)
    yield read
    # Before rejects: a member whose row is rejected is in the source, and must not be deleted.
    record_seen_keys(staged, natural_key)
    # Nothing orders the rows of a member here, so they must all be equal.
    rejected = reject_unfit(staged, natural_key)
    by = [staged.quote(name) for name in natural_key]
    rejected += reject_undecided(staged, by, [], natural_key)
    if load.waiting:
        load.waiting.accept(staged, SOURCE_ROWS)
    # Writing. Inferred members come first: then the comparison does not find them changed.
    filled = fill_inferred(staged, etl)
    resolve_attributes(staged, etl, CURRENT)
    inserted = _insert_new(staged, etl, gives_keys=gives_keys)
    updated = filled + (_overwrite_changed(staged, key, overwritten) if overwritten else 0)
    return Counts(read, inserted, updated, read - inserted - updated - rejected, rejected)


def _overwritten_attributes(etl: DimensionETL) -> tuple[str, ...]:
    """Return the attributes that a load overwrites in existing members."""
    if etl.scd_type != "type 1":
        return ()
    names = etl.factory.names("type1atts")
    if names:
        names = (*names, *etl.previous, *etl.current)
    else:
        # Without `type1atts`, pygrametl overwrites all attributes but the natural key.
        natural_key, attributes = etl.factory.natural_key, etl.factory.names("attributes")
        names = tuple(name for name in attributes if name not in natural_key)
    return tuple(dict.fromkeys(name for name in names if name not in etl.flags))


def _insert_first(staged: StagedRows, etl: DimensionETL, source: Projection) -> int:
    """Insert all members of an empty table in the order of the source's rows."""
    given = source.select(given_attributes(staged, etl), f"{SOURCE_ROWS}_given")
    rows = in_order(staged, with_constants(staged, etl, given))
    largest_key = staged.largest(str(etl.factory.name("key")))
    return staged.insert(f"""
        SELECT __row + {largest_key}, {staged.quoted(etl.factory.names("attributes"))}
        FROM ({rows})
    """)


def _insert_new(staged: StagedRows, etl: DimensionETL, *, gives_keys: bool) -> int:
    """Create _NEW, insert its members, and return their number.

    A member gets the surrogate key that the source gives, or that it had before a rebuild, or the
    next number.

    Args:
        staged: The source rows.
        etl: The dimension.
        gives_keys: Whether the source rows have surrogate keys.

    """
    natural_key = etl.factory.natural_key
    staged.session.keep(
        _NEW,
        f"""
        SELECT *
        FROM {SOURCE_ROWS} AS r
        ANTI JOIN {CURRENT} AS e ON {staged.equal(natural_key, "r", "e")}
        """,
    )
    if not staged.session.number(f"SELECT count(*) FROM {_NEW}"):
        return 0
    key = str(etl.factory.name("key"))
    known_keys = [f"r.{staged.quote(key)}"] if gives_keys else []
    rows = f"{_NEW} AS r"
    if staged.load.previous_keys:
        load_previous_keys(staged)
        known_keys.append("p.__previous_key")
        same = staged.equal(natural_key, "r", "p")
        rows = f"{rows} LEFT JOIN {PREVIOUS_KEYS} AS p ON {same}"
    known_key = f"coalesce({', '.join([*known_keys, 'NULL'])})" if known_keys else "NULL"
    largest_key = staged.largest(key)
    attributes = staged.quoted(etl.factory.names("attributes"), "r.")
    return staged.insert(f"""
        SELECT
          coalesce(
            __member,
            -- The next number: how many members up to here have no key. A frame of rows, as one of
            -- equal values of `__row`, the default, takes a hundred times as long.
            {largest_key} + sum(CAST(__member IS NULL AS BIGINT))
              OVER (ORDER BY __row ROWS UNBOUNDED PRECEDING)
          ),
          * EXCLUDE (__member, __row)
        FROM (
          SELECT {known_key} AS __member, r.__row, {attributes}
          FROM {rows}
        )
        ORDER BY __row
    """)


def _overwrite_changed(staged: StagedRows, key: str, names: Sequence[str]) -> int:
    """Create _CHANGED, overwrite these attributes of its members, and return their number."""
    natural_key = staged.etl.factory.natural_key
    staged.session.keep(
        _CHANGED,
        f"""
        SELECT e.{staged.quote(key)}, {staged.quoted(names, "r.")}
        FROM {SOURCE_ROWS} AS r
        JOIN {CURRENT} AS e ON {staged.equal(natural_key, "r", "e")}
        WHERE {staged.changed(names, "r", "e")}
        """,
    )
    staged.update([key], names, f"SELECT * FROM {_CHANGED}")
    return staged.session.number(f"SELECT count(*) FROM {_CHANGED}")
