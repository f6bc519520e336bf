"""Declare a factory: the pygrametl class of a table, and the arguments of its object."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

_COLUMN_LISTS = ("attributes", "keyrefs", "otherrefs", "measures")
_VERSION_COLUMNS = ("versionatt", "fromatt", "toatt")


@dataclass(frozen=True)
class Factory:
    """A pygrametl class and the arguments of its object; made by `factory`."""

    table_class: type
    """A class of `pygrametl.tables`, or a subclass of one."""
    arguments: Mapping[str, Any]
    """The arguments of that class by name, without `targetconnection`."""

    @property
    def table(self) -> str:
        """The name of the warehouse table; empty if the argument `name` is missing."""
        return cast("str", self.arguments.get("name", ""))

    @property
    def columns(self) -> tuple[str, ...]:
        """The warehouse columns that the pygrametl object writes."""
        columns: list[str] = []
        if key := self.name("key"):
            columns.append(key)
        for argument in _COLUMN_LISTS:
            columns += self.names(argument)
        return tuple(columns)

    @property
    def versioning(self) -> tuple[str, ...]:
        """The columns for the number, the start and the end of a type-2 version.

        The load fills them itself.
        """
        columns = map(self.name, _VERSION_COLUMNS)
        return tuple(filter(None, columns))

    @property
    def natural_key(self) -> tuple[str, ...]:
        """The attributes by which members are looked up: `lookupatts`, or else all attributes."""
        # pygrametl has the same default.
        return self.names("lookupatts") or self.names("attributes")

    def names(self, argument: str) -> tuple[str, ...]:
        """Return a list argument, such as `attributes`; empty if it is not given."""
        return tuple(self.arguments.get(argument) or ())

    def name(self, argument: str) -> str | None:
        """Return an argument that is one name, such as `fromatt`; None if it is not given."""
        return cast("str | None", self.arguments.get(argument))

    def read_by(self, argument: str) -> str | None:
        """Return the source column that a finder made by pygrametl's `datereader` reads.

        Args:
            argument: `fromfinder` or `tofinder`.

        Returns:
            None if there is no such finder, if it is another function, or if it has a parser
            other than pygrametl's default.

        """
        finder: Any = self.arguments.get(argument)
        # `datereader` returns a closure. Only its name and its variables
        # show what it reads. With the name of the column, the engine can
        # load the dimension in bulk.
        if getattr(finder, "__qualname__", "") != "datereader.<locals>.readerfunction":
            return None
        variables = inspect.getclosurevars(finder).nonlocals
        parser = variables["parsingfunction"]
        if (parser.__module__, parser.__qualname__) != ("pygrametl", "ymdparser"):
            return None
        return str(variables["dateattribute"])


def factory(table_class: type, **arguments: Any) -> Factory:
    """Declare a dimension table or fact table by its pygrametl class.

    >>> from pygrametl.tables import TypeOneSlowlyChangingDimension
    >>> course = factory(
    ...     TypeOneSlowlyChangingDimension,
    ...     name="course_dim",
    ...     key="id",
    ...     attributes=["course_id", "title"],
    ...     lookupatts=["course_id"],
    ... )
    >>> course.table
    'course_dim'
    >>> course.columns
    ('id', 'course_id', 'title')
    >>> course.natural_key
    ('course_id',)

    Args:
        table_class: A class of `pygrametl.tables`, or a subclass of one.
        arguments: The arguments of that class. `name` is the warehouse
            table. Leave out `targetconnection`: the engine gives it.

    """
    return Factory(table_class, arguments)
