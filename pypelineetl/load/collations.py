"""Refuse natural keys that differ, but that the warehouse's collation compares as equal.

Examples are abc and ABC, or a text with a space at its end. The engine compares texts exactly. A
warehouse compares them by the collation of the column. A load refuses a dimension with two such
members, because pygrametl's lookups and the joins of reports would confuse them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from pygrametl.tables import CachedDimension, SlowlyChangingDimension

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.rows import Row, Stream
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load
from pypelineetl.load.facts.member_table import NaturalKey
from pypelineetl.load.staged_rows import not_special

_SHOWN = 5  # members that a message shows
_KEYS_PER_QUERY = 200  # natural keys that one query looks up


def check_texts(load: Load, dimension: DimensionETL, before: int = 0) -> None:
    """Check that no two natural keys of a dimension are equal by the warehouse's collation.

    Args:
        load: The load, before its commit.
        dimension: The dimension.
        before: Only members that have a row with a larger surrogate key are checked.

    Raises:
        LoadError: Two natural keys are equal by the collation.

    """
    warehouse, columns = load.warehouse, load.project.columns(dimension)
    differs = []
    for name in dimension.factory.natural_key:
        if warehouse.texts.folds(columns[name]):
            exact = warehouse.texts.binary(warehouse.quote(name))
            differs.append(f"MIN({exact}) <> MAX({exact})")
    # Without a column that the collation can confuse, the warehouse compares exactly too.
    if not differs:
        return
    key = warehouse.quote(str(dimension.factory.name("key")))
    natural_key = warehouse.quoted(dimension.factory.natural_key)
    special = not_special(load, dimension)
    # GROUP BY compares by the collation, MIN and MAX compare exactly.
    found = warehouse.query(
        f"""
        SELECT {natural_key}
        FROM {warehouse.quote(dimension.table)}
        {f"WHERE {special}" if special else ""}
        GROUP BY {natural_key}
        HAVING MAX({key}) > {before} AND ({" OR ".join(differs)})
        LIMIT {_SHOWN}
        """
    )
    if found:
        raise LoadError(_message(dimension, found))


class SourceKeys:
    """The natural keys of a dimension's rows that are loaded row by row.

    pygrametl may query the warehouse for a member, and find another one by the collation. These
    keys show that: each must be a member after the load. A plain Dimension always queries the
    warehouse. That is what its user has chosen, so it is not checked.
    """

    def __init__(self, load: Load, dimension: DimensionETL) -> None:
        self._load = load
        self._dimension = dimension
        columns = load.project.columns(dimension)
        self._columns = [columns[name] for name in dimension.factory.natural_key]
        is_exact = issubclass(
            dimension.factory.table_class, CachedDimension | SlowlyChangingDimension
        )
        self._is_needed = is_exact and any(map(load.warehouse.texts.folds, self._columns))
        self._natural_keys: set[NaturalKey] = set()

    def recorded(self, rows: Stream) -> Stream:
        """Return the same rows. Their natural keys are recorded as they are read."""
        if not (self._is_needed and rows.columns):
            return rows
        places = [rows.columns.index(column.name) for column in self._columns]
        return Stream(rows.columns, self._recorded(rows.batches, places))

    def check(self) -> None:
        """Raise LoadError if the collation has matched a row's natural key to another member."""
        if not self._natural_keys:
            return
        warehouse, names = self._load.warehouse, self._dimension.factory.natural_key
        members = warehouse.query(
            f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(self._dimension.table)}"
        )
        for member in members:
            self._natural_keys.discard(self._cast(member))
        # The keys that are left have no member of exactly the same text.
        _refuse_equal(self._load, self._dimension, sorted(self._natural_keys, key=repr))

    def _recorded(self, batches: Iterator[list[Row]], places: Sequence[int]) -> Iterator[list[Row]]:
        for batch in batches:
            for row in batch:
                natural_key = [row[place] for place in places]
                # The load itself handles a row with a NULL or with a value that cannot be cast.
                with suppress(LoadError):
                    if None not in natural_key:
                        self._natural_keys.add(self._cast(natural_key))
            yield batch

    def _cast(self, values: Sequence[Any]) -> NaturalKey:
        cast = []
        for column, value in zip(self._columns, values, strict=True):
            cast.append(column.cast(value))
        return tuple(cast)


def infer_exactly(
    load: Load,
    dimension: DimensionETL,
    natural_keys: Sequence[NaturalKey],
    infer: Callable[[NaturalKey], Any],
) -> list[Any]:
    """Create members with these natural keys, and check that each becomes its own member.

    Args:
        load: The load of the fact that names them.
        dimension: The dimension.
        natural_keys: Natural keys that no member has.
        infer: Creates one member, and returns its surrogate key.

    Returns:
        The surrogate keys of the new members.

    Raises:
        LoadError: A natural key is equal to another member's by the collation.

    """
    columns = load.project.columns(dimension)
    if not any(load.warehouse.texts.folds(columns[name]) for name in dimension.factory.natural_key):
        return [infer(natural_key) for natural_key in natural_keys]
    # pygrametl would find the equal member, and return its surrogate key.
    _refuse_equal(load, dimension, natural_keys)
    created: dict[Any, NaturalKey] = {}
    for natural_key in natural_keys:
        surrogate_key = infer(natural_key)
        if surrogate_key in created:
            raise LoadError(_message(dimension, [created[surrogate_key], natural_key]))
        created[surrogate_key] = natural_key
    # Of two new members, the second may be equal to the first.
    check_texts(load, dimension)
    return list(created)


def _refuse_equal(load: Load, dimension: DimensionETL, natural_keys: Sequence[NaturalKey]) -> None:
    """Raise LoadError if one of these natural keys is equal to a member's by the collation.

    No member has exactly these natural keys.
    """
    for first in range(0, len(natural_keys), _KEYS_PER_QUERY):
        some = natural_keys[first : first + _KEYS_PER_QUERY]
        if found := _equal_members(load, dimension, some):
            raise LoadError(_message(dimension, found))


def _equal_members(
    load: Load, dimension: DimensionETL, natural_keys: Sequence[NaturalKey]
) -> list[tuple[Any, ...]]:
    """Return the natural keys of members that are equal to one of these by the collation."""
    warehouse, names = load.warehouse, dimension.factory.natural_key
    matches: list[str] = []
    values: list[Any] = []
    for natural_key in natural_keys:
        equal = []
        for name, value in zip(names, natural_key, strict=True):
            if value is None:
                equal.append(f"{warehouse.quote(name)} IS NULL")
            else:
                equal.append(f"{warehouse.quote(name)} = {warehouse.placeholder}")
                values.append(value)
        matches.append(f"({' AND '.join(equal)})")
    special = not_special(load, dimension)
    found = warehouse.query(
        f"""
        SELECT {warehouse.quoted(names)}
        FROM {warehouse.quote(dimension.table)}
        WHERE ({" OR ".join(matches)})
        {f"AND {special}" if special else ""}
        LIMIT {_SHOWN}
        """,
        adapted(warehouse.parameter_adapters, [""] * len(values), tuple(values)),
    )
    return [tuple(natural_key) for natural_key in found]


def _message(dimension: DimensionETL, natural_keys: Sequence[Sequence[Any]]) -> str:
    some = ", ".join(" + ".join(map(str, natural_key)) for natural_key in natural_keys)
    return (
        f'the dimension "{dimension.name}" would have several members {some}, which only differ in'
        " what the warehouse's collation ignores, such as case or blanks at the end. A natural"
        " key must be another text to the warehouse too. Make them the same in the source SQL, or"
        " declare the column with a collation that ignores nothing: COLLATE utf8mb4_nopad_bin on"
        " MariaDB, utf8mb4_0900_bin on MySQL"
    )
