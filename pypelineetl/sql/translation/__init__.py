"""Translate a SELECT to another dialect, if it is proved to give the same rows there.

`functions.py`, `calls/`, `operators/` and `queries/` list what is allowed.
All other SQL is an error that names its place. testsuite/test_idioms.py
runs each part of the list on MariaDB and on the other databases, and
compares the rows.
"""

from pypelineetl.sql.translation.expressions import UntranslatableError
from pypelineetl.sql.translation.queries.translate import Translation, translate_tree
from pypelineetl.sql.translation.reading import parse_mysql, refuse_beyond_common
from pypelineetl.sql.translation.targets.registry import SCANNED_SQLITE
from pypelineetl.sql.translation.translator import Schema

__all__ = [
    "SCANNED_SQLITE",
    "Schema",
    "Translation",
    "UntranslatableError",
    "parse_mysql",
    "refuse_beyond_common",
    "translate_tree",
]
