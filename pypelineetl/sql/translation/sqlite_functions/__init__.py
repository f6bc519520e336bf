"""MySQL's functions in Python, for SQLite, which has no dates, no decimals and few functions.

Arguments and results are as SQLite stores them (`values.py`). A function
returns NULL if an argument is NULL, unless its docstring says otherwise.
"""

from pypelineetl.sql.translation.sqlite_functions.registration import register

__all__ = ["register"]
