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
    resolve_steps,
    with_constants,
)
from pypelineetl.load.dimensions.previous_members import PREVIOUS_KEYS, load_previous_keys
from pypelineetl.load.dimensions.source_rows import (
    can_stream_sorted,
    in_order,
    order_step,
    record_seen_keys,
    reject_undecided,
    reject_unfit,
    stage,
    stage_step,
)
from pypelineetl.load.rejects import null_step, reject_steps
from pypelineetl.load.staged_rows import CURRENT, GIVEN, SOURCE_ROWS, StagedRows
from pypelineetl.load.steps import LARGEST_KEY, CreateTable, Insert, Step, Update

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
    for step in resolve_steps(staged, etl, CURRENT):
        step.run(session)
    inserted = 0
    if _find_new(staged, natural_key).count(session):
        if load.previous_keys:
            load_previous_keys(staged)
        staged.set_largest_key(key)
        inserted = _insert_new(staged, etl, gives_keys=gives_keys).number(session)
    updated = filled
    if overwritten:
        updated += _find_changed(staged, key, overwritten).count(session)
        _overwrite(staged, key, overwritten).run(session)
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
    source.view(given_attributes(staged, etl), GIVEN)
    rows = in_order(staged, with_constants(staged, etl, f"SELECT * FROM {GIVEN}"))
    largest_key = staged.largest(str(etl.factory.name("key")))
    return staged.insert(f"""
        SELECT __row + {largest_key}, {staged.quoted(etl.factory.names("attributes"))}
        FROM ({rows})
    """)


def member_steps(staged: StagedRows, etl: DimensionETL, *, gives_keys: bool) -> list[Step]:
    """Return the steps of an update whose rows are all accepted, in their order.

    Args:
        staged: The source rows.
        etl: The dimension.
        gives_keys: Whether the source gives the surrogate keys.

    """
    natural_key = etl.factory.natural_key
    columns = [staged.quote(name) for name in natural_key]
    steps: list[Step] = [stage_step(staged, etl)]
    if etl.most_rejected:
        steps += reject_steps(SOURCE_ROWS)
    steps += [null_step(staged, natural_key, SOURCE_ROWS), order_step(columns, [])]
    steps += resolve_steps(staged, etl, CURRENT)
    steps += [_find_new(staged, natural_key), _insert_new(staged, etl, gives_keys=gives_keys)]
    overwritten = _overwritten_attributes(etl)
    if overwritten:
        key = str(etl.factory.name("key"))
        steps += [_find_changed(staged, key, overwritten), _overwrite(staged, key, overwritten)]
    return steps


def _find_new(staged: StagedRows, natural_key: Sequence[str]) -> CreateTable:
    """Return the step that creates _NEW."""
    return CreateTable(
        "find new members",
        "Choose the source rows whose natural key no member of the dimension has.",
        f"""
        SELECT *
        FROM {SOURCE_ROWS} AS r
        ANTI JOIN {CURRENT} AS e ON {staged.equal(natural_key, "r", "e")}
        """,
        _NEW,
    )


def _insert_new(staged: StagedRows, etl: DimensionETL, *, gives_keys: bool) -> Insert:
    """Return the step that inserts the members of _NEW.

    A member gets the surrogate key that the source gives, or that it had before a rebuild, or the
    next number.

    Args:
        staged: The source rows.
        etl: The dimension.
        gives_keys: Whether the source rows have surrogate keys.

    """
    key = str(etl.factory.name("key"))
    known_keys = [f"r.{staged.quote(key)}"] if gives_keys else []
    rows = f"{_NEW} AS r"
    if staged.load.previous_keys:
        known_keys.append("p.__previous_key")
        same = staged.equal(etl.factory.natural_key, "r", "p")
        rows = f"{rows} LEFT JOIN {PREVIOUS_KEYS} AS p ON {same}"
    known_key = f"coalesce({', '.join([*known_keys, 'NULL'])})" if known_keys else "NULL"
    attributes = staged.quoted(etl.factory.names("attributes"), "r.")
    return staged.insert_step(
        "insert new members",
        "Insert them, and give the next surrogate keys in the order of the source rows.",
        f"""
        SELECT
          coalesce(
            __member,
            -- The next number: how many members up to here have no key. A frame of rows, as one of
            -- equal values of `__row`, the default, takes a hundred times as long.
            {LARGEST_KEY} + sum(CAST(__member IS NULL AS BIGINT))
              OVER (ORDER BY __row ROWS UNBOUNDED PRECEDING)
          ),
          * EXCLUDE (__member, __row)
        FROM (
          SELECT {known_key} AS __member, r.__row, {attributes}
          FROM {rows}
        )
        ORDER BY __row
        """,
    )


def _find_changed(staged: StagedRows, key: str, names: Sequence[str]) -> CreateTable:
    """Return the step that creates _CHANGED."""
    return CreateTable(
        "find changed members",
        "Compare the source rows with the members of the same natural keys.",
        f"""
        SELECT e.{staged.quote(key)}, {staged.quoted(names, "r.")}
        FROM {SOURCE_ROWS} AS r
        JOIN {CURRENT} AS e ON {staged.equal(staged.etl.factory.natural_key, "r", "e")}
        WHERE {staged.changed(names, "r", "e")}
        """,
        _CHANGED,
    )


def _overwrite(staged: StagedRows, key: str, names: Sequence[str]) -> Update:
    """Return the step that overwrites the attributes of the members of _CHANGED."""
    return staged.update_step(
        "update changed members",
        "Overwrite their attributes, which begins no version.",
        [key],
        names,
        f"SELECT * FROM {_CHANGED}",
    )
