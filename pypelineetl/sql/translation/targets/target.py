"""A database for which queries are translated, as the parts that write its SQL."""

from dataclasses import dataclass

from pypelineetl.sql.translation.targets.arithmetic import Arithmetic
from pypelineetl.sql.translation.targets.casts import Casts
from pypelineetl.sql.translation.targets.dates import Dates
from pypelineetl.sql.translation.targets.literals import Literals
from pypelineetl.sql.translation.targets.texts import Texts
from pypelineetl.sql.translation.targets.values import Values


@dataclass(frozen=True)
class Target:
    """A database for which queries are translated."""

    literals: Literals
    """Names and literals."""
    values: Values
    """Values of MySQL's types, in the forms that comparisons and functions need."""
    arithmetic: Arithmetic
    """Sums, quotients and rounded numbers."""
    casts: Casts
    """Explicit casts."""
    texts: Texts
    """Functions of texts."""
    dates: Dates
    """Functions of dates."""
