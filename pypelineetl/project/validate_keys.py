"""Validate the keys of a fact: each problem says what was given, the rule, and what to do."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlglot import exp

from pypelineetl.declare.etls import DimensionETL, FactETL
from pypelineetl.declare.keys import Key, Member, MomentKey, TimeKey
from pypelineetl.errors import did_you_mean, quoted
from pypelineetl.sql.schema import AUDIT_KEY, columns_of

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def key_problems(
    fact: FactETL, dimensions: Mapping[str, DimensionETL], sql_dialect: str
) -> Iterator[str]:
    """Yield the problems of a fact's keys, without the fact's name."""
    for column, key in fact.keys.items():
        if column not in fact.factory.columns:
            near = did_you_mean(column, fact.factory.columns)
            yield f'the keys name the column "{column}", which the factory does not have.{near}'
        if not isinstance(key, Member | MomentKey):
            made = "member(...), date_key(...), time_key(...) or junk(...)"
            yield f'key "{column}" is a {type(key).__name__}; make it with {made}'
            continue
        dimension = dimensions.get(key.dimension)
        if dimension is None:
            yield (
                f'key "{column}" names no dimension'
                f' "{key.dimension}".{did_you_mean(key.dimension, dimensions)}'
            )
            continue
        # The rules below compare the key with its dimension, which exists.
        problems = list(_missing_problems(key, dimension))
        if isinstance(key, Member):
            problems += [
                *_member_problems(key, dimension, sql_dialect),
                *_late_problems(column, key, fact),
            ]
        else:
            problems += _moment_problems(key, dimension, sql_dialect)
        yield from (f'key "{column}": {problem}' for problem in problems)


def _missing_problems(key: Key, dimension: DimensionETL) -> Iterator[str]:
    """Yield the problems of `missing`: what a load does with a natural key that no member has."""
    rules = ["reject", "unknown"]
    # A date or a time that has no member is not a member that arrives late.
    if isinstance(key, Member):
        rules.append("infer")
    if key.missing not in rules:
        yield f'missing is "{key.missing}"; it must be one of {quoted(rules)}'
    if key.missing == "unknown" and dimension.unknown is None:
        yield (
            f'missing="unknown" needs that dimension "{dimension.name}" declares its `unknown`'
            " member"
        )


def _late_problems(column: str, key: Member, fact: FactETL) -> Iterator[str]:
    """Yield the problems of `follows_history` and `retry`, which change existing facts."""
    # A load compares the moment with the versions again, so the fact must
    # keep it.
    if key.follows_history and (not key.as_of or key.as_of not in fact.own):
        yield (
            "follows_history needs as_of, and a column of the fact of that name, which keeps the"
            " moment"
        )
    if key.follows_history and not fact.row_key:
        yield (
            "follows_history needs a fact that keeps its rows, by a grain; other facts are replaced"
            " and do not need it"
        )
    if not key.retry:
        return
    if key.missing != "unknown":
        yield 'retry looks up the facts of the unknown member again, so it needs missing="unknown"'
    # The later load finds the member by the natural key, which only the
    # fact still has.
    lacking = [name for name in key.columns if name not in fact.own]
    if lacking:
        yield (
            "retry needs columns of the fact that keep the natural key, and its factory does not"
            f" have {quoted(lacking)}; add it to the measures or keyrefs, and to the DDL"
        )
    if fact.write_mode == "replace":
        yield (
            "retry needs a fact that keeps its rows, by a grain, append or period; other facts need"
            " no retry"
        )
    if column in fact.row_key:
        yield (
            f'retry would change the grain of facts, which "{column}" is part of; take it out of'
            " the grain"
        )


def _member_problems(key: Member, dimension: DimensionETL, sql_dialect: str) -> Iterator[str]:
    """Yield the problems of a natural key, compared with the declaration of its dimension."""
    factory = dimension.factory
    wanted = factory.natural_key
    if set(key.natural_key) != set(wanted):
        yield (
            f'it gives {quoted(key.natural_key)}, and dimension "{dimension.name}" is looked up by'
            f" {quoted(wanted)}"
        )
    if key.as_of and not factory.name("fromatt"):
        yield (
            f'as_of needs versions, and dimension "{dimension.name}" has no fromatt; leave'
            " as_of out"
        )
    # The load fills some attributes itself, so the source of facts need not
    # give them.
    known = {*wanted, *dimension.filled}
    others = [name for name in factory.names("attributes") if name not in known]
    if key.is_junk and others:
        yield (
            f"junk gives all attributes of a member, and {quoted(others)} of dimension"
            f' "{dimension.name}" are others'
        )
    if key.missing == "infer":
        yield from _inferred_problems(dimension, sql_dialect)


def _inferred_problems(dimension: DimensionETL, sql_dialect: str) -> Iterator[str]:
    """Yield the problems of a dimension whose members facts may infer."""
    factory, natural_key = dimension.factory, dimension.factory.natural_key
    # An inferred member has no source row with a date.
    if factory.name("srcdateatt"):
        yield (
            f'missing="infer" makes members that have no date, and dimension "{dimension.name}"'
            " dates its versions by srcdateatt; use fromfinder=datereader(...) there, or"
            ' missing="reject"'
        )
    has_others = not set(factory.names("attributes")) <= set(natural_key)
    if dimension.scd_type == "type 1" and not has_others:
        yield (
            'missing="infer" makes members with pygrametl, whose TypeOneSlowlyChangingDimension'
            f' needs an attribute beside the natural key, and dimension "{dimension.name}" has'
            " none; make it a CachedDimension"
        )
    # An inferred member has values only in these columns, so others must
    # allow NULL.
    filled = {
        factory.name("key"),
        *natural_key,
        *factory.versioning,
        *dimension.flags,
        AUDIT_KEY,
    }
    columns = columns_of(dimension.create, sql_dialect=sql_dialect)
    required = [column.name for column in columns.values() if column.required]
    lacking = [name for name in required if name not in filled]
    if lacking:
        yield (
            'missing="infer" makes members that have only a natural key, and'
            f' {quoted(lacking)} of dimension "{dimension.name}" is NOT NULL; allow NULL'
            ' there, or use missing="reject"'
        )


def _moment_problems(key: MomentKey, dimension: DimensionETL, sql_dialect: str) -> Iterator[str]:
    """Yield the problems of a date key or time key."""
    # Found here, before anything connects, and not at the first row of a
    # load.
    try:
        ZoneInfo(key.tz)
    except (ZoneInfoNotFoundError, ValueError):
        yield f'there is no time zone "{key.tz}"; use a name such as "UTC" or "US/Eastern"'
    wanted = dimension.factory.natural_key
    columns = columns_of(dimension.create, sql_dialect=sql_dialect)
    is_time = isinstance(key, TimeKey)
    kinds = {exp.DType.TIME} if is_time else {exp.DType.DATE, exp.DType.DATE32}
    # A dimension of days has one natural key, its date, and a dimension of
    # times its time.
    if len(wanted) != 1 or (wanted[0] in columns and columns[wanted[0]].type.this not in kinds):
        function, column_type = ("time_key", "TIME") if is_time else ("date_key", "DATE")
        rule = f"{function} needs a dimension looked up by one {column_type}"
        yield f'{rule}; "{key.dimension}" is looked up by {quoted(wanted)}'
    if key.first and key.last and key.first > key.last:
        yield f"the first day, {key.first}, is after the last, {key.last}"
    if isinstance(key, TimeKey) and (key.step < _SECOND or key.step % _SECOND or _DAY % key.step):
        yield f"the step is {key.step}; it must be whole seconds that divide a day"
