"""The sample's operational database: a marketplace where students sell their study notes.

`write` creates it, day by day, in SQLite, MySQL/MariaDB or PostgreSQL. `python -m sample` does so
from the command line. It is the same every time: nothing depends on the clock or on chance.
"""

from sample.days import DayError, write

__all__ = ["DayError", "write"]
