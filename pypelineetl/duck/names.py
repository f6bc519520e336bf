"""Names of the columns in a load's own DuckDB tables, which cannot clash.

A column of a table or source has its own name there, in quotes: `"price"`. A column that the load
adds has a name with two underscores at its beginning, such as `__row` or `__kept_price`, which
needs no quotes if the engine alone chooses it.

A user's name that begins with two underscores gets one more in DuckDB: `__row` becomes `___row`. So
it is never the name of an added column. DuckDB ignores the case of names, and PostgreSQL does not:
of two names that differ only in case, the later one gets a number, such as `ID_2`. DuckDB has no
limit for the length of a name, so names of 63 or 64 characters can be made longer.
"""

from collections.abc import Iterable

_OWN = "__"
"""What the names of added columns begin with."""


def quoted(name: str) -> str:
    """Return a name in DuckDB's quotes.

    >>> quoted('7" screen')
    '"7"" screen"'
    """
    return '"' + name.replace('"', '""') + '"'


def added(word: str, name: str = "") -> str:
    """Return the name of a column that a load adds.

    Args:
        word: What the column is.
        name: The name of the column that it is about, if there are several such columns.

    >>> added("row"), added("kept", "price")
    ('__row', '__kept_price')
    """
    return f"{_OWN}{word}_{name}" if name else f"{_OWN}{word}"


class Names:
    """Gives each column, or each table in a query, a name that DuckDB confuses with no other."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        """Return the name in DuckDB for a name that the user chose.

        >>> names = Names()
        >>> names.of("id"), names.of("ID"), names.of("__row")
        ('id', 'ID_2', '___row')
        """
        return self.unique(f"_{name}" if name.startswith(_OWN) else name)

    def unique(self, name: str) -> str:
        """Return a name, with a number if it was given before."""
        found, number = name, 1
        # DuckDB ignores the case of ASCII letters only. To ignore that of others does no harm.
        while found.casefold() in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found.casefold())
        return found


def column_names(columns: Iterable[str]) -> dict[str, str]:
    """Return the name in DuckDB of each column of one table, by its own name.

    >>> column_names(["id", "Unit price"])
    {'id': 'id', 'Unit price': 'Unit price'}
    """
    names = Names()
    return {name: names.of(name) for name in dict.fromkeys(columns)}
