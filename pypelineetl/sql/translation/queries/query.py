"""A translated query whose columns can still be changed, and the clauses that all queries have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.scopes import Columns
from pypelineetl.sql.translation.types import FROM_TEXT, Kind, Type


@dataclass(frozen=True)
class Query:
    """A translated SELECT or UNION whose columns can still be changed."""

    names: tuple[str, ...]
    """The names of the columns."""
    columns: tuple[Expression, ...]
    """The expressions of the columns."""
    text: Callable[[Sequence[str]], str]
    """Returns the SQL of the query, with these expressions in its SELECT."""
    stars: Columns | None = None
    """The columns that `*` stands for; None if there is no `*`."""
    has_unknown_star: bool = False
    """Whether `*` stands for columns that are not known."""
    is_merged: bool = False
    """Whether MySQL computes the query as a part of the query around it.

    It then keeps all digits of a quotient, and not only those that it
    returns.
    """

    def types(self) -> list[Type]:
        """Return the types of the columns, as the query around it sees them."""
        return [_as_column(column) for column in self.columns]

    def with_all_digits(self) -> tuple[tuple[Expression, ...], list[Type]]:
        """Return columns whose quotients are not rounded, with types that have all digits."""
        columns = tuple(
            replace(column, type=replace(column.type, excess=0)) for column in self.columns
        )
        types = [
            replace(kind, excess=column.type.excess)
            for kind, column in zip(self.types(), self.columns, strict=True)
        ]
        return columns, types


def _as_column(given: Expression) -> Type:
    """Return the type of a column of a subquery, as the query around it sees it."""
    kind = replace(given.type, excess=0)
    if kind.name == FROM_TEXT or given.kind is Kind.OTHER or isinstance(given.node, exp.Column):
        return kind
    # The name is that of a column's type, and the expression is no column.
    return replace(kind, name="")


def refuse_other_clauses(node: exp.Expr, allowed: frozenset[str] | set[str]) -> None:
    """Refuse a part of a query that has a clause which is not allowed.

    Args:
        node: The part of the query.
        allowed: sqlglot's names of the clauses that are translated.

    Raises:
        UntranslatableError: It has another clause.
    """
    for name, value in node.args.items():
        # sqlglot lists clauses that the query does not have; their values
        # are empty.
        if not value or name in allowed:
            continue
        part = value[0] if isinstance(value, list) else value
        raise untranslatable(part if isinstance(part, exp.Expr) else node)


def limit_clause(tree: exp.Expr) -> str:
    """Return LIMIT and OFFSET as SQL; empty if the query has neither."""
    text = ""
    for name, word in (("limit", "LIMIT"), ("offset", "OFFSET")):
        given = tree.args.get(name)
        if given is None:
            continue
        number = given.expression
        if not isinstance(number, exp.Literal) or number.is_string:
            raise untranslatable(given)
        text += f"\n{word} {number.this}"
    return text
