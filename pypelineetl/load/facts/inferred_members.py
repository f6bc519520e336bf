"""Members of whom only the natural key is known, made by their dimension's pygrametl object when a
fact names them.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.load.context import Load
from pypelineetl.load.facts.member_table import NaturalKey
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.pygrametl.table import ensuring, pygrametl_table

Infer = Callable[[NaturalKey], Any]
"""Makes a member that knows only its natural key, and returns its surrogate key."""


def inferring(load: Load, dimension: DimensionETL, open_tables: ExitStack) -> Infer:
    """Return what makes such members; its pygrametl object is made on first use."""
    factory, columns = dimension.factory, load.project.columns(dimension)
    target = TargetConnection(load, dimension)
    unknown: dict[str, Any] = {
        name: None for name in factory.names("attributes") if name not in factory.versioning
    }
    unknown |= {name: columns[name].cast(name == dimension.inferred) for name in dimension.flags}

    @cache
    def ensure() -> Callable[[dict[str, Any]], Any]:
        table = open_tables.enter_context(
            pygrametl_table(dimension, load.warehouse, target, columns=columns, now=load.now),
        )
        return ensuring(table)

    def infer(natural_key: NaturalKey) -> Any:
        key = ensure()(unknown | dict(zip(factory.natural_key, natural_key, strict=True)))
        # Before the fact that points to it, which a foreign key in the warehouse may ask for.
        target.flush()
        return key

    return infer
