"""Collect functions in a table, from which a SQLite connection gets them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

Function = Callable[..., Any]
Functions = dict[str, tuple[Function, int]]
"""Functions by their name in SQL, without the prefix `mysql_`, with their number of arguments.

The number is -1 if a function takes any number of arguments.
"""


def strict_in(table: Functions) -> Callable[[str, int], Callable[[Function], Function]]:
    """Return a decorator that adds functions to a table.

    In SQL, such a function returns NULL if one of its arguments is NULL.

    Args:
        table: The table to which the functions are added.

    Returns:
        A function that takes the name and the number of arguments, and returns the decorator.
    """

    def with_name(name: str, count: int) -> Callable[[Function], Function]:
        def add(function: Function) -> Function:
            @wraps(function)
            def checked(*arguments: Any) -> Any:
                return None if None in arguments else function(*arguments)

            # The function itself stays callable from Python, without the
            # check.
            table[name] = (checked, count)
            return function

        return add

    return with_name
