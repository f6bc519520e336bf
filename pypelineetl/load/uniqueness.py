"""What must be unique in a dimension after a load, whatever its DDL declares: surrogate keys, and
members.

The warehouse itself is asked. What a primary or unique key of the table proves is not asked for
again.
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

_SHOWN = 5  # keys told of when something is wrong with them


def largest_before(load: Load, dimension: DimensionETL) -> int | None:
    """Return a number that is below every surrogate key that a load is to give, 0 if the table has
    no members.

    None where that cannot be known: the keys are no whole numbers, or a class of the user's own
    gives them.
    """
    key, table = (
        load.warehouse.quote(str(dimension.factory.name("key"))),
        load.warehouse.quote(dimension.table),
    )
    [(found,)] = load.warehouse.query(f"SELECT MAX({key}) FROM {table}")
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
    """Raise LoadError if two rows of a dimension have one surrogate key, or two rows are one
    member.

    A type-2 member has many rows: each must have its own version number, and one at most is
    current. `before` is what `largest_before` returned before the load, `added` the number of rows
    that the load added, if it is known. `is_proved` tells that the load has proved itself that no
    member comes twice.
    """
    _Uniqueness(load, dimension, _known(load, dimension, before, added)).check(is_proved=is_proved)


def _known(
    load: Load, dimension: DimensionETL, before: int | None, added: int | None
) -> int | None:
    """Return `before` if the rows with larger surrogate keys are all that the load has added, else
    None.
    """
    if not before or added is None:
        return before
    key, table = (
        load.warehouse.quote(str(dimension.factory.name("key"))),
        load.warehouse.quote(dimension.table),
    )
    [(found,)] = load.warehouse.query(f"SELECT COUNT(*) FROM {table} WHERE {key} > {before}")
    return before if found == added else None


@dataclass(frozen=True)
class _Uniqueness:
    """What is looked at in one dimension.

    The members with a surrogate key above `before`, or all without it.
    """

    load: Load
    dimension: DimensionETL
    before: int | None

    def check(self, *, is_proved: bool) -> None:
        factory, warehouse = self.dimension.factory, self.load.warehouse
        key, natural_key = str(factory.name("key")), factory.natural_key
        proofs = warehouse.unique_keys(self.dimension.table)
        if not any(proof <= {key} for proof in proofs):
            self._check_surrogate_keys(key)
        if any(proof <= set(natural_key) for proof in proofs) or (is_proved and not self._folds()):
            return
        self._check_members(natural_key)

    def _check_surrogate_keys(self, key: str) -> None:
        conditions = [f"{self.load.warehouse.quote(key)} > {self.before}"] if self.before else []
        if found := self._repeated([key], conditions, "COUNT(*) > 1", []):
            message = (
                f'the surrogate keys {_shown(found)} of dimension "{self.dimension.name}" belong to'
                f' several rows of "{self.dimension.table}" each: a surrogate key must be unique.'
                f" Nothing was loaded. {self._cure(key)}"
            )
            raise LoadError(message)

    def _check_members(self, natural_key: Sequence[str]) -> None:
        factory = self.dimension.factory
        is_versioned = bool(factory.versioning)
        conditions = [not_special(self.load, self.dimension)]
        having, arguments = self._versions() if is_versioned else ("COUNT(*) > 1", [])
        if not having:
            return
        if self.before:
            conditions, having = self._of_new(natural_key, conditions, having)
        found = self._repeated(
            natural_key, [each for each in conditions if each], having, arguments
        )
        if not found:
            return
        rule = "each version needs a number of its own, and one at most may be current"
        rule = rule if is_versioned else "a natural key must belong to one row"
        what = "versions of one number, or current versions," if is_versioned else "rows"
        message = (
            f'the members {_shown(found)} of dimension "{self.dimension.name}" have several {what}'
            f' in "{self.dimension.table}": {rule}. Nothing was loaded. {self._cure(*natural_key)}'
        )
        if self._folds():
            message += (
                ". If there are natural keys which only differ in what the warehouse's collation"
                " ignores, such as case, make them the same in the source SQL, or declare the"
                " column with COLLATE utf8mb4_bin"
            )
        raise LoadError(message)

    def _versions(self) -> tuple[str, list[Any]]:
        """Return the condition that rows of one member are not one version each, or several of them
        current.
        """
        factory, warehouse = self.dimension.factory, self.load.warehouse
        conditions: list[str] = []
        arguments: list[Any] = []
        if number := factory.name("versionatt"):
            conditions.append(
                f"COUNT({warehouse.quote(number)}) > COUNT(DISTINCT {warehouse.quote(number)})"
            )
        if until := factory.name("toatt"):
            last = dated(
                self.load.project.columns(self.dimension)[until], factory.arguments.get("maxto")
            )
            current = f"{warehouse.quote(until)} IS NULL"
            if last is not None:
                current = f"{warehouse.quote(until)} = {warehouse.placeholder}"
                arguments += adapted(warehouse.parameter_adapters, [until], (last,))
            conditions.append(f"SUM(CASE WHEN {current} THEN 1 ELSE 0 END) > 1")
        return " OR ".join(conditions), arguments

    def _of_new(
        self, natural_key: Sequence[str], conditions: list[str], having: str
    ) -> tuple[list[str], str]:
        """Return the conditions and the HAVING that look at those members alone that have a new
        row.
        """
        warehouse, columns = self.load.warehouse, self.load.project.columns(self.dimension)
        key, by = (
            warehouse.quote(str(self.dimension.factory.name("key"))),
            warehouse.quoted(natural_key),
        )
        # NULL, which a junk dimension may have, is IN nothing; a member with versions has no NULL
        # in its natural key. MySQL reads no temporary table twice in one query, and in a plan a new
        # table is one.
        has_no_null = bool(self.dimension.factory.versioning) or all(
            columns[name].required for name in natural_key
        )
        if warehouse.rehearses or not has_no_null:
            return conditions, f"MAX({key}) > {self.before} AND ({having})"
        new = (
            f"SELECT {by} FROM {warehouse.quote(self.dimension.table)} WHERE {key} > {self.before}"
        )
        return [*conditions, f"({by}) IN ({new})"], having

    def _repeated(
        self, names: Sequence[str], conditions: Sequence[str], having: str, arguments: Sequence[Any]
    ) -> list[Row]:
        warehouse, table = self.load.warehouse, self.dimension.table
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        if (
            not arguments
            and having == "COUNT(*) > 1"
            and not warehouse.may_repeat(table, names, where)
        ):
            return []
        by = warehouse.quoted(names)
        return warehouse.query(
            f"""
            SELECT {by} FROM {warehouse.quote(table)} {where}
            GROUP BY {by} HAVING {having}
            ORDER BY {by} LIMIT {_SHOWN}
            """,
            arguments,
        )

    def _folds(self) -> bool:
        """Whether the warehouse may take two natural keys for one that the engine tells apart."""
        columns = self.load.project.columns(self.dimension)
        texts = (
            name
            for name in self.dimension.factory.natural_key
            if duckdb_type(columns[name]) == "VARCHAR"
        )
        return self.load.warehouse.case_insensitive_text and any(texts)

    def _cure(self, *names: str) -> str:
        declared = self.load.warehouse.quoted(names)
        kind = "PRIMARY KEY" if names == (self.dimension.factory.name("key"),) else "UNIQUE"
        versioned = kind == "UNIQUE" and self.dimension.factory.versioning
        protect = (
            ""
            if versioned
            else f", and declare {kind} ({declared}) in its DDL to keep others from it"
        )
        return (
            "Remove what the source gives twice or somebody else wrote; or delete all tables"
            " (run.py --delete_existing_tables, and nothing else) and load all of them"
            f" again{protect}"
        )


def _shown(found: Sequence[Row]) -> str:
    return ", ".join(" + ".join(map(str, key)) for key in found)
