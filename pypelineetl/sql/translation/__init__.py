"""SELECTs in one dialect for databases of another: what is proved to give the same rows, and
nothing else.

What `functions.py`, `calls.py`, `operators.py`, `aggregates.py` and `selects.py` name is let
through. testsuite/test_idioms.py asks a MariaDB and the other databases the same, and compares. All
else is refused with its place.
"""

from pypelineetl.sql.translation.expressions import UntranslatableError
from pypelineetl.sql.translation.operators import Schema
from pypelineetl.sql.translation.reading import parse_mysql, refuse_beyond_common
from pypelineetl.sql.translation.selects import Translation, translate_tree
from pypelineetl.sql.translation.targets import SCANNED_SQLITE

__all__ = [
    "SCANNED_SQLITE",
    "Schema",
    "Translation",
    "UntranslatableError",
    "parse_mysql",
    "refuse_beyond_common",
    "translate_tree",
]
