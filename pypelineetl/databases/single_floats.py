"""Numbers of single precision, and what they are in a wider type.

MySQL and MariaDB write them with 6 digits: asked for as DOUBLE, they come exactly.
"""

import struct
from collections.abc import Collection, Sequence

from sqlglot import exp

from pypelineetl.errors import DatabaseError
from pypelineetl.sql import dialect

_LEAST_DIGITS, _MOST_DIGITS = 6, 9
"""How many digits tell a single from its neighbours, at least and at most."""


class Single(float):
    """A float that was a single: its value is the single's own, and it is printed with the digits
    that a single has.

    So 0.1 goes into a DOUBLE as 0.10000000149011612, and into a DECIMAL or a text as 0.1.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the shortest text that is this single."""
        for digits in range(_LEAST_DIGITS, _MOST_DIGITS):
            printed = float(f"{float(self):.{digits}g}")
            if struct.pack("f", printed) == struct.pack("f", self):
                return repr(printed)
        return repr(float(f"{float(self):.{_MOST_DIGITS}g}"))

    __str__ = __repr__


def single(printed: str) -> Single:
    """Return the single that a text is, with all of its own digits."""
    return Single(struct.unpack("f", struct.pack("f", float(printed)))[0])


def as_doubles(query: str, names: Sequence[str], singles: Collection[str]) -> str:
    """Return a query of MySQL's that gives the same rows in the same order, its singles as DOUBLE.

    The text of the query stays as the user wrote it; `names` are the columns that it gives,
    `singles` those of them that are FLOAT. Raises DatabaseError if its rows have an order that
    another query around it cannot repeat.
    """
    selected = ", ".join(
        f"{_quoted(name)} + 0e0 AS {_quoted(name)}" if name in singles else _quoted(name)
        for name in names
    )
    order = _order(query, names, singles)
    return f"SELECT {selected} FROM (\n{query}\n) AS source{order}"


def _order(query: str, names: Sequence[str], singles: Collection[str]) -> str:
    """Return the ORDER BY of a query in the names of what it gives; nothing where it has none."""
    if "order" not in query.lower():
        return ""
    tree = dialect.parse_statement(query, "mysql")
    order = tree.args.get("order")
    if order is None:
        return ""
    projections = tree.selects if isinstance(tree, exp.Select) else []
    terms = []
    for each in order.expressions:
        name = _given_name(each.this, projections, names)
        if name is None:
            shown = ", ".join(f'"{single}"' for single in singles)
            message = (
                f"its column {shown} is FLOAT, of which MySQL gives 6 digits only, and its rows are"
                f" ordered by {each.this.sql('mysql')}, which it does not give. Write CAST(… AS"
                " DOUBLE) for that column in the source SQL, or order the rows by columns that it"
                " gives."
            )
            raise DatabaseError(message)
        terms.append(f"source.{_quoted(name)}{' DESC' if each.args.get('desc') else ''}")
    return f" ORDER BY {', '.join(terms)}"


def _given_name(
    term: exp.Expr, projections: Sequence[exp.Expr], names: Sequence[str]
) -> str | None:
    """Return the column that a term of ORDER BY stands for; None if it stands for none."""
    if isinstance(term, exp.Literal) and not term.is_string:
        place = int(term.name)
        return names[place - 1] if 1 <= place <= len(names) else None
    by_folded_name = {name.lower(): name for name in names}
    if isinstance(term, exp.Column) and not term.table and term.name.lower() in by_folded_name:
        # MySQL looks for the column of this name first among those that the query gives.
        return by_folded_name[term.name.lower()]
    for each in projections:
        if each.unalias() == term or _is_same_column(each.unalias(), term):
            return by_folded_name.get(each.alias_or_name.lower())
    named = {each.alias_or_name.lower() for each in projections}
    is_in_star = any(_is_star_of(each, term) for each in projections)
    return (
        by_folded_name.get(term.name.lower())
        if is_in_star and term.name.lower() not in named
        else None
    )


def _is_same_column(given: exp.Expr, term: exp.Expr) -> bool:
    """Whether two columns, of which one is written without its table, are the same.

    Names alone are not ambiguous.
    """
    if not (isinstance(given, exp.Column) and isinstance(term, exp.Column)):
        return False
    return given.name.lower() == term.name.lower() and not (given.table and term.table)


def _is_star_of(given: exp.Expr, term: exp.Expr) -> bool:
    """Whether a column that is written with its table is among those of a star."""
    if not (isinstance(term, exp.Column) and given.is_star):
        return False
    return isinstance(given, exp.Star) or (
        isinstance(given, exp.Column) and given.table == term.table
    )


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
