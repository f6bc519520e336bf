"""Create inferred members: members whose natural key a fact names before their dimension has them.

The dimension's own pygrametl object creates them, so they are the same as pygrametl's members.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.load.collations import infer_exactly
from pypelineetl.load.context import Load
from pypelineetl.load.facts.member_table import NaturalKey
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.pygrametl.table import ensuring, pygrametl_table


def infer_members(
    load: Load,
    dimension: DimensionETL,
    natural_keys: Sequence[NaturalKey],
    open_tables: ExitStack,
) -> list[Any]:
    """Create members with these natural keys, and return their surrogate keys.

    Args:
        load: The load of the fact that names them.
        dimension: The dimension that lacks them.
        natural_keys: The natural keys, in the order of the factory's natural key.
        open_tables: Closes the pygrametl object when the fact is loaded.

    Raises:
        LoadError: A natural key is equal to another member's by the warehouse's collation.

    """
    infer = _member_creator(load, dimension, open_tables)
    return infer_exactly(load, dimension, natural_keys, infer)


def _member_creator(
    load: Load, dimension: DimensionETL, open_tables: ExitStack
) -> Callable[[NaturalKey], Any]:
    """Return a function that creates a member by its natural key, and returns its surrogate key."""
    factory, columns = dimension.factory, load.project.columns(dimension)
    target = TargetConnection(load, dimension)
    # Nothing is known of the member but its natural key.
    unknown: dict[str, Any] = {}
    for name in factory.names("attributes"):
        if name not in factory.versioning:
            unknown[name] = None
    for name in dimension.flags:
        unknown[name] = columns[name].cast(name == dimension.inferred)

    @cache
    def ensure() -> Callable[[dict[str, Any]], Any]:
        # Opened with the first member: pygrametl may read the whole dimension then.
        table = open_tables.enter_context(
            pygrametl_table(dimension, load.warehouse, target, columns=columns, now=load.now),
        )
        return ensuring(table)

    def create(natural_key: NaturalKey) -> Any:
        surrogate_key = ensure()(unknown | dict(zip(factory.natural_key, natural_key, strict=True)))
        # The member must be in the warehouse before the fact, which may have a foreign key to it.
        target.flush()
        return surrogate_key

    return create
