"""Print the list of the SQL that is translated, for docs/databases.md.

Run it as `python -m pypelineetl.sql.translation.listing`.
"""

import sys
from collections.abc import Iterable

from pypelineetl.sql.translation import formats, functions
from pypelineetl.sql.translation.calls.aggregates import AGGREGATES
from pypelineetl.sql.translation.calls.windows import WINDOW_FUNCTIONS
from pypelineetl.sql.translation.handlers import FUNCTION_CALLS
from pypelineetl.sql.translation.operators.intervals import UNITS

_SYNTAX = (
    (
        "operators",
        (
            "`+ - * / % DIV MOD`, `&` with a literal number, `= <> < <= > >= <=>`, `AND"
            " OR XOR NOT`, `IS [NOT] NULL`, `IS [NOT] TRUE`, `IN`, `BETWEEN`, `LIKE` with `ESCAPE`,"
            " `CASE`, `date + INTERVAL n unit`"
        ),
    ),
    (
        "casts",
        (
            "`CAST` and `CONVERT` to `CHAR`, `CHAR(n)`, `SIGNED`, `DECIMAL(p, s)`, `DOUBLE`,"
            " `DATE`, `DATETIME`, `DATETIME(6)`; of texts `SIGNED` and, on SQLite, `DATE` and"
            " `DATETIME`"
        ),
    ),
    (
        "clauses",
        (
            "`SELECT [DISTINCT]`, `JOIN` (inner, `LEFT`, `RIGHT`, `CROSS`; `ON`, `USING`), `WHERE`,"
            " `GROUP BY` with all other columns in aggregates, `HAVING`, `ORDER BY`, `LIMIT`,"
            " `UNION [ALL]`, `WITH`, subqueries in `FROM`, `IN`, `EXISTS` and as a value, `OVER`"
            " with `PARTITION BY`, `ORDER BY` and frames of `ROWS`"
        ),
    ),
)


def listing() -> str:
    """Return the list as Markdown."""
    windows = f"{_names(WINDOW_FUNCTIONS)}, and aggregates"
    # These three have a syntax of their own, so they are in no table of
    # functions.
    called = {name for name, _ in (*functions.BY_NAME, *FUNCTION_CALLS)} | {
        "IF",
        "EXTRACT",
        "POSITION",
    }
    lines = [
        *_SYNTAX,
        ("functions", _names(called)),
        ("aggregates", _names((*AGGREGATES, "GROUP_CONCAT"))),
        ("windows", windows),
        ("units of time", _names(UNITS)),
        ("`DATE_FORMAT`", _names(f"%{letter}" for letter in formats.SPECIFIERS)),
    ]
    rows = [f"| {what} | {allowed} |\n" for what, allowed in lines]
    return "".join(["| | translated |\n|---|---|\n", *rows])


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    sys.stdout.write(listing())
