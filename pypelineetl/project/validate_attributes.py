"""Validate an ETL's watermark, grain, parts, special members, attributes and deletions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, get_args

from pypelineetl.declare.etls import (
    ETL,
    MOST_PARTS,
    DimensionETL,
    EmptySource,
    Every,
    FactETL,
    Unit,
)
from pypelineetl.declare.keys import Member
from pypelineetl.errors import LoadError, did_you_mean, quoted
from pypelineetl.sql.schema import AUDIT_KEY, Column


def attribute_problems(etl: ETL, columns: Mapping[str, Column]) -> Iterator[str]:
    """Yield the problems of an ETL that are not about its columns, keys or checks."""
    if etl.empty_source not in get_args(EmptySource):
        yield (
            f"empty_source is {etl.empty_source!r}; it must be one of"
            f" {quoted(get_args(EmptySource))}"
        )
    yield from _watermark_problems(etl)
    if isinstance(etl, FactETL):
        yield from _fact_problems(etl)
        yield from _period_problems(etl, columns)
        yield from _part_problems(etl)
        yield from _fact_deletion_problems(etl)
    else:
        yield from _special_problems(etl, columns)
        yield from _attribute_problems(etl)
        yield from _deletion_problems(etl)


def unknown(names: Iterable[str], known: Sequence[str], rule: str) -> Iterator[str]:
    """Yield a problem for each name that is not known.

    Args:
        names: The names that a declaration gives.
        known: The names that it may give.
        rule: The words between the name and "it" in the message, such as
            "the DDL does not have".

    """
    for name in names:
        if name not in known:
            yield f'"{name}": {rule} it.{did_you_mean(name, known)}'


def _watermark_problems(etl: ETL) -> Iterator[str]:
    """Yield the problems of a watermark, and of declarations that do not go with it."""
    if etl.watermark is None:
        return
    # Files and Python functions are read whole.
    if not isinstance(etl.source, str):
        yield "the watermark needs a source of SQL, which a load can restrict to new rows"
    if not etl.watermark.columns:
        yield "the watermark names no column; give it one or more of the source's"
    overlap = etl.watermark.overlap
    if _is_negative(overlap):
        yield f"the watermark's overlap is {overlap}; it must not be negative"
    if not isinstance(etl.watermark.ahead, timedelta) or etl.watermark.ahead < timedelta():
        yield (
            f"the watermark's ahead is {etl.watermark.ahead!r}; it is a length of time, and must"
            " not be negative"
        )
    # The overlap reads rows again, which a load without a grain would
    # insert twice.
    if isinstance(etl, FactETL) and etl.write_mode in {"replace", "replace_period"}:
        yield "the watermark reads the last rows again, so it needs a grain to find them by"
    if isinstance(etl, FactETL) and etl.append and (overlap or len(etl.watermark.columns) > 1):
        yield "it appends, so its watermark reads each row once; give it one column, and no overlap"
    if etl.deleted:
        what = "members" if isinstance(etl, DimensionETL) else "facts"
        yield (
            f"the watermark reads only new rows, so a load cannot know which {what} are deleted;"
            " leave watermark or deleted out"
        )


def _is_negative(overlap: timedelta | int) -> bool:
    if isinstance(overlap, timedelta):
        return overlap < timedelta()
    return isinstance(overlap, int) and overlap < 0


def _fact_problems(etl: FactETL) -> Iterator[str]:
    """Yield the problems of a fact's grain, append, period and lags."""
    # Each of them is a rule for what happens to the rows that the fact has.
    ways = [name for name in ("grain", "append", "period") if getattr(etl, name)]
    if len(ways) > 1:
        yield f"it declares {quoted(ways)}, and a fact can have only one of them; leave others out"
    # An accumulating snapshot finds its rows by its keyrefs, so other
    # declarations contradict it.
    if etl.write_mode == "accumulate":
        if etl.grain:
            yield (
                "the grain is the factory's keyrefs, as for every accumulating snapshot; leave"
                " grain out"
            )
        if etl.append or etl.period:
            yield (
                "a load updates an accumulating snapshot by its keyrefs; leave append and period"
                " out"
            )
    yield from unknown(
        [etl.period] if etl.period else [],
        etl.factory.columns,
        "is its period but not in its factory;",
    )
    yield from unknown(
        etl.lags, etl.factory.names("measures"), "is in its lags but not a measure of its factory;"
    )
    for column, lag in etl.lags.items():
        if lag.unit not in get_args(Unit):
            yield (
                f'lag "{column}": its unit is "{lag.unit}"; it must be one of'
                f" {quoted(get_args(Unit))}"
            )
        # Both would fill the column.
        if column in etl.keys:
            yield f'"{column}" is in its lags and in its keys; leave one of them out'


def _period_problems(etl: FactETL, columns: Mapping[str, Column]) -> Iterator[str]:
    """Yield the problems of `every`, which needs a period of days."""
    if etl.every is None:
        return
    if etl.every not in get_args(Every):
        yield f'every is "{etl.every}"; it must be one of {quoted(get_args(Every))}'
    if etl.period is None or not (etl.period in columns and columns[etl.period].is_date):
        yield "every needs a period that is a column of days (DATE)"


def _part_problems(etl: FactETL) -> Iterator[str]:
    """Yield the problems of `parts`, and of declarations that do not go with it."""
    # True is an int in Python, but it is no number here.
    is_number = isinstance(etl.parts, int) and not isinstance(etl.parts, bool)
    if not is_number or not 1 <= etl.parts <= MOST_PARTS:
        yield f"the parts are {etl.parts!r}; they must be a whole number from 1 to {MOST_PARTS}"
    elif etl.parts > 1:
        if not etl.split_by or not isinstance(etl.source, str):
            yield (
                "the parts need split_by, a column of whole numbers in its source, which must"
                " be SQL"
            )
        # Each part fills its own table, and the fact becomes the union of
        # these tables.
        if etl.write_mode != "replace":
            yield (
                "the parts replace the whole fact, so it can have no grain; leave parts or grain,"
                " append, period out"
            )
        # Several processes load the parts, and none knows how many rows the
        # others reject.
        if etl.most_rejected:
            yield (
                "the parts are all or nothing, so no row may be rejected; leave parts or"
                " most_rejected out"
            )
        if any(isinstance(key, Member) and key.missing == "infer" for key in etl.keys.values()):
            yield (
                "the parts cannot infer members, because several would make the same; use"
                ' missing="reject", or leave parts out'
            )
    elif etl.split_by:
        yield "split_by needs parts, the number of ranges"


def _special_problems(etl: DimensionETL, columns: Mapping[str, Column]) -> Iterator[str]:
    """Yield the problems of a dimension's special members."""
    key = str(etl.factory.name("key"))
    keys: list[Any] = []
    for which in ("unknown", "not_applicable", "error"):
        member = getattr(etl, which)
        if member is None:
            continue
        # Not isinstance, because True is an int as well.
        if type(member.get(key)) is not int:
            yield f'the `{which}` member needs a whole number as its key "{key}", such as -1'
        elif member[key] in keys:
            yield (
                f"the `{which}` member has the key {member[key]}, which another special member has;"
                " give each its own"
            )
        keys.append(member.get(key))
        yield from (
            f"the `{which}` member: {problem}" for problem in _member_problems(etl, member, columns)
        )


def _member_problems(
    etl: DimensionETL, member: Mapping[str, Any], columns: Mapping[str, Column]
) -> Iterator[str]:
    """Yield the problems of the values of one special member."""
    yield from unknown(member, list(columns), "the DDL does not have")
    for name, value in member.items():
        # A value that does not fit would fail the first load.
        try:
            if name in columns:
                columns[name].cast(value)
        except LoadError as error:
            yield error.message
    # The load fills these columns of a special member itself.
    given = {*etl.factory.versioning, *etl.flags, AUDIT_KEY}
    given |= {name for name, value in member.items() if value is not None}
    required = [column.name for column in columns.values() if column.required]
    lacking = [name for name in required if name not in given]
    if lacking:
        yield f"{quoted(lacking)} is NOT NULL; give it a value"


def _attribute_problems(etl: DimensionETL) -> Iterator[str]:
    """Yield the problems of a dimension's original, previous, current and flag attributes."""
    factory, attributes = etl.factory, etl.factory.names("attributes")
    # Both the columns that the load fills, and the attributes from which it
    # fills them.
    declared = (
        *etl.flags,
        *etl.original,
        *etl.previous,
        *etl.previous.values(),
        *etl.current,
        *etl.current.values(),
    )
    yield from unknown(dict.fromkeys(declared), attributes, "the factory's attributes do not have")
    if declared and "rowexpander" in factory.arguments:
        yield (
            "the rowexpander computes attributes, so none can be original, previous, current or a"
            " flag"
        )
    # A change of these columns would make another member, or another
    # version.
    fixed = {*factory.natural_key, *factory.versioning}
    wrong = [name for name in declared if name in fixed]
    if wrong:
        yield (
            f"{quoted(wrong)} identifies members or their versions, and cannot be original,"
            " previous, current or a flag"
        )
    filled = [*etl.flags, *etl.previous, *etl.current]
    twice = [
        name for name in dict.fromkeys(filled) if filled.count(name) > 1 or name in etl.original
    ]
    if twice:
        yield f"{quoted(twice)} is declared to be filled in two ways; leave one out"
    # A load fills all of these columns in one step, so none can be a copy
    # of another.
    copied = (*etl.previous.values(), *etl.current.values())
    chained = [name for name in copied if name in filled]
    if chained:
        yield (f"the load itself fills {quoted(chained)}; name an attribute that the source gives")


def _deletion_problems(etl: DimensionETL) -> Iterator[str]:
    """Yield the problems of what a load does to members that the source no longer has."""
    if etl.deleted is None:
        return
    if not 0 <= etl.deleted.most <= 1:
        yield (
            f"the deletions' `most` is {etl.deleted.most}; it is a share of the members, from 0"
            " to 1"
        )
    # Facts would refer to a member that no longer exists.
    if etl.deleted.removes:
        yield (
            "remove_deleted is for facts; facts point to members, so use flag_deleted(column) or"
            " close_deleted()"
        )
    elif etl.deleted.flag is None and not etl.factory.name("toatt"):
        yield (
            "close_deleted ends a member's current version, and its factory has no toatt; use"
            " flag_deleted(column)"
        )
    if etl.source is None:
        yield "it has no source, so none of its members can be deleted from it"


def _fact_deletion_problems(etl: FactETL) -> Iterator[str]:
    """Yield the problems of what a load does to facts that the source no longer has."""
    deleted = etl.deleted
    if deleted is None:
        return
    if not 0 <= deleted.most <= 1:
        yield f"the deletions' `most` is {deleted.most}; it is a share of the facts, from 0 to 1"
    if not (deleted.flag or deleted.removes):
        yield (
            "close_deleted ends the version of a member; for facts, use flag_deleted(column) or"
            " remove_deleted()"
        )
    if not etl.row_key:
        yield (
            "the deletions need a grain to find facts by; without one, a load replaces or adds"
            " facts"
        )
    # Columns of the grain that the load computes, such as surrogate keys.
    found = [name for name in etl.row_key if name not in etl.own]
    if found:
        yield (
            f"the deletions need a grain that the source itself gives, and the load finds"
            f" {quoted(found)}: it would take a rejected row for a deleted one"
        )
    if deleted.flag:
        yield from unknown(
            [deleted.flag],
            etl.factory.names("measures"),
            "flags deleted facts but is no measure of",
        )
