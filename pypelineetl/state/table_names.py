"""Names of the tables that a run makes beside the live ones."""

from hashlib import sha256

STAGED = "__staged_"
"""Marks the table that a rebuild fills; the generation of the run follows."""


PART = "__part_"
"""Marks the table of one partition of a fact."""


OLD = "__old_"
"""Marks a live table on its way out of the swap."""


KEPT = "__previous_"
"""Marks the table that the last rebuild replaced, kept for --rollback."""


# Indexes are named after their table, within the 63 characters of PostgreSQL.
_NAME_LENGTH = 20
_DIGEST_LENGTH = 4


def staged_name(table: str, generation: str) -> str:
    """Return the name of the table that is built in the place of another."""
    return short_name(table) + STAGED + generation


def kept_name(table: str, generation: str) -> str:
    """Return the name under which the rows are kept that a run has replaced in a table."""
    return short_name(table) + KEPT + generation


def short_name(table: str) -> str:
    """Return what of a table's name goes into the names of others that are made for it."""
    if len(table) <= _NAME_LENGTH:
        return table
    digest = sha256(table.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{table[: _NAME_LENGTH - _DIGEST_LENGTH - 1]}_{digest}"
