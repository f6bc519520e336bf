"""The days of the marketplace: the first writes all rows, each later day changes some.

On a later day, there are new users and orders, and earlier orders are paid and delivered. Some
users move to another school or change their e-mail, a few courses are renamed, and a seller deletes
a product. One order arrives before the account of its buyer, which follows the next day.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain, islice
from random import Random
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    Table,
    create_engine,
    func,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError

from sample import generate, schema
from sample.generate import Row

Change = tuple[Table, int, Mapping[str, Any]]
"""A table, the id of its row that changes, and the new values."""

_BATCH_ROWS = 10_000
_DRIVERS = {
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "postgresql": "postgresql+psycopg",
}
# The numbers of changes in one day, at scale 1.
_NEW_USERS, _NEW_ORDERS, _MOVED_USERS, _NEW_ADDRESSES, _RENAMED_COURSES = 3, 12, 2, 2, 4
_DELETION_STEP = 7919
# The last day of 2015, the last day in the date dimension of the sample's warehouse.
_LAST_DAY = 185


class DayError(ValueError):
    """The database is not at the day before the given one."""


def write(url: str, *, scale: int = 1, day: int = 1) -> dict[str, int]:
    """Write the first day, or the changes of a later day; return the number of rows of each table.

    Raises:
        DayError: The database is not at the day before, or it has another scale.
    """
    engine = _engine(url)
    if day == 1:
        with engine.begin() as connection:
            schema.metadata.drop_all(connection)
            schema.metadata.create_all(connection)
            for table, rows in generate.first_day(scale):
                _insert(connection, table, rows)
            connection.execute(insert(schema.SAMPLE_DAYS), {"day": 1, "scale": scale})
    else:
        _check_day(engine, scale, day)
        with engine.begin() as connection:
            _apply(connection, scale, day)
            connection.execute(insert(schema.SAMPLE_DAYS), {"day": day, "scale": scale})
    with engine.connect() as connection:
        tables = [
            table for table in schema.metadata.sorted_tables if table is not schema.SAMPLE_DAYS
        ]
        return {table.name: _count(connection, table) for table in tables}


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    driver = _DRIVERS.get(parsed.drivername, parsed.drivername)
    engine = create_engine(parsed.set(drivername=driver), poolclass=NullPool)
    try:
        engine.connect().close()
    except TypeError as error:  # PyMySQL takes a URL's options as arguments
        message = f"an option in the URL is not known: {error}"
        raise ArgumentError(message) from error
    return engine


def _check_day(engine: Engine, scale: int, day: int) -> None:
    if day > _LAST_DAY:
        message = f"the story ends on day {_LAST_DAY}, the last of 2015"
        raise DayError(message)
    with engine.connect() as connection:
        if not inspect(connection).has_table(schema.SAMPLE_DAYS.name):
            message = (
                f"day {day} needs the days before it, and there are none here: write --day 1 first"
            )
            raise DayError(message)
        reached, written = connection.execute(
            select(func.max(schema.SAMPLE_DAYS.c.day), func.max(schema.SAMPLE_DAYS.c.scale))
        ).one()
    if reached != day - 1:
        message = f"day {day} needs the day before it, and this database is at day {reached}"
        raise DayError(message)
    if written != scale:
        message = f"this database was written at scale {written}, not {scale}"
        raise DayError(message)


def _apply(connection: Connection, scale: int, day: int) -> None:
    end = generate.LAST_MOMENT + timedelta(days=day - 1)
    start = end - timedelta(days=1, seconds=-1)
    known_users, known_products = generate.USERS * scale, generate.PRODUCTS * scale
    new_users = _new_ids(generate.USERS, _NEW_USERS, scale, day)
    new_orders = _new_ids(generate.ORDERS, _NEW_ORDERS, scale, day)
    _insert(connection, schema.USERS, generate.users(new_users, start, end))
    _insert(connection, schema.USER_PROFILES, generate.profiles(new_users))
    # The buyer of the last order of the day is the first new user of the next day.
    early = {"id": new_orders[-1], "buyer_id": new_users[-1] + 1}
    placed = generate.orders(new_orders, start, end, known_users)
    _insert(
        connection,
        schema.ORDERS,
        ({**row, **early} if row["id"] == early["id"] else row for row in placed),
    )
    _insert(
        connection,
        schema.ORDER_LINES,
        generate.order_lines(new_orders, known_products, known_users),
    )
    changes = (
        _user_changes(scale, day, start, end),
        _course_changes(scale, day),
        _milestones(connection, start, end),
    )
    for table, key, values in chain(*changes):
        connection.execute(update(table).where(table.c.id == key).values(**values))
    # Steps of a prime number visit every product once before any is repeated, so the product that a
    # day deletes still exists.
    deleted = day * _DELETION_STEP % known_products + 1
    connection.execute(schema.PRODUCTS.delete().where(schema.PRODUCTS.c.id == deleted))


def _user_changes(scale: int, day: int, start: datetime, end: datetime) -> Iterator[Change]:
    for number in range(_MOVED_USERS * scale):
        chance = Random(f"move {day} {number}")
        school = generate.school_id(chance.randrange(generate.SCHOOLS))
        moved = {"school_id": school, "moved_at": generate.moment(chance, start, end)}
        yield schema.USERS, chance.randint(1, generate.USERS * scale), moved
    for number in range(_NEW_ADDRESSES * scale):
        user = Random(f"address {day} {number}").randint(1, generate.USERS * scale)
        yield schema.USERS, user, {"email": f"student{user}.day{day}@mail.example"}


def _milestones(connection: Connection, start: datetime, end: datetime) -> list[Change]:
    """Return the payments and deliveries of a day, for the orders of the days before it."""
    orders = schema.ORDERS.c
    recent = orders.ordered_at.between(start - timedelta(days=generate.MILESTONE_DAYS), start)
    changes: list[Change] = []
    for order, ordered in connection.execute(select(orders.id, orders.ordered_at).where(recent)):
        moments = zip(("paid_at", "delivered_at"), generate.milestones(order, ordered), strict=True)
        if today := {name: at for name, at in moments if at and start <= at <= end}:
            changes.append((schema.ORDERS, order, today))
    return changes


def _course_changes(scale: int, day: int) -> Iterator[Change]:
    for number in range(_RENAMED_COURSES * scale):
        course = Random(f"course {day} {number}").randrange(generate.COURSES)
        yield (
            schema.COURSES,
            course + 1,
            {"title": f"{generate.course_title(course)} (renamed, day {day})"},
        )


def _new_ids(at_first: int, daily: int, scale: int, day: int) -> range:
    """Return the ids that a day adds. They follow those of all days before it."""
    first = (at_first + (day - 2) * daily) * scale + 1
    return range(first, first + daily * scale)


def _insert(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    for batch in _batches(iter(rows)):
        connection.execute(insert(table), batch)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield batch


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
