"""Random expressions of MySQL's dialect over the rows of test_idioms.py."""

from random import Random

_DATES = ("d", "dt", "'2024-02-29'", "'2023-12-31 23:59:59'")
_FORMATS = ("%Y-%m", "%d.%m.%Y", "%H:%i", "%a %e", "%x-%v", "%j", "%M %D", "%y%c")
_NUMBERS = ("n", "m", "x", "id", "7", "-3", "0", "2.5", "0.05", "100", "b")
_PARTS = (
    "YEAR",
    "MONTH",
    "DAY",
    "QUARTER",
    "WEEKDAY",
    "DAYOFYEAR",
    "WEEK",
    "HOUR",
    "YEARWEEK",
    "TO_DAYS",
    "MINUTE",
)
_TEXTS = ("s", "u", "'a-b'", "''", "' é '")
_UNITS = ("DAY", "MONTH", "YEAR", "HOUR", "MINUTE", "WEEK", "QUARTER", "SECOND")
_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")


def any_expression(drawn: Random) -> str:
    """Return a random expression, nested up to three levels deep."""
    kind = drawn.choice((_number, _number, _text, _date, _condition))
    return kind(drawn, drawn.randrange(1, 4))


def _number(drawn: Random, depth: int) -> str:
    if depth <= 0:
        return drawn.choice(_NUMBERS)
    one, other = (_number(drawn, depth - 1) for _ in range(2))
    condition, text = _condition(drawn, depth - 1), _text(drawn, depth - 1)
    day, other_day = (_date(drawn, depth - 1) for _ in range(2))
    return drawn.choice(
        (
            f"({one} {drawn.choice('+-*')} {other})",
            f"({one} {drawn.choice('+-*')} {other})",
            f"({one} / {other})",
            f"ROUND({one}, {drawn.randrange(-1, 4)})",
            f"ROUND({one})",
            f"COALESCE({one}, {other})",
            f"IF({condition}, {one}, {other})",
            f"CASE WHEN {condition} THEN {one} ELSE {other} END",
            f"{drawn.choice(('ABS', 'SIGN', 'CEIL', 'FLOOR'))}({one})",
            f"({one} {drawn.choice(('%', 'DIV'))} {other})",
            f"{drawn.choice(_PARTS)}({day})",
            f"DATEDIFF({day}, {other_day})",
            f"TIMESTAMPDIFF({drawn.choice(_UNITS)}, {day}, {other_day})",
            f"{drawn.choice(('CHAR_LENGTH', 'LENGTH'))}({text})",
            f"CAST({one} AS {drawn.choice(('SIGNED', 'DECIMAL(30,2)', 'DECIMAL(30,0)'))})",
            f"TRUNCATE({one}, {drawn.randrange(4)})",
            f"{drawn.choice(('GREATEST', 'LEAST'))}({one}, {other})",
            f"(-{one})",
            f"({condition})",
        )
    )


def _date(drawn: Random, depth: int) -> str:
    if depth <= 0:
        return drawn.choice(_DATES)
    one, other = (_date(drawn, depth - 1) for _ in range(2))
    return drawn.choice(
        (
            (
                f"DATE_ADD({one}, INTERVAL {drawn.choice(('1', '-2', 'm', '3'))}"
                f" {drawn.choice(_UNITS)})"
            ),
            (
                f"DATE_SUB({one}, INTERVAL {drawn.choice(('1', '-2', 'm', '3'))}"
                f" {drawn.choice(_UNITS)})"
            ),
            f"LAST_DAY({one})",
            f"DATE({one})",
            f"COALESCE({one}, {other})",
            f"IF({_condition(drawn, depth - 1)}, {one}, {other})",
        )
    )


def _text(drawn: Random, depth: int) -> str:
    if depth <= 0:
        return drawn.choice(_TEXTS)
    one, other = (_text(drawn, depth - 1) for _ in range(2))
    number, day = _number(drawn, depth - 1), _date(drawn, depth - 1)
    return drawn.choice(
        (
            f"CONCAT({one}, {drawn.choice((other, number, day))})",
            f"{drawn.choice(('UPPER', 'LOWER', 'TRIM', 'LTRIM', 'RTRIM'))}({one})",
            (
                f"SUBSTRING({one}, {drawn.choice(('1', '2', '-2', 'm', '0'))},"
                f" {drawn.choice(('1', '3', 'm'))})"
            ),
            f"{drawn.choice(('LEFT', 'RIGHT'))}({one}, {drawn.choice(('1', '2', 'm'))})",
            f"REPLACE({one}, {drawn.choice(_TEXTS)}, {other})",
            f"COALESCE({one}, {other})",
            f"DATE_FORMAT({day}, '{drawn.choice(_FORMATS)}')",
            f"CAST({drawn.choice((one, number, day))} AS CHAR)",
            f"LPAD({number}, 4, '0')",
            f"SUBSTRING_INDEX({one}, '-', {drawn.choice(('1', '-1', '2'))})",
            f"IF({_condition(drawn, depth - 1)}, {one}, {other})",
            f"CONCAT_WS('-', {one}, {drawn.choice((other, number))})",
        )
    )


def _condition(drawn: Random, depth: int) -> str:
    one, other = (_number(drawn, depth - 1) for _ in range(2))
    if depth <= 0:
        return f"{one} {drawn.choice(_COMPARISONS)} {other}"
    condition = _condition(drawn, depth - 1)
    day, other_day = (_date(drawn, depth - 1) for _ in range(2))
    return drawn.choice(
        (
            f"{one} {drawn.choice(_COMPARISONS)} {other}",
            f"{day} {drawn.choice(_COMPARISONS)} {other_day}",
            f"({condition} {drawn.choice(('AND', 'OR', 'XOR'))} {_condition(drawn, depth - 1)})",
            f"NOT {condition}",
            f"{drawn.choice((one, day))} IS {drawn.choice(('', 'NOT '))}NULL",
            f"{one} BETWEEN {other} AND {_number(drawn, depth - 1)}",
        )
    )
