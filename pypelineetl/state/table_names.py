"""Names of generations, and of the tables that a run creates: staged, partition, old, previous.

The next run finds the tables of a dead run by these names, even if another version of the library
created them. So the marks never change.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

STAGED = "__staged_"
"""Marks the table that a rebuild fills. The generation of the run follows."""

PART = "__part_"
"""Marks the table of one partition of a fact."""

OLD = "__old_"
"""Marks a live table that a swap has renamed, until it is dropped."""

KEPT = "__previous_"
"""Marks the table that the last rebuild replaced, kept for --rollback."""

LIVE = ""
"""The generation of the live tables, which readers see."""

PREVIOUS = "previous"
"""The generation of the previous tables, if they are kept."""

# PostgreSQL cuts names after 63 characters, and indexes are named after their table and columns.
_NAME_LENGTH = 20
# With a digest, two tables whose long names begin with the same characters get different names.
_DIGEST_LENGTH = 4
_DERIVED = re.compile(
    rf"(?P<mark>{STAGED}|{PART}|{OLD}|{KEPT})(?P<generation>[0-9a-f]{{8}})(_\d+)?$"
)


@dataclass(frozen=True)
class DerivedTable:
    """What the name of a table that a run created shows about it."""

    generation: str
    """The generation of the run."""
    is_kept: bool
    """Whether it is a previous table, which outlives its run."""


def staged_name(table: str, generation: str) -> str:
    """Return the name of the staged table that a rebuild fills in place of a live table.

    >>> staged_name("sale_fact", "0a1b2c3d")
    'sale_fact__staged_0a1b2c3d'
    """
    return short_name(table) + STAGED + generation


def kept_name(table: str, generation: str) -> str:
    """Return the name under which a run keeps the previous table.

    >>> kept_name("sale_fact", "0a1b2c3d")
    'sale_fact__previous_0a1b2c3d'
    """
    return short_name(table) + KEPT + generation


def old_name(table: str, generation: str) -> str:
    """Return the name to which a swap renames a live table that is not kept.

    >>> old_name("sale_fact", "0a1b2c3d")
    'sale_fact__old_0a1b2c3d'
    """
    return short_name(table) + OLD + generation


def parse_derived(table: str) -> DerivedTable | None:
    """Return what a table's name shows about it; None unless a run created the table.

    >>> parse_derived("sale_fact__staged_0a1b2c3d")
    DerivedTable(generation='0a1b2c3d', is_kept=False)
    >>> parse_derived("sale_fact")
    """
    found = _DERIVED.search(table)
    if not found:
        return None
    return DerivedTable(found["generation"], found["mark"] == KEPT)


def short_name(table: str) -> str:
    """Return a table's name, shortened to 20 characters, for the names of tables derived from it.

    >>> short_name("a_table_with_a_very_long_name")
    'a_table_with_a__573b'
    """
    if len(table) <= _NAME_LENGTH:
        return table
    digest = sha256(table.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{table[: _NAME_LENGTH - _DIGEST_LENGTH - 1]}_{digest}"


def state_name(table: str) -> str:
    """Return what stands for a live table in the column `etl` of the state tables.

    Older versions wrote an ETL's name there, such as `fact sale`, which has no such prefix.

    >>> state_name("sale_fact")
    'table sale_fact'
    """
    return f"table {table}"
