"""Keep single-precision floats exact when they are read from MySQL or cast to other types.

MySQL and MariaDB print a FLOAT with 6 digits only. As a DOUBLE it arrives exactly.
"""

import struct
from collections.abc import Collection, Sequence

from sqlglot import exp

from pypelineetl.errors import DatabaseError
from pypelineetl.sql import dialect

_LEAST_DIGITS, _MOST_DIGITS = 6, 9
"""How many decimal digits distinguish a single-precision float from its neighbours."""


class Single(float):
    """A single-precision float: it has the exact value, and prints with the digits of a single.

    So 0.1 becomes 0.10000000149011612 in a DOUBLE, and 0.1 in a DECIMAL or a text.

    >>> Single(0.10000000149011612)
    0.1
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the shortest text that stands for this single."""
        for digits in range(_LEAST_DIGITS, _MOST_DIGITS):
            printed = float(f"{float(self):.{digits}g}")
            if struct.pack("f", printed) == struct.pack("f", self):
                return repr(printed)
        return repr(float(f"{float(self):.{_MOST_DIGITS}g}"))

    __str__ = __repr__


def single(printed: str) -> Single:
    """Return the single-precision float for which a text stands."""
    return Single(struct.unpack("f", struct.pack("f", float(printed)))[0])


def as_doubles(query: str, names: Sequence[str], singles: Collection[str]) -> str:
    """Return a MySQL query of the same rows in the same order, with FLOAT columns as DOUBLE.

        SELECT `id`, `price` + 0e0 AS `price` FROM (
        SELECT id, price FROM product ORDER BY id
        ) AS source ORDER BY source.`id`

    The user's query stays as it is, inside another one.

    Args:
        query: The user's query.
        names: The columns of the query.
        singles: The columns that are FLOAT.

    Raises:
        DatabaseError: The query orders its rows by something that it does not select.
    """
    selected = []
    for name in names:
        quoted = _quoted(name)
        # 0e0 is a DOUBLE, and so is the sum.
        selected.append(f"{quoted} + 0e0 AS {quoted}" if name in singles else quoted)
    order = _order(query, names, singles)
    return f"SELECT {', '.join(selected)} FROM (\n{query}\n) AS source{order}"


def _order(query: str, names: Sequence[str], singles: Collection[str]) -> str:
    """Return the query's ORDER BY in the names of its columns; an empty text if it has none."""
    if "order" not in query.lower():
        return ""
    tree = dialect.parse_statement(query, "mysql")
    order = tree.args.get("order")
    if order is None:
        return ""
    projections = tree.selects if isinstance(tree, exp.Select) else []
    terms = []
    for term in order.expressions:
        name = _selected_name(term.this, projections, names)
        if name is None:
            shown = ", ".join(f'"{single}"' for single in singles)
            message = (
                f"column {shown} is FLOAT, of which MySQL returns 6 digits only, and the query is"
                f" ordered by {term.this.sql('mysql')}, which it does not select. Write CAST(… AS"
                " DOUBLE) for that column in the source SQL, or order the rows by columns that the"
                " query selects."
            )
            raise DatabaseError(message)
        direction = " DESC" if term.args.get("desc") else ""
        terms.append(f"source.{_quoted(name)}{direction}")
    return f" ORDER BY {', '.join(terms)}"


def _selected_name(
    term: exp.Expr, projections: Sequence[exp.Expr], names: Sequence[str]
) -> str | None:
    """Return the selected column that a term of ORDER BY means; None if there is no such column."""
    # ORDER BY 2 means the second column.
    if isinstance(term, exp.Literal) and not term.is_string:
        place = int(term.name)
        return names[place - 1] if 1 <= place <= len(names) else None
    names_by_lower = {name.lower(): name for name in names}
    if isinstance(term, exp.Column) and not term.table and term.name.lower() in names_by_lower:
        # MySQL looks for a name among the selected columns first.
        return names_by_lower[term.name.lower()]
    # The same expression may be selected.
    for projection in projections:
        selected = projection.unalias()
        if selected == term or _is_same_column(selected, term):
            return names_by_lower.get(projection.alias_or_name.lower())
    # A star may select the column, unless an alias of the same name hides it.
    aliases = {projection.alias_or_name.lower() for projection in projections}
    is_in_star = any(_is_star_of(projection, term) for projection in projections)
    if is_in_star and term.name.lower() not in aliases:
        return names_by_lower.get(term.name.lower())
    return None


def _is_same_column(selected: exp.Expr, term: exp.Expr) -> bool:
    """Return whether two columns are the same, though one of them may lack its table.

    A name without a table is never ambiguous: MySQL would have refused the query.
    """
    if not (isinstance(selected, exp.Column) and isinstance(term, exp.Column)):
        return False
    return selected.name.lower() == term.name.lower() and not (selected.table and term.table)


def _is_star_of(selected: exp.Expr, term: exp.Expr) -> bool:
    """Return whether a star selects a column that is written with its table."""
    if not (isinstance(term, exp.Column) and selected.is_star):
        return False
    if isinstance(selected, exp.Star):
        return True
    return isinstance(selected, exp.Column) and selected.table == term.table


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
