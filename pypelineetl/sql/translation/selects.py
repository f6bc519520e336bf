"""Translate SELECT with its clauses, UNION and WITH."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.aggregates import Aggregates, is_aggregate
from pypelineetl.sql.translation.expressions import Expression, Form, place_of, untranslatable
from pypelineetl.sql.translation.operators import Context, Schema
from pypelineetl.sql.translation.scopes import Columns, Scope
from pypelineetl.sql.translation.targets import TARGETS
from pypelineetl.sql.translation.types import FROM_TEXT, MOMENTS, UNKNOWN, Kind, Type

# A clause that is not listed here is refused, so that a translation loses none.
_CLAUSES = frozenset(
    {
        "expressions",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "distinct",
        "with_",
        "kind",
    }
)
_JOINS = frozenset({"this", "on", "using", "side", "kind"})
_SETS: dict[type[exp.Expr], str] = {exp.Union: "UNION"}


@dataclass(frozen=True)
class Translation:
    """A query in the dialect of another database."""

    sql: str
    """The query."""
    folded: tuple[str, ...] = ()
    """The parts of the original query that compare texts.

    In MySQL's collation two texts may be equal that are not equal in the other database.
    """
    original: str = ""
    """The original query, if it is in MySQL's dialect; else empty."""


@dataclass(frozen=True)
class _Query:
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

    It then keeps all digits of a quotient, and not only those that it returns.
    """


def translate_tree(
    tree: exp.Expr, target: str, schema: Schema | None, *, is_of_sqlite: bool = False
) -> Translation:
    """Return a query in another dialect.

    Args:
        tree: The parsed query.
        target: The name of the target, a key of TARGETS.
        schema: Returns the columns of the target's tables. Without it, only the rules that do not
            depend on types are checked.
        is_of_sqlite: Whether the query is written in SQLite's dialect.

    Raises:
        DialectError: The query is not proved to give the same rows. The message names the place.
    """
    context = Context(TARGETS[target], schema, is_of_sqlite)
    text = _Queries(context, Scope()).whole(tree)
    folded = dict.fromkeys(node.sql(dialect="mysql") for node in context.folded)
    return Translation(text, tuple(folded))


class _Queries:
    """Translates the queries of one scope."""

    def __init__(self, context: Context, outer: Scope) -> None:
        self.context = context
        self.target = context.target
        self.outer = outer

    def whole(self, tree: exp.Expr) -> str:
        """Return the SQL of a query."""
        found = self.query(tree)
        return found.text([self.target.root(each) for each in found.columns])

    def subquery(self, tree: exp.Expr, *, is_value: bool) -> tuple[str, list[Type]]:
        """Return the SQL of a query within an expression, and the types of its columns."""
        found = self.query(tree)
        types = [_as_column(each) for each in found.columns]
        columns = found.columns
        if is_value:
            columns, types = _with_all_digits(columns, types)
        return found.text([self.target.in_subquery(each) for each in columns]), types

    def derived(self, tree: exp.Expr) -> tuple[str, Columns | None]:
        """Return the SQL of a query in FROM or WITH, and its columns; None if not known."""
        found = self.query(tree)
        columns = found.columns
        types = [_as_column(each) for each in columns]
        if found.is_merged:
            columns, types = _with_all_digits(columns, types)
        text = found.text([self.target.root(each) for each in columns])
        if found.has_unknown_star:
            return text, None
        return text, {**(found.stars or {}), **dict(zip(found.names, types, strict=True))}

    def query(self, tree: exp.Expr) -> _Query:
        """Return a query whose columns can still be changed."""
        if isinstance(tree, exp.Subquery) and not tree.alias:
            _only(tree, {"this"})
            return self.query(tree.this)
        if isinstance(tree, exp.Select):
            return self._select(tree)
        if isinstance(tree, exp.Union):
            return self._union(tree)
        raise untranslatable(tree)

    # UNION

    def _union(self, tree: exp.Union) -> _Query:
        _only(
            tree, {"this", "expression", "distinct", "order", "limit", "offset", "with_", "by_name"}
        )
        scope = self._with(tree)
        sides = [_Queries(self.context, scope).query(each) for each in (tree.this, tree.expression)]
        # The columns of both sides are cast to common types, so they must be known.
        if any(each.stars or each.has_unknown_star for each in sides):
            raise untranslatable(tree, "name the columns of each side; it must not have *")
        if len(sides[0].columns) != len(sides[1].columns):
            raise untranslatable(tree, "its sides have different numbers of columns")
        expressions = _InQuery(self.context, scope)
        columns: list[Expression] = []
        # The columns of each side, cast to the common type of both.
        texts: list[list[str]] = [[], []]
        for pair in zip(sides[0].columns, sides[1].columns, strict=True):
            values, kind, form = expressions.unified(tree, pair)
            given = [
                Expression(value, replace(kind, excess=kind.excess), each.node, form)
                for value, each in zip(values, pair, strict=True)
            ]
            for place, each in enumerate(given):
                texts[place].append(self.target.root(each))
            columns.append(Expression("", replace(kind, excess=0), tree, Form.PLAIN))
            if tree.args.get("distinct") and kind.kind is Kind.TEXT:
                self.context.folded.append(pair[0].node)
        word = "UNION" if tree.args.get("distinct") else "UNION ALL"
        parts = [each.text(values) for each, values in zip(sides, texts, strict=True)]
        # SQLite allows no parentheses around a side, so a side with them becomes a subquery.
        if any(isinstance(each, exp.Subquery) for each in (tree.this, tree.expression)):
            parts = [
                f"SELECT * FROM ({part}) AS q{place}" for place, part in enumerate(parts, start=1)
            ]
        rest = self._union_rest(tree, sides[0].names)
        prefix = self._with_text(tree)
        return _Query(
            sides[0].names,
            tuple(columns),
            # The columns of the sides have their final SQL already.
            lambda _: f"{prefix}{parts[0]}\n{word}\n{parts[1]}{rest}",
        )

    def _union_rest(self, tree: exp.Union, names: Sequence[str]) -> str:
        rest = ""
        if order := tree.args.get("order"):
            terms = []
            for term in order.expressions:
                if (
                    not isinstance(term.this, exp.Column)
                    or term.this.table
                    or term.this.name not in names
                ):
                    raise untranslatable(term, "a UNION is ordered by its columns")
                direction = _InQuery(self.context, Scope())._direction(term)  # noqa: SLF001 - both classes translate one SELECT
                terms.append(f"{names.index(term.this.name) + 1}{direction}")
            rest = f"\nORDER BY {', '.join(terms)}"
        return rest + self._limit(tree)

    # WITH

    def _with(self, tree: exp.Expr) -> Scope:
        """Return a new scope that has the queries of a WITH.

        Afterwards `_with_text` returns the SQL of the WITH.
        """
        scope = Scope(outer=self.outer)
        self._texts: dict[int, str] = getattr(self, "_texts", {})
        given = tree.args.get("with_")
        if given is None:
            return scope
        if given.args.get("recursive"):
            raise untranslatable(tree, "WITH RECURSIVE")
        parts = []
        for each in given.expressions:
            if each.args.get("materialized") is not None or each.args["alias"].columns:
                raise untranslatable(each)
            inner = {table.name.lower() for table in each.this.find_all(exp.Table)}
            if scope.with_query(each.alias)[0] or each.alias.lower() in inner:
                raise untranslatable(each, "two of its tables have the same name")
            text, columns = _Queries(self.context, scope).derived(each.this)
            scope.with_queries[each.alias] = columns
            parts.append(f"{self.target.quoted(each.alias)} AS (\n{text}\n)")
        self._texts[id(tree)] = f"WITH {', '.join(parts)}\n"
        return scope

    def _with_text(self, tree: exp.Expr) -> str:
        return self._texts.get(id(tree), "")

    # SELECT

    def _select(self, tree: exp.Select) -> _Query:
        _only(tree, _CLAUSES)
        scope = self._with(tree)
        tables = self._from(tree, scope)
        expressions = _InQuery(self.context, scope)
        expressions.is_grouped = tree.args.get("group") is not None
        # A window is refused if a name in it is also an alias.
        expressions.aliases = {
            each.alias: each for each in tree.selects if isinstance(each, exp.Alias)
        }
        names, columns, stars, has_unknown = self._columns(tree, scope, expressions)
        aliases = dict(expressions.aliases)
        if tree.args.get("distinct"):
            columns = self._distinct(tree, columns)
        rest = self._where(tree, expressions)
        grouped, keys = self._group(tree, expressions, aliases)
        rest += grouped
        order = self._order(tree, expressions, aliases, keys)
        rest += order + self._limit(tree)
        word = "SELECT DISTINCT" if tree.args.get("distinct") else "SELECT"
        prefix = self._with_text(tree)

        def text(values: Sequence[str]) -> str:
            parts = [
                (
                    value
                    if isinstance(each.node, exp.Star)
                    else f"{value} AS {self.target.quoted(name)}"
                )
                for value, each, name in zip(values, columns, names, strict=True)
            ]
            separator = ",\n  "
            return f"{prefix}{word}\n  {separator.join(parts)}{tables}{rest}"

        # MySQL merges a query without these clauses into the query around it.
        ends = ("group", "having", "distinct", "limit")
        is_merged = not any(map(tree.args.get, ends)) and not any(map(_has_aggregate, tree.selects))
        is_merged = is_merged and not any(each.find(exp.Window) for each in tree.selects)
        return _Query(tuple(names), tuple(columns), text, stars, has_unknown, is_merged)

    def _columns(
        self, tree: exp.Select, scope: Scope, expressions: "_InQuery"
    ) -> tuple[list[str], list[Expression], Columns | None, bool]:
        """Return the names and expressions of the columns, and what `*` stands for.

        The last item says whether `*` stands for columns that are not known.
        """
        names: list[str] = []
        columns: list[Expression] = []
        stars: dict[str, Type] = {}
        has_unknown = False
        for each in tree.selects:
            if isinstance(each, exp.Star) or (
                isinstance(each, exp.Column) and isinstance(each.this, exp.Star)
            ):
                if each.args.get("except_") or any(
                    join.args.get("using") for join in tree.args.get("joins") or ()
                ):
                    raise untranslatable(each, "name the columns")
                table = each.table if isinstance(each, exp.Column) else ""
                shown = f"{self.target.quoted(table)}.*" if table else "*"
                names.append("*")
                columns.append(Expression(shown, UNKNOWN, exp.Star()))
                for alias, known in scope.tables.items():
                    if not table or alias.lower() == table.lower():
                        if any(kind.excess for kind in (known or {}).values()):
                            raise untranslatable(each, "it has a quotient; name the columns")
                        has_unknown = has_unknown or known is None
                        stars.update(known or {})
                continue
            # MySQL names a column without an alias by its SQL.
            is_named = isinstance(each, exp.Alias | exp.Column)
            names.append(each.alias_or_name if is_named else each.sql(dialect="mysql"))
            columns.append(expressions.of(each.unalias()))
        return names, columns, stars or None, has_unknown

    def _distinct(self, tree: exp.Select, columns: Sequence[Expression]) -> list[Expression]:
        """Return the columns of SELECT DISTINCT in forms whose values are equal as in MySQL."""
        if tree.args["distinct"].args.get("on"):
            raise untranslatable(tree)
        for each in columns:
            # DISTINCT compares texts by the collation of the database.
            if each.kind is Kind.TEXT:
                self.context.folded.append(each.node)
        return [
            (
                replace(each, sql=self.target.comparable(each), form=Form.PLAIN, stored="")
                if each.form is Form.STORED
                else each
            )
            for each in columns
        ]

    def _from(self, tree: exp.Select, scope: Scope) -> str:
        given = tree.args.get("from_")
        if given is None:
            return ""
        if (
            isinstance(given.this, exp.Table)
            and given.this.name.upper() == "DUAL"
            and not given.this.args.get("db")
        ):
            # FROM DUAL is no table: MySQL allows it where nothing is read.
            return ""
        text = f"\nFROM {self._table(given.this, scope)}"
        for join in tree.args.get("joins") or ():
            text += self._join(join, scope)
        return text

    def _table(self, node: exp.Expr, scope: Scope) -> str:
        """Return a table or subquery of FROM as SQL, and add it to the scope."""
        target = self.target
        if isinstance(node, exp.Subquery):
            _only(node, {"this", "alias"})
            inner = _Queries(
                self.context, Scope(outer=scope.outer, with_queries=scope.with_queries)
            )
            text, columns = inner.derived(node.this)
            scope.tables[node.alias] = columns
            return f"({text}) AS {target.quoted(node.alias)}"
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            raise untranslatable(node)
        _only(node, {"this", "alias", "db"})
        # A query of a WITH takes precedence over a table of the same name.
        named, columns = scope.with_query(node.name) if not node.db else ("", None)
        if not named:
            columns = (
                None if self.context.schema is None else self.context.schema(node.name, node.db)
            )
            if columns is not None and not columns:
                name = node.sql(dialect="mysql")
                message = f"no such table: {name}. {place_of(node)}"
                raise DialectError(message)
        alias = node.alias or node.name
        scope.tables[alias] = columns
        name = ".".join(target.quoted(part) for part in (node.db, named or node.name) if part)
        is_renamed = node.alias or (named and named != node.name)
        return f"{name} AS {target.quoted(alias)}" if is_renamed else name

    def _join(self, join: exp.Join, scope: Scope) -> str:
        _only(join, _JOINS)
        side, kind = (join.args.get("side") or "").upper(), (join.args.get("kind") or "").upper()
        if side not in ("", "LEFT", "RIGHT") or kind not in ("", "INNER", "OUTER", "CROSS"):
            raise untranslatable(join)
        table = self._table(join.this, scope)
        condition = ""
        if on := join.args.get("on"):
            condition = f" ON {_InQuery(self.context, scope).condition(on)}"
        elif using := join.args.get("using"):
            condition = f" USING ({', '.join(self.target.quoted(each.name) for each in using)})"
            self._check_using(join, using, scope)
        if not condition and side:
            raise untranslatable(join, "a LEFT or RIGHT JOIN needs ON")
        # MySQL has JOIN without a condition. The targets need CROSS JOIN for it.
        word = f"{side} JOIN" if side else "JOIN" if condition else "CROSS JOIN"
        return f"\n{word} {table}{condition}"

    def _check_using(self, join: exp.Join, using: Sequence[exp.Expr], scope: Scope) -> None:
        for each in using:
            # USING compares the columns without casts, so they must have one type.
            kinds = [
                kind
                for columns in scope.tables.values()
                for name, kind in (columns or {}).items()
                if name.lower() == each.name.lower()
            ]
            if kinds and kinds[0].kind in MOMENTS and not self.target.has_moments:
                raise untranslatable(join, "SQLite has several texts for one date; write ON")
            if any(kind.kind is not kinds[0].kind for kind in kinds):
                raise untranslatable(join, f'the column "{each.name}" has two types')
            if kinds and kinds[0].kind is Kind.TEXT:
                self.context.folded.append(join)

    def _where(self, tree: exp.Select, expressions: "_InQuery") -> str:
        given = tree.args.get("where")
        return f"\nWHERE {expressions.condition(given.this)}" if given else ""

    def _group(
        self, tree: exp.Select, expressions: "_InQuery", aliases: dict[str, exp.Alias]
    ) -> tuple[str, list[exp.Expr] | None]:
        """Return GROUP BY and HAVING as SQL, and the keys of the groups.

        The keys are None if the query has neither GROUP BY nor an aggregate.
        """
        given, having, text = tree.args.get("group"), tree.args.get("having"), ""
        keys: list[exp.Expr] = []
        if given:
            _only(given, {"expressions"})
            keys = [self._group_key(each, tree, expressions, aliases) for each in given.expressions]
            text = f"\nGROUP BY {', '.join(expressions.group_key(each) for each in keys)}"
        # An aggregate without GROUP BY makes one group of all rows.
        is_grouped = bool(keys) or any(_has_aggregate(each) for each in tree.selects)
        if having and not is_grouped:
            raise untranslatable(having, "HAVING without GROUP BY; write WHERE")
        if having:
            condition = _without_aliases(having.this, aliases, expressions)
            self._check_grouped(condition, keys)
            text += f"\nHAVING {expressions.condition(condition)}"
        if is_grouped:
            for each in tree.selects:
                self._check_grouped(each.unalias(), keys)
        return text, keys if is_grouped else None

    def _group_key(
        self,
        key: exp.Expr,
        tree: exp.Select,
        expressions: "_InQuery",
        aliases: dict[str, exp.Alias],
    ) -> exp.Expr:
        if isinstance(key, exp.Literal):
            return _at_position(tree, key)
        # In GROUP BY, a column of a table takes precedence over an alias.
        return _without_alias(key, aliases, expressions)

    def _check_grouped(self, node: exp.Expr, keys: Sequence[exp.Expr]) -> None:
        """Refuse a column that may have several values in a group.

        MySQL returns the value of any row of the group. Other databases take another row, or fail.
        """
        if node in keys or is_aggregate(node) or isinstance(node, exp.Query):
            return
        if isinstance(node, exp.Window):
            for each in _in_window(node):
                self._check_grouped(each, keys)
            return
        if isinstance(node, exp.Column):
            named = [key for key in keys if isinstance(key, exp.Column) and key.name == node.name]
            if any(not key.table or not node.table for key in named):
                return
            raise untranslatable(node, "it is neither in GROUP BY nor in an aggregate")
        for each in node.iter_expressions():
            self._check_grouped(each, keys)

    def _order(
        self,
        tree: exp.Select,
        expressions: "_InQuery",
        aliases: dict[str, exp.Alias],
        keys: Sequence[exp.Expr] | None,
    ) -> str:
        given = tree.args.get("order")
        if given is None:
            return ""
        terms, folded_before = [], len(self.context.folded)
        for term in given.expressions:
            key = term.this
            if isinstance(key, exp.Literal):
                key = _at_position(tree, key)
            # In ORDER BY, an alias takes precedence over a column of a table.
            elif isinstance(key, exp.Column) and not key.table and key.name in aliases:
                key = aliases[key.name].this
            if keys is not None:
                self._check_grouped(key, keys)
            changed = exp.Ordered(**{**term.args, "this": key})
            # With DISTINCT, a term is written as the position of its column.
            if tree.args.get("distinct"):
                places = [
                    place
                    for place, each in enumerate(tree.selects, start=1)
                    if each.unalias() == key
                ]
                if not places:
                    raise untranslatable(term, "SELECT DISTINCT is ordered by its columns")
                terms.append(f"{places[0]}{expressions._direction(term)}")  # noqa: SLF001 - both classes translate one SELECT
                continue
            terms.append(expressions.order(exp.Order(expressions=[changed])))
        if not tree.args.get("limit"):
            # Without LIMIT, another order of texts still returns the same rows.
            del self.context.folded[folded_before:]
        return f"\nORDER BY {', '.join(terms)}"

    def _limit(self, tree: exp.Expr) -> str:
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


class _InQuery(Aggregates):
    """Translates the expressions of a SELECT, and the subqueries in them."""

    def subquery(self, node: exp.Expr, *, is_value: bool = False) -> tuple[str, list[Type]]:
        return _Queries(self.context, self.scope).subquery(node, is_value=is_value)


def _with_all_digits(
    columns: tuple[Expression, ...], types: list[Type]
) -> tuple[tuple[Expression, ...], list[Type]]:
    """Return columns whose quotients are not rounded, with types that have all digits."""
    cut = tuple(replace(each, type=replace(each.type, excess=0)) for each in columns)
    return cut, [
        replace(kind, excess=each.type.excess) for kind, each in zip(types, columns, strict=True)
    ]


def _as_column(given: Expression) -> Type:
    """Return the type of a column of a subquery, as the query around it sees it."""
    kind = replace(given.type, excess=0)
    is_truth = given.form is Form.CONDITION and isinstance(given.node, exp.Column)
    if kind.name == FROM_TEXT:
        return kind
    return (
        kind
        if is_truth or given.kind is Kind.OTHER or isinstance(given.node, exp.Column)
        else replace(kind, name="")
    )


def _only(node: exp.Expr, allowed: frozenset[str] | set[str]) -> None:
    """Refuse a part of a query that has a clause which is not allowed."""
    for name, value in node.args.items():
        if value and name not in allowed:
            raise untranslatable(
                value
                if isinstance(value, exp.Expr)
                else value[0]
                if isinstance(value, list)
                else node
            )


def _has_aggregate(node: exp.Expr) -> bool:
    # The aggregates of a subquery are its own.
    if isinstance(node, exp.Query):
        return False
    if isinstance(node, exp.Window):
        return any(_has_aggregate(each) for each in _in_window(node))
    return is_aggregate(node) or any(_has_aggregate(each) for each in node.iter_expressions())


def _in_window(node: exp.Window) -> list[exp.Expr]:
    """Return the arguments of a window function, and the terms of its ORDER and PARTITION BY."""
    return [
        each
        for part in (node.this, *node.iter_expressions())
        for each in part.iter_expressions()
        if part
    ]


def _at_position(tree: exp.Select, position: exp.Literal) -> exp.Expr:
    """Return the column of a SELECT at a position, as a number in GROUP BY or ORDER BY names it."""
    number = position.this
    if position.is_string or not number.isdigit() or not 0 < int(number) <= len(tree.selects):
        raise untranslatable(position, "it is not the position of a column")
    found: exp.Expr = tree.selects[int(number) - 1].unalias()
    return found


def _without_alias(
    node: exp.Expr, aliases: dict[str, exp.Alias], expressions: Aggregates
) -> exp.Expr:
    """Return the expression of an alias; another node is returned as it is.

    A column of a table with the same name takes precedence over the alias.
    """
    if not isinstance(node, exp.Column) or node.table or node.name not in aliases:
        return node
    found = expressions.scope.column(node.name, "")
    if found is not None and found[1].kind is not Kind.UNKNOWN:
        return node
    expression: exp.Expr = aliases[node.name].this
    return expression


def _without_aliases(
    node: exp.Expr, aliases: dict[str, exp.Alias], expressions: Aggregates
) -> exp.Expr:
    """Return a condition in which each alias is replaced by its expression."""

    def replaced(each: exp.Expr) -> exp.Expr:
        expression = _without_alias(each, aliases, expressions)
        return each if expression is each else expression.copy()

    changed: exp.Expr = node.transform(replaced)
    return changed
