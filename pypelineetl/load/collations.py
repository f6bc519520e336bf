"""Natural keys that the engine tells apart and the warehouse takes for one: abc and ABC, or a blank
at the end.

The engine compares texts to the letter. A warehouse compares them by the collation of the column. A
dimension that has two such members is refused: pygrametl's own look-ups, and the joins of those who
read the warehouse, would mix them up.
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

_SHOWN = 5  # members told of when something is wrong with them
_ASKED_FOR = 200  # natural keys looked for with one query


def check_texts(load: Load, dimension: DimensionETL, before: int = 0) -> None:
    """Raise LoadError if the warehouse takes the natural keys of two members of a dimension for
    one.

    Of all members those are looked at that have a row with a surrogate key above `before`.
    """
    warehouse, columns = load.warehouse, load.project.columns(dimension)
    folded = [name for name in dimension.factory.natural_key if warehouse.folds(columns[name])]
    if not folded:
        return
    key, table = (
        warehouse.quote(str(dimension.factory.name("key"))),
        warehouse.quote(dimension.table),
    )
    by = warehouse.quoted(dimension.factory.natural_key)
    exact = [warehouse.binary_compare(warehouse.quote(name)) for name in folded]
    apart = " OR ".join(f"MIN({text}) <> MAX({text})" for text in exact)
    where = f"WHERE {special}" if (special := not_special(load, dimension)) else ""
    found = warehouse.query(f"""
        SELECT {by}
        FROM {table} {where}
        GROUP BY {by}
        HAVING MAX({key}) > {before} AND ({apart})
        LIMIT {_SHOWN}
        """)
    if found:
        raise LoadError(_message(dimension, found))


class Given:
    """The natural keys of a dimension's rows that go row by row, where pygrametl may ask the
    warehouse for members.

    A plain Dimension always asks it, and declares so that the collation decides.
    """

    def __init__(self, load: Load, dimension: DimensionETL) -> None:
        self._load = load
        self._dimension = dimension
        columns = load.project.columns(dimension)
        self._columns = [columns[name] for name in dimension.factory.natural_key]
        is_exact = issubclass(
            dimension.factory.table_class, CachedDimension | SlowlyChangingDimension
        )
        self._is_needed = is_exact and any(map(load.warehouse.folds, self._columns))
        self._natural_keys: set[NaturalKey] = set()

    def noted(self, rows: Stream) -> Stream:
        """Return the same rows, whose natural keys are noted as they are read."""
        if not (self._is_needed and rows.columns):
            return rows
        places = [rows.columns.index(column.name) for column in self._columns]
        return Stream(rows.columns, self._noted(rows.batches, places))

    def check(self) -> None:
        """Raise LoadError if a row was taken for another member's."""
        if not self._natural_keys:
            return
        warehouse, names = self._load.warehouse, self._dimension.factory.natural_key
        members = warehouse.query(
            f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(self._dimension.table)}"
        )
        self._natural_keys.difference_update(self._converted(member) for member in members)
        _refuse_taken(self._load, self._dimension, sorted(self._natural_keys, key=repr))

    def _noted(self, batches: Iterator[list[Row]], places: Sequence[int]) -> Iterator[list[Row]]:
        for batch in batches:
            for row in batch:
                natural_key = [row[place] for place in places]
                # A row without one, or with a value that does not fit, is dealt with by the load
                # itself.
                with suppress(LoadError):
                    if None not in natural_key:
                        self._natural_keys.add(self._converted(natural_key))
            yield batch

    def _converted(self, values: Sequence[Any]) -> NaturalKey:
        return tuple(
            column.cast(value) for column, value in zip(self._columns, values, strict=True)
        )


def infer_exactly(
    load: Load,
    dimension: DimensionETL,
    natural_keys: Sequence[NaturalKey],
    infer: Callable[[NaturalKey], Any],
) -> list[Any]:
    """Make members of these natural keys, which no member has, by `infer`; return their surrogate
    keys.

    Raises LoadError if the warehouse takes one of them for a member's, or for another of them.
    """
    columns = load.project.columns(dimension)
    if not any(load.warehouse.folds(columns[name]) for name in dimension.factory.natural_key):
        return [infer(natural_key) for natural_key in natural_keys]
    _refuse_taken(load, dimension, natural_keys)
    made: dict[Any, NaturalKey] = {}
    for natural_key in natural_keys:
        member = infer(natural_key)
        if member in made:
            raise LoadError(_message(dimension, [made[member], natural_key]))
        made[member] = natural_key
    check_texts(load, dimension)
    return list(made)


def _refuse_taken(load: Load, dimension: DimensionETL, natural_keys: Sequence[NaturalKey]) -> None:
    """Raise LoadError if the warehouse takes one of these natural keys, which no member has, for a
    member's.
    """
    for first in range(0, len(natural_keys), _ASKED_FOR):
        if found := _taken_for(load, dimension, natural_keys[first : first + _ASKED_FOR]):
            raise LoadError(_message(dimension, found))


def _taken_for(
    load: Load, dimension: DimensionETL, natural_keys: Sequence[NaturalKey]
) -> list[tuple[Any, ...]]:
    """Return the natural keys of members that the warehouse takes these, which no member has,
    for.
    """
    warehouse, names = load.warehouse, dimension.factory.natural_key
    conditions, values = [], []
    for natural_key in natural_keys:
        given = list(zip(names, natural_key, strict=True))
        parts = [
            f"{warehouse.quote(name)}"
            f" {'IS NULL' if value is None else f'= {warehouse.placeholder}'}"
            for name, value in given
        ]
        conditions.append(f"({' AND '.join(parts)})")
        values += [value for _, value in given if value is not None]
    special = not_special(load, dimension)
    found = warehouse.query(
        f"""
        SELECT {warehouse.quoted(names)}
        FROM {warehouse.quote(dimension.table)}
        WHERE ({" OR ".join(conditions)}) {f"AND {special}" if special else ""}
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
