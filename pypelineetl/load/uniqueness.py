"""Check that surrogate keys and members of a dimension are unique after a load.

The check queries the warehouse itself. It leaves out what a primary or unique key of the table
guarantees already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.rows import Row
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load, dated
from pypelineetl.load.staged_rows import not_special
from pypelineetl.sql.sql_casts import duckdb_type

_SHOWN = 5  # keys that a message shows
_SEVERAL_ROWS = "COUNT(*) > 1"


def largest_before(load: Load, dimension: DimensionETL) -> int | None:
    """Return a number below every surrogate key that a load will give.

    0 if the table has no members. None if there is no such number: the keys are not whole numbers,
    or the user's own class gives them.
    """
    warehouse = load.warehouse
    key = warehouse.quote(str(dimension.factory.name("key")))
    [(found,)] = warehouse.query(f"SELECT MAX({key}) FROM {warehouse.quote(dimension.table)}")
    if "idfinder" in dimension.factory.arguments:
        return None
    if found is None:
        return 0
    return max(found, 0) if isinstance(found, int) else None


def check_unique(
    load: Load,
    dimension: DimensionETL,
    before: int | None,
    *,
    added: int | None = None,
    is_proved: bool = False,
) -> None:
    """Check that no two rows have the same surrogate key, and no two rows are the same member.

    A type-2 member has many rows: each needs its own version number, and at most one is current.

    Args:
        load: The load, before its commit.
        dimension: The dimension.
        before: What `largest_before` returned before the load.
        added: How many rows the load has added; None if it is not known.
        is_proved: Whether the load itself guarantees that no member occurs twice.

    Raises:
        LoadError: A surrogate key or a member occurs twice. The message names some of them.

    """
    if before and added is not None and not _is_all_above(load, dimension, before, added):
        # The source itself may give keys, even below the largest one. Then all rows are checked.
        before = None
    _Uniqueness(load, dimension, before).check(is_proved=is_proved)


def _is_all_above(load: Load, dimension: DimensionETL, before: int, added: int) -> bool:
    """Return whether all rows that the load has added have larger surrogate keys."""
    warehouse = load.warehouse
    key = warehouse.quote(str(dimension.factory.name("key")))
    [(found,)] = warehouse.query(
        f"SELECT COUNT(*) FROM {warehouse.quote(dimension.table)} WHERE {key} > {before}"
    )
    return bool(found == added)


@dataclass(frozen=True)
class _Uniqueness:
    """The check of one dimension."""

    load: Load
    dimension: DimensionETL
    before: int | None
    """Only members that have a row with a larger surrogate key are checked; all without it."""

    def check(self, *, is_proved: bool) -> None:
        key, natural_key = str(self.dimension.factory.name("key")), self._natural_key
        # A unique key of only some of the columns guarantees that all of them are unique.
        guarantees = self.load.warehouse.catalog.unique_keys(self.dimension.table)
        if not any(columns <= {key} for columns in guarantees):
            self._check_surrogate_keys(key)
        if any(columns <= set(natural_key) for columns in guarantees):
            return
        # DuckDB has compared exact texts. The warehouse's collation may still find two of them
        # equal.
        if is_proved and not self._ignores_case():
            return
        self._check_members()

    @property
    def _natural_key(self) -> tuple[str, ...]:
        return self.dimension.factory.natural_key

    def _check_surrogate_keys(self, key: str) -> None:
        conditions = []
        if self.before:
            conditions.append(f"{self.load.warehouse.quote(key)} > {self.before}")
        found = self._repeated([key], conditions, _SEVERAL_ROWS, [])
        if found:
            message = (
                f'the surrogate keys {_shown(found)} of dimension "{self.dimension.name}" belong to'
                f' several rows of "{self.dimension.table}" each: a surrogate key must be unique.'
                f" Nothing was loaded. {self._remedy(key)}"
            )
            raise LoadError(message)

    def _check_members(self) -> None:
        is_versioned = bool(self.dimension.factory.versioning)
        having, arguments = _SEVERAL_ROWS, list[Any]()
        if is_versioned:
            having, arguments = self._wrong_versions()
        # Versions without a number and an end have nothing that can be checked.
        if not having:
            return
        special = not_special(self.load, self.dimension)
        conditions = [special] if special else []
        if self.before:
            conditions, having = self._of_new_members(conditions, having)
        found = self._repeated(self._natural_key, conditions, having, arguments)
        if not found:
            return
        what, rule = "rows", "a natural key must belong to one row"
        if is_versioned:
            what = "versions of one number, or current versions,"
            rule = "each version needs a number of its own, and one at most may be current"
        message = (
            f'the members {_shown(found)} of dimension "{self.dimension.name}" have several {what}'
            f' in "{self.dimension.table}": {rule}. Nothing was loaded.'
            f" {self._remedy(*self._natural_key)}"
        )
        if self._ignores_case():
            message += (
                ". If there are natural keys which only differ in what the warehouse's collation"
                " ignores, such as case, make them the same in the source SQL, or declare the"
                " column with COLLATE utf8mb4_bin"
            )
        raise LoadError(message)

    def _wrong_versions(self) -> tuple[str, list[Any]]:
        """Return the HAVING that finds members with wrong versions, and its arguments.

        For example `COUNT("version") > COUNT(DISTINCT "version") OR
        SUM(CASE WHEN "valid_to" IS NULL THEN 1 ELSE 0 END) > 1`.
        """
        factory, warehouse = self.dimension.factory, self.load.warehouse
        conditions: list[str] = []
        arguments: list[Any] = []
        number = factory.name("versionatt")
        if number:
            number = warehouse.quote(number)
            conditions.append(f"COUNT({number}) > COUNT(DISTINCT {number})")
        until = factory.name("toatt")
        if until:
            column = self.load.project.columns(self.dimension)[until]
            last = dated(column, factory.arguments.get("maxto"))
            current = f"{warehouse.quote(until)} IS NULL"
            if last is not None:
                current = f"{warehouse.quote(until)} = {warehouse.placeholder}"
                arguments += adapted(warehouse.parameter_adapters, [until], (last,))
            conditions.append(f"SUM(CASE WHEN {current} THEN 1 ELSE 0 END) > 1")
        return " OR ".join(conditions), arguments

    def _of_new_members(self, conditions: list[str], having: str) -> tuple[list[str], str]:
        """Return the conditions and the HAVING that restrict the check to members with new rows."""
        warehouse, columns = self.load.warehouse, self.load.project.columns(self.dimension)
        key = warehouse.quote(str(self.dimension.factory.name("key")))
        natural_key = warehouse.quoted(self._natural_key)
        # NULL is IN no subquery. A junk dimension may have NULL in its natural key; a member with
        # versions has none.
        has_no_null = bool(self.dimension.factory.versioning) or all(
            columns[name].required for name in self._natural_key
        )
        # MySQL reads no temporary table twice in one query, and a plan loads into one.
        if warehouse.rehearses or not has_no_null:
            return conditions, f"MAX({key}) > {self.before} AND ({having})"
        table = warehouse.quote(self.dimension.table)
        new = f"SELECT {natural_key} FROM {table} WHERE {key} > {self.before}"
        return [*conditions, f"({natural_key}) IN ({new})"], having

    def _repeated(
        self, names: Sequence[str], conditions: Sequence[str], having: str, arguments: Sequence[Any]
    ) -> list[Row]:
        """Return some values of these columns whose rows fulfil the HAVING."""
        warehouse, table = self.load.warehouse, self.dimension.table
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        is_plain = having == _SEVERAL_ROWS and not arguments
        # Some warehouses can exclude repeated values faster than by grouping all rows.
        if is_plain and not warehouse.catalog.may_repeat(table, names, where):
            return []
        by = warehouse.quoted(names)
        return warehouse.query(
            f"""
            SELECT {by}
            FROM {warehouse.quote(table)}
            {where}
            GROUP BY {by}
            HAVING {having}
            ORDER BY {by}
            LIMIT {_SHOWN}
            """,
            arguments,
        )

    def _ignores_case(self) -> bool:
        """Return whether the collation may find two different natural keys equal."""
        if not self.load.warehouse.texts.is_case_insensitive:
            return False
        columns = self.load.project.columns(self.dimension)
        return any(duckdb_type(columns[name]) == "VARCHAR" for name in self._natural_key)

    def _remedy(self, *names: str) -> str:
        is_surrogate_key = names == (self.dimension.factory.name("key"),)
        protect = ""
        # A type-2 member has several rows, so its natural key cannot be UNIQUE.
        if is_surrogate_key or not self.dimension.factory.versioning:
            constraint = "PRIMARY KEY" if is_surrogate_key else "UNIQUE"
            declared = self.load.warehouse.quoted(names)
            protect = f", and declare {constraint} ({declared}) in its DDL to keep others from it"
        return (
            "Remove what the source gives twice or somebody else wrote; or delete all tables"
            " (run.py --delete_existing_tables, and nothing else) and load all of them"
            f" again{protect}"
        )


def _shown(found: Sequence[Row]) -> str:
    return ", ".join(" + ".join(map(str, key)) for key in found)
