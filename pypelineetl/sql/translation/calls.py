"""Translate calls of MySQL's functions.

`functions.py` has the SQL of most functions. Here are those whose SQL depends on the types of their
arguments, or on literals.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlglot import exp

from pypelineetl.sql.translation import formats, functions
from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.literals import datetime_in
from pypelineetl.sql.translation.operators import Operators
from pypelineetl.sql.translation.types import (
    DATE,
    DATETIME,
    DOUBLE,
    FROM_TEXT,
    INTEGER,
    MOMENTS,
    NUMBERS,
    TEXT,
    Kind,
    decimal,
)

UNITS = {
    "MICROSECOND": ("microsecond", 1),
    "SECOND": ("second", 1),
    "MINUTE": ("minute", 1),
    "HOUR": ("hour", 1),
    "DAY": ("day", 1),
    "WEEK": ("day", 7),
    "MONTH": ("month", 1),
    "QUARTER": ("month", 3),
    "YEAR": ("month", 12),
}
"""For each unit of time in MySQL: a unit that every database has, and how many of it make one."""
_MICROSECONDS = {
    "MICROSECOND": 1,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
    "WEEK": 604_800_000_000,
}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_FIRST_MOMENT = "0001-01-01 00:00:00"
_LAST_MOMENT = "9999-12-31 23:59:59.999999"
_EXACT_AMOUNT = 2**53
"""Whole numbers below this are exact in a DOUBLE, with which PostgreSQL multiplies an interval."""
_PARTS_OF_TIME = frozenset({"HOUR", "MINUTE", "SECOND", "MICROSECOND"})
# In SHA2, 0 means 256 bits.
_SHA_BITS = ("0", "256")

Call = Callable[["Calls", exp.Expr, list[exp.Expr]], Expression]
SPECIAL: dict[tuple[str, int | None], Call] = {}
"""The function that translates each function, by name and number of arguments (None is any)."""


def special(*names: str, counts: Sequence[int | None]) -> Callable[[Call], Call]:
    """Register the translation of functions by their names and numbers of arguments."""

    def register(call: Call) -> Call:
        SPECIAL.update({(name, count): call for name in names for count in counts})
        return call

    return register


class Calls(Operators):
    """Translates expressions with calls of functions."""

    by_node = {  # noqa: RUF012 - as in the base
        **Operators.by_node,
        exp.Anonymous: "_called",
        exp.If: "_if",
        exp.Trim: "_trim",
        exp.Substring: "_substring_node",
        exp.StrPosition: "_position",
        exp.Extract: "_extract",
        exp.CurrentDate: "_current",
        exp.CurrentTimestamp: "_current",
        exp.Localtime: "_current",
        exp.Localtimestamp: "_current",
    }

    def _called(self, node: exp.Anonymous) -> Expression:
        return self.call(node.name.upper(), node, node.expressions)

    def call(self, name: str, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
        """Return a call of a function, from its name in upper case."""
        found = SPECIAL.get((name, len(arguments))) or SPECIAL.get((name, None))
        if found:
            return found(self, node, arguments)
        function = functions.BY_NAME.get((name, len(arguments)))
        if function is None:
            raise untranslatable(node)
        if name in functions.FOLDING:
            self.context.folded.append(node)
        if (
            name in _PARTS_OF_TIME
            and self.of(arguments[0]).literal
            and not datetime_in(self.of(arguments[0]).literal or "")
        ):
            raise untranslatable(node, "MySQL reads a text without a time as a time of day")
        return self.from_table(function, node, arguments)

    def from_table(
        self,
        function: functions.Function,
        node: exp.Expr,
        arguments: Sequence[exp.Expr | Expression],
    ) -> Expression:
        """Return a call of a function of `functions.py`."""
        taken = [
            self._taken(each, how) for each, how in zip(arguments, function.takes, strict=True)
        ]
        sql = function.template(self.target.name).format(*taken)
        return Expression(sql, function.gives, node)

    def _taken(self, given: exp.Expr | Expression, how: str) -> str:
        """Return an argument as SQL, cast as the `takes` of its function says."""
        if isinstance(given, Expression):
            return self.target.datetime(given) if how == "datetime" else given.sql
        match how:
            case "text":
                return self.text(given)
            case "integer":
                return self.whole(given)
            case "double":
                return self.target.double(self.number(given))
            case "date":
                return self.target.date(self.moment(given))
        return self.target.datetime(self.moment(given))

    def _python(self, name: str, *arguments: str) -> str:
        return f"mysql_{name}({', '.join(arguments)})"

    @property
    def has_python(self) -> bool:
        """Whether the target has the functions of `sqlite_functions/`."""
        return self.target.has_python_functions

    def literal_whole(self, node: exp.Expr, whole: exp.Expr) -> int:
        """Return the value of a literal whole number. All other expressions are refused."""
        is_negative = isinstance(node, exp.Neg)
        number = node.this if is_negative else node
        if not isinstance(number, exp.Literal) or number.is_string or not number.this.isdigit():
            raise untranslatable(whole, "a literal whole number is needed")
        return -int(number.this) if is_negative else int(number.this)

    def literal_text(self, node: exp.Expr, whole: exp.Expr) -> str:
        """Return the value of a literal text. All other expressions are refused."""
        given = self.of(node)
        if given.literal is None:
            raise untranslatable(whole, "a literal text is needed")
        return given.literal

    # Functions with their own syntax

    def _if(self, node: exp.If) -> Expression:
        # IF has three arguments in MySQL. sqlglot parses it with two as well.
        if node.args.get("false") is None:
            raise untranslatable(node)
        return self.chosen(
            node, [self.condition(node.this)], [node.args["true"], node.args["false"]]
        )

    def _trim(self, node: exp.Trim) -> Expression:
        name = {"LEADING": "LTRIM", "TRAILING": "RTRIM"}.get(str(node.args.get("position")), "TRIM")
        removed = self.literal_text(node.expression, node) if node.expression else " "
        if len(removed) != 1:
            raise untranslatable(node, "MySQL removes the whole text; one character is needed")
        function = {
            "LTRIM": "LTRIM",
            "RTRIM": "RTRIM",
            "TRIM": self.target.trim,
        }
        sql = self.target.called(
            function[name], [self.text(node.this), self.target.text_literal(removed)]
        )
        return Expression(sql, TEXT, node)

    def _substring_node(self, node: exp.Substring) -> Expression:
        length = node.args.get("length")
        return _substring(
            self, node, [node.this, node.args["start"], *([length] if length else [])]
        )

    def _position(self, node: exp.StrPosition) -> Expression:
        if node.args.get("position") or node.args.get("occurrence"):
            raise untranslatable(node)
        # POSITION(part IN text) is INSTR(text, part).
        return self.call("INSTR", node, [node.this, node.args["substr"]])

    def _extract(self, node: exp.Extract) -> Expression:
        unit = node.name.upper()
        # EXTRACT(unit FROM value) is the function that has the name of the unit.
        names = (
            "YEAR",
            "QUARTER",
            "MONTH",
            "WEEK",
            "DAY",
            "HOUR",
            "MINUTE",
            "SECOND",
            "MICROSECOND",
        )
        if unit in names:
            return self.call(unit, node, [node.expression])
        if unit != "YEAR_MONTH":
            raise untranslatable(node)
        year, month = (self.call(name, node, [node.expression]).sql for name in ("YEAR", "MONTH"))
        return Expression(f"({year} * 100 + {month})", INTEGER, node)

    def _current(self, node: exp.Func) -> Expression:
        if node.this:
            raise untranslatable(node, "it must have no digits of a second")
        return self.call("CURDATE" if isinstance(node, exp.CurrentDate) else "NOW", node, [])

    # Dates and datetimes

    def interval(
        self, node: exp.Expr, moment: exp.Expr, interval: exp.Interval, sign: str
    ) -> Expression:
        unit = (interval.text("unit") or "").upper()
        if unit not in UNITS or interval.this is None:
            raise untranslatable(
                node,
                "the units are MICROSECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER and"
                " YEAR",
            )
        return self._later(node, moment, interval.this, unit, sign)

    def _later(
        self, node: exp.Expr, moment: exp.Expr, amount: exp.Expr, unit: str, sign: str
    ) -> Expression:
        given, count = self.moment(moment), self.whole(amount)
        name, times = UNITS[unit]
        if unit == "MICROSECOND" and not (
            amount.name.isdigit() and int(amount.name) < _EXACT_AMOUNT
        ):
            raise untranslatable(node, "a number of microseconds must be a literal")
        if times != 1 or sign == "-":
            count = f"({count} * {-times if sign == '-' else times})"
        # A date plus days or months is a date. Plus a smaller unit, it is a datetime.
        is_date = given.kind is Kind.DATE and name in ("day", "month")
        kind, take = (DATE, self.target.date) if is_date else (DATETIME, self.target.datetime)
        # In MySQL, a literal text plus an interval is a text.
        if isinstance(moment, exp.Literal) or given.type.name == FROM_TEXT:
            kind = replace(kind, name=FROM_TEXT)
        if unit == "MICROSECOND" or given.type.scale:
            kind = replace(kind, scale=6)
        if self.has_python:
            sql = self._python("add", take(given), count, f"'{name}'", str(int(is_date)))
            return Expression(sql, kind, node)
        if self.target.name == "duckdb":
            sql = f"({take(given)} + INTERVAL ({count}) {name.upper()})"
        else:
            sql = f"({take(given)} + {count} * INTERVAL '1 {name}')"
        # MySQL has the years 1 to 9999, and returns NULL outside of them.
        first, last = (self.target.datetime_literal(each) for each in (_FIRST_MOMENT, _LAST_MOMENT))
        within = f"CASE WHEN {sql} BETWEEN {first} AND {last} THEN {sql} END"
        return Expression(f"CAST({within} AS DATE)" if is_date else within, kind, node)

    def between(self, node: exp.Expr, unit: str, begin: exp.Expr, end: exp.Expr) -> Expression:
        """Return TIMESTAMPDIFF: the whole units of time from one date or datetime to another."""
        first, last = (self.target.datetime(self.moment(each)) for each in (begin, end))
        if unit in _MICROSECONDS:
            return self._whole_units(node, _MICROSECONDS[unit], first, last)
        if unit not in _MONTHS:
            raise untranslatable(node)
        months = self._months(first, last)
        if _MONTHS[unit] == 1:
            return Expression(months, INTEGER, node)
        divided = f"({months} {self.target.whole_division} {_MONTHS[unit]})"
        return Expression(divided, INTEGER, node)

    def _whole_units(self, node: exp.Expr, microseconds: int, first: str, last: str) -> Expression:
        if self.has_python:
            sql = f"({self._python('microseconds_between', first, last)} / {microseconds})"
        elif self.target.name == "duckdb":
            sql = f"((EPOCH_US({last}) - EPOCH_US({first})) // {microseconds})"
        else:
            sql = (
                f"CAST(TRUNC(EXTRACT(EPOCH FROM ({last} - {first})) * 1000000 / {microseconds}) AS"
                " BIGINT)"
            )
        return Expression(sql, INTEGER, node)

    def _months(self, first: str, last: str) -> str:
        if self.has_python:
            return self._python("months_between", first, last)
        month = "(EXTRACT(YEAR FROM {0}) * 12 + EXTRACT(MONTH FROM {0}))"
        in_month = {
            "postgres": "({0} - DATE_TRUNC('month', {0}))",
            "duckdb": "(EPOCH_US({0}) - EPOCH_US(DATE_TRUNC('month', {0})))",
        }[self.target.name]
        months = f"{month.format(last)} - {month.format(first)}"
        # The last month is not whole if the end is earlier in its month than the beginning is.
        later, earlier = (
            f"{in_month.format(one)} < {in_month.format(two)}"
            for one, two in ((last, first), (first, last))
        )
        return (
            f"CAST(CASE WHEN {first} <= {last} THEN {months} - CASE WHEN {later} THEN 1 ELSE 0 END"
            f" ELSE {months} + CASE WHEN {earlier} THEN 1 ELSE 0 END END AS BIGINT)"
        )

    def formatted(self, node: exp.Expr, given: str, pattern: str) -> Expression:
        """Return the text of DATE_FORMAT, from the SQL of a datetime."""
        if self.has_python:
            return Expression(
                self._python("date_format", given, self.target.text_literal(pattern)), TEXT, node
            )
        parts = [self._format_part(kind, text, given) for kind, text in formats.pieces(pattern)]
        # A pattern of texts alone must still give NULL for NULL.
        first = (
            f"CASE WHEN {given} IS NOT NULL THEN '' END"
            if not any(given in part for part in parts)
            else ""
        )
        return Expression(f"({' || '.join([*([first] if first else []), *parts])})", TEXT, node)

    def _format_part(self, kind: str, text: str, given: str) -> str:
        if kind == "text":
            return self.target.text_literal(text)
        numbers = {
            "U": functions.WEEK_FROM_SUNDAY,
            "u": functions.WEEK_OF_FOUR_DAYS,
            "V": functions.WEEK_OF_ITS_SUNDAY,
            "X": functions.YEAR_OF_ITS_SUNDAY,
        }
        # The database formats most letters itself. The SQL of the others is computed here.
        own = formats.OF_POSTGRESQL if self.target.name == "postgres" else formats.OF_DUCKDB
        if text in own:
            shown = f"TO_CHAR({given}, '{own[text]}')" if own is formats.OF_POSTGRESQL else ""
            return shown or f"STRFTIME({given}, '{own[text]}')"
        if text in numbers:
            number = numbers[text].template(self.target.name).format(given)
            return f"LPAD(CAST({number} AS VARCHAR), {4 if text == 'X' else 2}, '0')"
        if text == "w":
            return f"CAST(CAST(EXTRACT(DOW FROM {given}) AS INT) AS VARCHAR)"
        assert text == "D", text  # noqa: S101 - all other letters are above
        # D is the day of the month with its suffix: 1st, 2nd, 3rd, 4th, 11th.
        day = f"CAST(EXTRACT(DAY FROM {given}) AS INT)"
        return (
            f"CAST({day} AS VARCHAR) || CASE WHEN {day} IN (11, 12, 13) THEN 'th' WHEN {day} % 10 ="
            f" 1 THEN 'st' WHEN {day} % 10 = 2 THEN 'nd' WHEN {day} % 10 = 3 THEN 'rd' ELSE"
            " 'th' END"
        )

    def rounded_to(
        self, node: exp.Expr, given: Expression, digits: int, *, cut: bool
    ) -> Expression:
        """Return a number rounded to so many digits, or cut for TRUNCATE."""
        if given.kind is Kind.DOUBLE:
            return self._rounded_double(node, given, digits, cut=cut)
        # A whole number has no digits after its point.
        if given.kind is Kind.INTEGER and digits >= 0:
            return Expression(self.target.value(given), INTEGER, node, given.form)
        name = "truncate" if cut else "round"
        if given.kind is Kind.INTEGER:
            return self._rounded_whole(node, given, digits, name)
        kind = decimal(max(digits, 0))
        if self.has_python:
            return Expression(self._python(name, given.sql, str(digits)), kind, node, Form.DIGITS)
        function = {"truncate": "TRUNC", "round": "ROUND"}[name]
        return Expression(f"{function}({self.target.decimal(given)}, {digits})", kind, node)

    def _rounded_whole(
        self, node: exp.Expr, given: Expression, digits: int, name: str
    ) -> Expression:
        if self.has_python:
            return Expression(self._python(name, given.sql, str(digits)), INTEGER, node)
        function = {"truncate": "TRUNC", "round": "ROUND"}[name]
        if self.target.name == "postgres":
            sql = f"CAST({function}({self.target.decimal(given)}, {digits}) AS BIGINT)"
            return Expression(sql, INTEGER, node)
        # The division cuts. To round, half of the power is added before it, away from 0.
        power, half = 10**-digits, 10**-digits // 2 if name == "round" else 0
        number = self.target.integer(given)
        sql = (
            f"(({number} + CASE WHEN {number} < 0 THEN -{half} ELSE {half} END) // {power} *"
            f" {power})"
        )
        return Expression(sql, INTEGER, node)

    def _rounded_double(
        self, node: exp.Expr, given: Expression, digits: int, *, cut: bool
    ) -> Expression:
        """Return a DOUBLE rounded half to even, as MySQL rounds it; TRUNCATE is refused."""
        if cut:
            raise untranslatable(
                node, "it has a floating-point number; write CAST(… AS DECIMAL(p, s)) around it"
            )
        number = self.target.double(given)
        if self.has_python:
            return Expression(self._python("round_double", number, str(digits)), DOUBLE, node)
        power = self.target.double(Expression(f"1{'0' * abs(digits)}", INTEGER, node))
        up, down = ("*", "/") if digits >= 0 else ("/", "*")
        rounded = self.target.round_double
        # MySQL has no negative 0, which the sum with 0 removes.
        sql = f"({rounded.format(f'{number} {up} {power}')} {down} {power} + 0)"
        return Expression(sql, DOUBLE, node)


@special("IFNULL", counts=[2])
@special("COALESCE", counts=[None])
def _coalesce(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    values, kind, form = self.unified(node, [self.of(each) for each in arguments])
    return Expression(
        f"COALESCE({', '.join(values)})" if len(values) > 1 else values[0], kind, node, form
    )


@special("NULLIF", counts=[2])
def _nullif(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = self.of(arguments[0])
    one, other = self.comparable(node, self.rounded(given), self.rounded(self.of(arguments[1])))
    # CASE, because the compared form of the value may differ from the returned one.
    sql = f"CASE WHEN {one} = {other} THEN NULL ELSE {self.target.value(given)} END"
    return Expression(
        sql, given.type, node, given.form if given.form is not Form.CONDITION else Form.PLAIN
    )


@special("ISNULL", counts=[1])
def _isnull(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    return self.truth(f"({self.of(arguments[0]).sql} IS NULL)", node)


@special("CONCAT", counts=[None])
def _concat(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    # CONCAT of PostgreSQL and DuckDB leaves NULL out. In MySQL, as with ||, NULL gives NULL.
    return Expression(f"({' || '.join(self.text(each) for each in arguments)})", TEXT, node)


@special("CONCAT_WS", counts=[None])
def _concat_ws(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    if len(arguments) < 2:  # noqa: PLR2004 - a separator and what it separates
        raise untranslatable(node)
    name = "mysql_concat_ws" if self.has_python else "CONCAT_WS"
    return Expression(self.target.called(name, [self.text(each) for each in arguments]), TEXT, node)


@special("GREATEST", "LEAST", counts=[None])
def _extreme(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = [self.of(each) for each in arguments]
    if any(each.kind in MOMENTS for each in given):
        given = [self.as_moment(each) for each in given]
    kinds = {each.kind for each in given} - {Kind.NULL}
    if self.context.schema is None:
        # The types of columns are not known yet, so that none of them is wrong.
        kinds -= {Kind.UNKNOWN}
    if not (kinds <= NUMBERS or kinds <= MOMENTS or kinds == {Kind.TEXT}) or len(given) < 2:  # noqa: PLR2004
        raise untranslatable(node, "its arguments must be all numbers, all dates or all texts")
    if Kind.TEXT in kinds:
        self.context.folded.append(node)
    if any(each.type.name == FROM_TEXT or each.type.excess for each in given):
        raise untranslatable(
            node,
            "write CAST(… AS …) around a quotient, and around a date that is computed from a text",
        )
    values, kind, form = self.unified(node, given)
    name = node.name.upper()
    if self.has_python:
        # Decimals as texts would be compared as texts.
        if form is Form.DIGITS:
            values, form = [f"CAST({each} AS REAL)" for each in values], Form.PLAIN
        return Expression(
            f"{'max' if name == 'GREATEST' else 'min'}({', '.join(values)})", kind, node, form
        )
    # GREATEST and LEAST of PostgreSQL and DuckDB leave NULL out. In MySQL, NULL gives NULL.
    missing = " OR ".join(f"{each} IS NULL" for each in values)
    return Expression(
        f"CASE WHEN {missing} THEN NULL ELSE {name}({', '.join(values)}) END", kind, node, form
    )


@special("ELT", counts=[None])
def _elt(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    number = self.whole(arguments[0])
    texts = [self.text(each) for each in arguments[1:]]
    parts = [f"WHEN {number} = {place} THEN {text}" for place, text in enumerate(texts, start=1)]
    return Expression(f"CASE {' '.join(parts)} END", TEXT, node)


@special("FIELD", counts=[None])
def _field(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = self.of(arguments[0])
    if given.kind in MOMENTS:
        raise untranslatable(node, "MySQL compares dates as texts here; write CASE")
    pairs = [self.comparable(node, given, self.of(each)) for each in arguments[1:]]
    parts = [
        f"WHEN {one} = {other} THEN {place}" for place, (one, other) in enumerate(pairs, start=1)
    ]
    # The result is 0 if no value is equal, and if the first one is NULL.
    return Expression(f"CASE {' '.join(parts)} ELSE 0 END", INTEGER, node)


@special("ROUND", counts=[1, 2])
@special("TRUNCATE", counts=[2])
def _round(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    digits = self.literal_whole(arguments[1], node) if len(arguments) > 1 else 0
    return self.rounded_to(
        node, self.number(arguments[0]), digits, cut=node.name.upper() == "TRUNCATE"
    )


@special("CEIL", "CEILING", "FLOOR", counts=[1])
def _whole_beside(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    """Return CEIL or FLOOR. The result is a whole number, but a DOUBLE for a DOUBLE."""
    given = self.number(arguments[0])
    name = "FLOOR" if node.name.upper() == "FLOOR" else "CEIL"
    if given.kind is Kind.INTEGER:
        return Expression(self.target.value(given), INTEGER, node)
    is_double = given.kind is Kind.DOUBLE
    if self.has_python:
        python = f"{name.lower()}{'_double' if is_double else ''}"
        return Expression(self._python(python, given.sql), DOUBLE if is_double else INTEGER, node)
    if is_double:
        # MySQL has no negative 0, which the sum with 0 removes.
        return Expression(f"({name}({self.target.double(given)}) + 0)", DOUBLE, node)
    return Expression(f"CAST({name}({self.target.decimal(given)}) AS BIGINT)", INTEGER, node)


@special("ABS", counts=[1])
def _abs(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = self.number(arguments[0])
    if self.has_python and given.kind is Kind.DECIMAL:
        return Expression(self._python("abs", given.sql), given.type, node, Form.DIGITS)
    return Expression(f"ABS({self.target.number(given, given.type)})", given.type, node)


@special("SIGN", counts=[1])
def _sign(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    number = self.target.comparable(self.number(arguments[0]))
    return Expression(
        f"CASE WHEN {number} > 0 THEN 1 WHEN {number} < 0 THEN -1 WHEN {number} = 0 THEN 0 END",
        INTEGER,
        node,
    )


@special("MOD", counts=[2])
def _mod(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    one, other = (self.number(each) for each in arguments)
    return self.computed(node, "%", one, other)


@special("SUBSTRING", "SUBSTR", "MID", counts=[2, 3])
def _substring(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    text, start = self.text(arguments[0]), self.whole(arguments[1])
    counts = [self.whole(each) for each in arguments[2:]]
    if self.has_python:
        name = "substring_of" if counts else "substring"
        return Expression(self._python(name, text, start, *counts), TEXT, node)
    # PostgreSQL's SUBSTR takes INT, and no BIGINT.
    whole = "CAST({} AS INT)" if self.target.name == "postgres" else "{}"
    length = self.target.char_length
    # The rules of MySQL for a start below 1 and for a negative length are not those of SUBSTR, so
    # the SQL contains them.
    cut = "".join(
        f", {whole.format(f'CASE WHEN {each} < 0 THEN 0 ELSE {each} END')}" for each in counts
    )
    from_end = f"{length}({text}) + {start} + 1"
    sql = (
        f"CASE WHEN {start} > 0 THEN SUBSTR({text}, {whole.format(start)}{cut}) WHEN {start} < 0"
        f" AND {from_end} > 0 THEN SUBSTR({text}, {whole.format(from_end)}{cut}) WHEN"
        f" {' AND '.join(f'{each} IS NOT NULL' for each in (start, *counts))} THEN SUBSTR({text},"
        " 1, 0) END"
    )
    return Expression(sql, TEXT, node)


@special("SUBSTRING_INDEX", counts=[3])
def _substring_index(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    text, mark = self.text(arguments[0]), self.literal_text(arguments[1], node)
    count = self.literal_whole(arguments[2], node)
    if not mark:
        raise untranslatable(node, "its separator is empty")
    quoted = self.target.text_literal(mark)
    if self.has_python:
        return Expression(self._python("substring_index", text, quoted, f"({count})"), TEXT, node)
    if count == 0:
        # An empty text, or NULL for NULL.
        return Expression(f"LEFT({text}, 0)", TEXT, node)
    parts = f"{self.target.split_text}({text}, {quoted})"
    if count > 0:
        return Expression(f"ARRAY_TO_STRING(({parts})[1:{count}], {quoted})", TEXT, node)
    if self.target.name == "duckdb":
        return Expression(f"ARRAY_TO_STRING(({parts})[{count}:], {quoted})", TEXT, node)
    # PostgreSQL does not count array positions from the end.
    first = f"GREATEST(CARDINALITY({parts}) - {-count - 1}, 1)"
    return Expression(f"ARRAY_TO_STRING(({parts})[{first}:], {quoted})", TEXT, node)


@special("LPAD", "RPAD", counts=[3])
def _padded(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    count, filling = self.literal_whole(arguments[1], node), self.literal_text(arguments[2], node)
    if count < 0 or not filling:
        raise untranslatable(
            node, "its length must be 0 or more, and its filling must not be empty"
        )
    name = node.name.upper()
    given = [self.text(arguments[0]), str(count), self.target.text_literal(filling)]
    return Expression(
        self.target.called(f"mysql_{name.lower()}" if self.has_python else name, given), TEXT, node
    )


@special("SHA2", counts=[2])
def _sha2(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    if str(self.literal_whole(arguments[1], node)) not in _SHA_BITS:
        raise untranslatable(node, "256 bits are needed")
    text = self.text(arguments[0])
    sql = {
        "postgres": f"ENCODE(SHA256(CONVERT_TO({text}, 'UTF8')), 'hex')",
        "duckdb": f"SHA256({text})",
        "sqlite": self._python("sha2", text),
    }[self.target.name]
    return Expression(sql, TEXT, node)


@special("DATE_FORMAT", counts=[2])
def _date_format(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given, pattern = (
        self.target.datetime(self.moment(arguments[0])),
        self.literal_text(arguments[1], node),
    )
    if not pattern:
        raise untranslatable(node, "its pattern is empty")
    return self.formatted(node, given, pattern)


@special("DATE_ADD", "DATE_SUB", "ADDDATE", "SUBDATE", counts=[2])
def _date_add(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    sign = "-" if node.name.upper() in ("DATE_SUB", "SUBDATE") else "+"
    if isinstance(arguments[1], exp.Interval):
        return self.interval(node, arguments[0], arguments[1], sign)
    if node.name.upper() in ("DATE_ADD", "DATE_SUB"):
        raise untranslatable(node)
    return self._later(node, arguments[0], arguments[1], "DAY", sign)


@special("TIMESTAMPADD", counts=[3])
def _timestampadd(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    unit = arguments[0].name.upper().removeprefix("SQL_TSI_")
    if unit not in UNITS:
        raise untranslatable(node)
    return self._later(node, arguments[2], arguments[1], unit, "+")


@special("TIMESTAMPDIFF", counts=[3])
def _timestampdiff(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    unit = arguments[0].name.upper().removeprefix("SQL_TSI_")
    return self.between(node, unit, arguments[1], arguments[2])


@special("WEEK", "YEARWEEK", counts=[2])
def _week(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    # The mode says with which weekday a week begins, and which week of a year is the first.
    mode = self.literal_whole(arguments[1], node)
    by_mode = {
        "WEEK": {
            0: functions.WEEK_FROM_SUNDAY,
            1: functions.WEEK_OF_FOUR_DAYS,
            2: functions.WEEK_OF_ITS_SUNDAY,
            3: functions.ISO_WEEK,
        },
        "YEARWEEK": {
            0: functions.BY_NAME["YEARWEEK", 1],
            1: functions.ISO_YEAR_AND_WEEK,
            2: functions.BY_NAME["YEARWEEK", 1],
            3: functions.ISO_YEAR_AND_WEEK,
        },
    }[node.name.upper()]
    if mode not in by_mode:
        raise untranslatable(node, "its mode must be 0, 1, 2 or 3")
    return self.from_table(by_mode[mode], node, arguments[:1])


@special("FROM_UNIXTIME", counts=[1, 2])
def _from_unixtime(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    seconds = self.whole(arguments[0])
    begin = self.target.datetime_literal("1970-01-01 00:00:00")
    later = {
        "postgres": f"{begin} + {seconds} * INTERVAL '1 second'",
        "duckdb": f"{begin} + INTERVAL ({seconds}) SECOND",
        "sqlite": self._python("add", begin, seconds, "'second'", "0"),
    }[self.target.name]
    # MariaDB returns NULL after January 2038.
    found = f"CASE WHEN {seconds} BETWEEN 0 AND 2147483647 THEN {later} END"
    if len(arguments) == 1:
        return Expression(found, DATETIME, node)
    return self.formatted(node, f"({found})", self.literal_text(arguments[1], node))


@special("STR_TO_DATE", counts=[2])
def _str_to_date(self: Calls, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    """Return the date in a literal text, in a format of MySQL.

    The text of a column is refused, because no other database reads it exactly as MySQL does.
    """
    text, pattern = (self.literal_text(each, node) for each in arguments)
    # For each of MySQL's letters, the directive of strptime.
    known = {
        "Y": "%Y",
        "m": "%m",
        "d": "%d",
        "H": "%H",
        "i": "%M",
        "s": "%S",
        "S": "%S",
        "T": "%H:%M:%S",
    }
    parts = formats.pieces(pattern)
    letters = {part for kind, part in parts if kind == "specifier"}
    if "%%" in pattern or not letters <= set(known) or not {"Y", "m", "d"} <= letters:
        raise untranslatable(node, "its format must have %Y, %m and %d, and may have %H, %i and %s")
    shape = "".join(
        known[part] if kind == "specifier" else part.replace("%", "%%") for kind, part in parts
    )
    try:
        found = datetime.strptime(text, shape)  # noqa: DTZ007 - UTC
    except ValueError as error:
        raise untranslatable(node, "the text is not a date of this format") from error
    has_time = bool(letters & {"H", "i", "s", "S"})
    shown = found.isoformat(sep=" ", timespec="seconds") if has_time else found.date().isoformat()
    return self.as_moment(Expression("", TEXT, node, literal=shown))
