"""How single attributes of a dimension change, before its class decides what becomes of a row.

Type 0 keeps its first value, type 3 keeps the value before the last change beside it, and type 6 has the latest value
in every version: each becomes a row that the class, which knows type 1 and type 2, loads rightly. A member that a fact
has inferred is filled in place when its row arrives.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pypelineetl.columns import Column
from pypelineetl.declare import DimensionETL
from pypelineetl.events import Outcome
from pypelineetl.load.loading import Load
from pypelineetl.load.tablesets import EXISTING, ROWS, TableSets
from pypelineetl.load.target import Target
from pypelineetl.typed import Want, want_column

_FILLING = "pypelineetl_filling"

Row = dict[str, Any]


def compared_attributes(etl: DimensionETL) -> tuple[str, ...]:
    """Return the columns of a member that decide what becomes of single attributes of its next row."""
    inferred = (etl.inferred,) if etl.inferred else ()
    return tuple(dict.fromkeys((*etl.original, *etl.previous, *etl.previous.values(), *inferred)))


def given_attributes(sets: TableSets, etl: DimensionETL) -> list[Want]:
    """Return what is wanted of the source for a member's attributes, but for those that tell its versions apart."""
    names = [name for name in etl.factory.names("attributes") if name not in etl.filled]
    current = [want_column(sets.at(name), base, sets.columns[name]) for name, base in etl.current.items()]
    return [*map(sets.want, names), *current]


def with_constants(sets: TableSets, etl: DimensionETL, rows: str) -> str:
    """Return a source's rows with the columns that only the load knows, as a new member has them."""
    given = dict.fromkeys(etl.previous, "NULL") | dict.fromkeys(etl.flags, "0")
    constants = "".join(
        f", CAST({value} AS {sets.want(name).held}) AS {sets.at(name)}" for name, value in given.items()
    )
    return f"SELECT *{constants} FROM ({rows})"


def settle_attributes(sets: TableSets, etl: DimensionETL, latest: str) -> None:
    """Give the rows the type 0 and type 3 attributes that follow from their members as the table has them."""
    if not (etl.original or etl.previous):
        return
    key = sets.at(str(etl.factory.name("key")))
    replaced = {
        (at := sets.at(name)): f"CASE WHEN e.{key} IS NULL THEN r.{at} ELSE e.{at} END" for name in etl.original
    }
    for kept, base in etl.previous.items():
        at, name = sets.at(kept), sets.at(base)
        replaced[at] = f"""
            CASE WHEN e.{key} IS NULL THEN r.{at}
                 WHEN r.{name} IS DISTINCT FROM e.{name} THEN e.{name} ELSE e.{at} END
        """
    settled = ", ".join(f"{expression} AS {at}" for at, expression in replaced.items())
    sets.bench.keep(
        ROWS,
        f"""
        SELECT r.* REPLACE ({settled})
        FROM {ROWS} AS r LEFT JOIN {latest} AS e ON {sets.same(etl.factory.natural_key, "r", "e")}
        """,
    )


def fill_inferred(sets: TableSets, etl: DimensionETL) -> int:
    """Fill the inferred members whose rows have arrived, in place; return how many they are."""
    if not etl.inferred:
        return 0
    key, by = str(etl.factory.name("key")), etl.factory.natural_key
    names = [name for name in etl.factory.names("attributes") if name not in {*by, *etl.factory.versioning}]
    sets.bench.keep(
        _FILLING,
        f"""
        SELECT e.{sets.at(key)}, {sets.names(names, "r.")}
        FROM {ROWS} AS r JOIN {EXISTING} AS e ON {sets.same(by, "r", "e")}
        WHERE CAST(e.{sets.at(etl.inferred)} AS BOOLEAN)
        """,
    )
    filled = sets.bench.number(f"SELECT count(*) FROM {_FILLING}")
    if filled:
        sets.update([key], names, f"SELECT * FROM {_FILLING}")
        brought = set(sets.bench.types(f"FROM {EXISTING}"))
        settings = ", ".join(f"{at} = f.{at}" for name in names if (at := sets.at(name)) in brought)
        sets.bench.run(
            f"UPDATE {EXISTING} AS e SET {settings} FROM {_FILLING} AS f WHERE e.{sets.at(key)} = f.{sets.at(key)}"
        )
    return filled


class RowAttributes:
    """The same for one row after the other: what is known of each member, and what its next row becomes."""

    def __init__(self, load: Load, etl: DimensionETL, columns: Mapping[str, Column], target: Target) -> None:
        self._etl = etl
        self._target = target
        self._flags = {name: columns[name].convert(0) for name in etl.flags}
        self._names = (str(etl.factory.name("key")), *etl.factory.natural_key, *compared_attributes(etl))
        self._known: dict[tuple[Any, ...], Row] = {}
        apart = {*etl.factory.natural_key, *etl.factory.versioning}
        self._filled = [name for name in etl.factory.names("attributes") if name not in apart]
        quote = load.warehouse.quote
        settings = ", ".join(f"{quote(name)} = %({name})s" for name in self._filled)
        self._update = f"UPDATE {quote(etl.table)} SET {settings} WHERE {quote(self._names[0])} = %({self._names[0]})s"
        if compared_attributes(etl):
            self._read(load)

    def completed(self, row: Row) -> Row:
        """Return a row with the attributes that the source does not give, as a new member has them."""
        current = {name: row[base] for name, base in self._etl.current.items()}
        return row | self._flags | current | dict.fromkeys(self._etl.previous)

    def put(self, row: Row, put: Callable[[Row], Outcome]) -> Outcome:
        """Put a completed row with its attributes as they are declared to change."""
        etl = self._etl
        natural_key = tuple(row[name] for name in etl.factory.natural_key)
        known = self._known.get(natural_key)
        if known and etl.inferred and known[etl.inferred]:
            self._target.execute(self._update, row | {self._names[0]: known[self._names[0]]})
            self._known[natural_key] = known | {name: row[name] for name in compared_attributes(etl)}
            return "updated"
        if known:
            row |= {name: known[name] for name in etl.original}
            row |= {
                kept: known[kept] if row[name] == known[name] else known[name] for kept, name in etl.previous.items()
            }
        if etl.original or etl.previous:
            self._known[natural_key] = {name: row.get(name) for name in self._names}
        return put(row)

    def _read(self, load: Load) -> None:
        factory = self._etl.factory
        order = factory.name("versionatt") or factory.name("fromatt") or self._names[0]
        # With what orders them: MySQL gives all digits of a FLOAT only in an order by columns that are read.
        names = dict.fromkeys((*self._names, order))
        quoted = load.warehouse.quoted(names)
        self._target.execute(
            f"SELECT {quoted} FROM {load.warehouse.quote(self._etl.table)} ORDER BY {load.warehouse.quote(order)}"
        )
        for values in self._target.fetchalltuples():
            member = dict(zip(names, values, strict=True))
            self._known[tuple(member[name] for name in factory.natural_key)] = member
