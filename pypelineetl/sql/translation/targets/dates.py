"""Write MySQL's functions of dates in the SQL of a target database."""

from pypelineetl.sql.translation.formats import pieces
from pypelineetl.sql.translation.functions import (
    WEEK_FROM_SUNDAY,
    WEEK_OF_FOUR_DAYS,
    WEEK_OF_ITS_SUNDAY,
    YEAR_OF_ITS_SUNDAY,
    Function,
)
from pypelineetl.sql.translation.targets.literals import Literals

_FIRST_MOMENT = "0001-01-01 00:00:00"
_LAST_MOMENT = "9999-12-31 23:59:59.999999"
_COMPUTED = {
    "U": (WEEK_FROM_SUNDAY, 2),
    "u": (WEEK_OF_FOUR_DAYS, 2),
    "V": (WEEK_OF_ITS_SUNDAY, 2),
    "X": (YEAR_OF_ITS_SUNDAY, 4),
}
"""For each letter of DATE_FORMAT that is computed: the function, and the number of digits."""


class Dates:
    """Functions of dates in the SQL that PostgreSQL and DuckDB share.

    All arguments are SQL. Dates and datetimes are cast to these types
    already.
    """

    def __init__(self, literals: Literals) -> None:
        self._literals = literals

    def template(self, function: Function) -> str:
        """Return the SQL of a function, in which {0} is the first argument."""
        raise NotImplementedError

    def later(self, begin: str, count: str, unit: str, *, is_date: bool) -> str:
        """Return a date or datetime plus so many units of time.

        Args:
            begin: The date or datetime.
            count: The number of units, which may be negative.
            unit: microsecond, second, minute, hour, day or month.
            is_date: Whether the result is a date.
        """
        sql = f"({self.plus(begin, count, unit)})"
        # MySQL has the years 1 to 9999, and returns NULL outside of them.
        first, last = map(self._literals.datetime, (_FIRST_MOMENT, _LAST_MOMENT))
        within = f"CASE WHEN {sql} BETWEEN {first} AND {last} THEN {sql} END"
        return f"CAST({within} AS DATE)" if is_date else within

    def plus(self, begin: str, count: str, unit: str) -> str:
        """Return a date or datetime plus so many units of time, in any year."""
        raise NotImplementedError

    def units_between(self, first: str, last: str, microseconds: int) -> str:
        """Return the whole units of time between two datetimes.

        Args:
            first: The first datetime.
            last: The last datetime.
            microseconds: The length of the unit.
        """
        raise NotImplementedError

    def months_between(self, first: str, last: str) -> str:
        """Return the whole months between two datetimes; negative if the second is earlier."""
        months = f"{_month_number(last)} - {_month_number(first)}"
        # The last month is not whole if the end is earlier in its month
        # than the beginning is.
        is_later = f"{self.in_month(last)} < {self.in_month(first)}"
        is_earlier = f"{self.in_month(first)} < {self.in_month(last)}"
        return (
            f"CAST(CASE WHEN {first} <= {last}"
            f" THEN {months} - CASE WHEN {is_later} THEN 1 ELSE 0 END"
            f" ELSE {months} + CASE WHEN {is_earlier} THEN 1 ELSE 0 END END AS BIGINT)"
        )

    def in_month(self, moment: str) -> str:
        """Return the time from the beginning of the month to a datetime, to compare it."""
        raise NotImplementedError

    def formatted(self, moment: str, pattern: str) -> str:
        """Return the text of DATE_FORMAT, from a datetime and a pattern of MySQL."""
        parts = []
        for kind, text in pieces(pattern):
            is_text = kind == "text"
            parts.append(self._literals.text(text) if is_text else self._shown(moment, text))
        if not any(moment in part for part in parts):
            # A pattern of texts alone must still give NULL for NULL.
            parts.insert(0, f"CASE WHEN {moment} IS NOT NULL THEN '' END")
        return f"({' || '.join(parts)})"

    def _shown(self, moment: str, letter: str) -> str:
        """Return the text of one letter of DATE_FORMAT."""
        # The database formats most letters itself. The SQL of the others is
        # computed here.
        if own := self.own_format(moment, letter):
            return own
        if letter in _COMPUTED:
            function, digits = _COMPUTED[letter]
            number = self.template(function).format(moment)
            return f"LPAD(CAST({number} AS VARCHAR), {digits}, '0')"
        if letter == "w":
            return f"CAST(CAST(EXTRACT(DOW FROM {moment}) AS INT) AS VARCHAR)"
        assert letter == "D", letter  # noqa: S101 - all other letters are above
        return _ordinal(f"CAST(EXTRACT(DAY FROM {moment}) AS INT)")

    def own_format(self, moment: str, letter: str) -> str:
        """Return the text of a letter by the database's own function; empty if it has none."""
        raise NotImplementedError

    def of_unix_time(self, seconds: str) -> str:
        """Return the datetime so many seconds after 1970 began."""
        begin = self._literals.datetime("1970-01-01 00:00:00")
        return self.plus(begin, seconds, "second")


def _month_number(moment: str) -> str:
    """Return the number of a datetime's month since the year 0."""
    return f"(EXTRACT(YEAR FROM {moment}) * 12 + EXTRACT(MONTH FROM {moment}))"


def _ordinal(day: str) -> str:
    """Return a day of the month with its suffix: 1st, 2nd, 3rd, 4th, 11th."""
    return (
        f"CAST({day} AS VARCHAR)"
        f" || CASE WHEN {day} IN (11, 12, 13) THEN 'th'"
        f" WHEN {day} % 10 = 1 THEN 'st'"
        f" WHEN {day} % 10 = 2 THEN 'nd'"
        f" WHEN {day} % 10 = 3 THEN 'rd'"
        " ELSE 'th' END"
    )
