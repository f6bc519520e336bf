"""How single attributes of a dimension change, before its class decides what becomes of a row.

Type 0 keeps its first value, type 3 keeps the value before the last change beside it, and type 6
has the latest value in every version: each becomes a row that the class, which knows type 1 and
type 2, loads rightly. A member that a fact has inferred is filled in place when its row arrives.
"""

from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import ColumnRequest, request_column
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows

_FILLING = "pypelineetl_filling"

Row = dict[str, Any]


def compared_attributes(etl: DimensionETL) -> tuple[str, ...]:
    """Return the columns of a member that decide what becomes of single attributes of its next
    row.
    """
    inferred = (etl.inferred,) if etl.inferred else ()
    return tuple(dict.fromkeys((*etl.original, *etl.previous, *etl.previous.values(), *inferred)))


def given_attributes(staged: StagedRows, etl: DimensionETL) -> list[ColumnRequest]:
    """Return what is wanted of the source for a member's attributes, but for those that tell its
    versions apart.
    """
    names = [name for name in etl.factory.names("attributes") if name not in etl.filled]
    current = [
        request_column(staged.alias(name), base, staged.columns[name])
        for name, base in etl.current.items()
    ]
    return [*map(staged.request, names), *current]


def with_constants(staged: StagedRows, etl: DimensionETL, rows: str) -> str:
    """Return a source's rows with the columns that only the load knows, as a new member has
    them.
    """
    given = dict.fromkeys(etl.previous, "NULL") | dict.fromkeys(etl.flags, "0")
    constants = "".join(
        f", CAST({value} AS {staged.request(name).duckdb_type}) AS {staged.alias(name)}"
        for name, value in given.items()
    )
    return f"SELECT *{constants} FROM ({rows})"


def resolve_attributes(staged: StagedRows, etl: DimensionETL, latest: str) -> None:
    """Give the rows the type 0 and type 3 attributes that follow from their members as the table
    has them.
    """
    if not (etl.original or etl.previous):
        return
    key = staged.alias(str(etl.factory.name("key")))
    replaced = {
        (at := staged.alias(name)): f"CASE WHEN e.{key} IS NULL THEN r.{at} ELSE e.{at} END"
        for name in etl.original
    }
    for kept, base in etl.previous.items():
        at, name = staged.alias(kept), staged.alias(base)
        replaced[at] = f"""
            CASE WHEN e.{key} IS NULL THEN r.{at}
                 WHEN r.{name} IS DISTINCT FROM e.{name} THEN e.{name} ELSE e.{at} END
        """
    settled = ", ".join(f"{expression} AS {at}" for at, expression in replaced.items())
    staged.session.keep(
        SOURCE_ROWS,
        f"""
        SELECT r.* REPLACE ({settled})
        FROM {SOURCE_ROWS} AS r
        LEFT JOIN {latest} AS e ON {staged.equal(etl.factory.natural_key, "r", "e")}
        """,
    )


def fill_inferred(staged: StagedRows, etl: DimensionETL) -> int:
    """Fill the inferred members whose rows have arrived, in place; return how many they are."""
    if not etl.inferred:
        return 0
    key, by = str(etl.factory.name("key")), etl.factory.natural_key
    names = [
        name
        for name in etl.factory.names("attributes")
        if name not in {*by, *etl.factory.versioning}
    ]
    staged.session.keep(
        _FILLING,
        f"""
        SELECT e.{staged.alias(key)}, {staged.aliases(names, "r.")}
        FROM {SOURCE_ROWS} AS r JOIN {CURRENT} AS e ON {staged.equal(by, "r", "e")}
        WHERE CAST(e.{staged.alias(etl.inferred)} AS BOOLEAN)
        """,
    )
    filled = staged.session.number(f"SELECT count(*) FROM {_FILLING}")
    if filled:
        staged.update([key], names, f"SELECT * FROM {_FILLING}")
        brought = set(staged.session.types(f"FROM {CURRENT}"))
        settings = ", ".join(
            f"{at} = f.{at}" for name in names if (at := staged.alias(name)) in brought
        )
        staged.session.run(
            f"UPDATE {CURRENT} AS e SET {settings} FROM {_FILLING} AS f"
            f" WHERE e.{staged.alias(key)} = f.{staged.alias(key)}"
        )
    return filled
