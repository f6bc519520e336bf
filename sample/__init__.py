"""The sample's operational database: a marketplace where students sell each other their study
notes.

`write` makes it, day by day, in SQLite, MySQL/MariaDB or PostgreSQL; `python -m sample` does so
from the command line. It is made anew the same every time: nothing here depends on the clock or on
chance.
"""

from sample.days import DayError, write

__all__ = ["DayError", "write"]
