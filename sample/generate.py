"""The rows of the marketplace on its first day: one generator for each table.

The order of the tables satisfies the foreign keys. Each random number comes from a generator that
is seeded with the name and id of its row, so no row depends on others. Users, products and orders
grow with the scale; schools and courses do not.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from unicodedata import normalize

from sqlalchemy import Table

from sample import names, schema

Row = Mapping[str, Any]

FIRST_UPLOAD = datetime(2010, 3, 1)  # noqa: DTZ001 - all of the sample's times are UTC, without zone
FIRST_ORDER = datetime(2014, 1, 1)  # noqa: DTZ001 - as above
LAST_MOMENT = datetime(2015, 6, 30, 23, 59, 59)  # noqa: DTZ001 - as above; of day 1

SCHOOLS, COURSES = 1687, 30418
MILESTONE_DAYS = 5  # after which nothing more happens to an order
USERS, PRODUCTS, ORDERS = 279, 850, 1200
_PRICES = tuple(Decimal(cents) / 100 for cents in (0, 299, 499, 999, 1250, 1999, 4999))
# The first id of a school, and the id of one that was deleted.
FIRST_SCHOOL_ID, MISSING_SCHOOL_ID = 993, 994
_PROGRAM: Row = {
    "id": 1,
    "school_id": FIRST_SCHOOL_ID,
    "name": "Notes for Every Student",
    "active": True,
}


def first_day(scale: int) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yield every table with its rows."""
    yield schema.SCHOOLS, _schools()
    yield (
        schema.SUBJECTS,
        ({"id": number, "name": name} for number, name in enumerate(names.SUBJECTS, 1)),
    )
    yield schema.COURSES, _courses()
    yield schema.USERS, users(range(1, USERS * scale + 1), FIRST_UPLOAD, FIRST_ORDER)
    yield schema.USER_PROFILES, profiles(range(1, USERS * scale + 1))
    yield schema.PRODUCTS, products(range(1, PRODUCTS * scale + 1), USERS * scale)
    yield (
        schema.PAYMENT_SOURCES,
        ({"id": number, "name": name} for number, name in enumerate(names.PAYMENT_SOURCES, 1)),
    )
    yield schema.AFFILIATES, _affiliates()
    yield schema.SITES, iter([{"id": 1, "name": "StudyNotes", "domain": "studynotes.example"}])
    order_ids = range(1, ORDERS * scale + 1)
    yield schema.ORDERS, orders(order_ids, FIRST_ORDER, LAST_MOMENT, USERS * scale)
    yield schema.ORDER_LINES, order_lines(order_ids, PRODUCTS * scale, USERS * scale)
    yield schema.REVIEWS, _reviews(scale)
    yield schema.DISABILITY_PROGRAMS, iter([_PROGRAM])
    yield schema.PROGRAM_MEMBERS, _program_members(scale)


def school_id(number: int) -> int:
    """Return the id of the school of this number, counted from 0."""
    # From the missing school on, ids are larger by one.
    return FIRST_SCHOOL_ID + number + (number >= MISSING_SCHOOL_ID - FIRST_SCHOOL_ID)


def users(ids: range, first: datetime, last: datetime) -> Iterator[Row]:
    """Yield users who registered between two times; one in twelve has no school."""
    for user in ids:
        chance = Random(f"user {user}")
        registered = moment(chance, first, last)
        yield {
            "id": user,
            "username": f"{_folded(first_name(user))}{user}",
            "email": f"{_folded(first_name(user))}.{user}@mail.example",
            "school_id": (
                school_id(chance.randrange(SCHOOLS)) if chance.random() < 11 / 12 else None
            ),
            "registered_at": registered,
            "moved_at": registered,
        }


def profiles(ids: range) -> Iterator[Row]:
    """Yield the profiles of these users; one in nine has none."""
    for user in ids:
        chance = Random(f"profile {user}")
        if chance.random() < 1 / 9:
            continue
        yield {
            "user_id": user,
            "first_name": first_name(user),
            "last_name": chance.choice(names.LAST_NAMES) if chance.random() < 0.95 else None,
            "graduation_year": chance.choice((None, 2014, 2015, 2016, 2017, 2018)),
            "about": chance.choice(names.ABOUT),
        }


def products(ids: range, user_count: int) -> Iterator[Row]:
    """Yield products that were uploaded before the first order; one in fifteen has no course."""
    for number in ids:
        chance = Random(f"product {number}")
        title = chance.choice(names.PRODUCT_TITLES)
        kind = chance.choice(names.KINDS)
        yield {
            "id": number,
            "seller_id": seller(number, user_count),
            "course_id": chance.randint(1, COURSES) if chance.random() < 14 / 15 else None,
            "title": title.format(chance.choice(names.SUBJECTS), kind),
            "kind": kind,
            "price": price(number),
            "uploaded_at": moment(chance, FIRST_UPLOAD, FIRST_ORDER),
        }


def orders(ids: range, first: datetime, last: datetime, user_count: int) -> Iterator[Row]:
    """Yield orders between two times.

    One in twenty-five is that of a guest. Some are not yet paid or delivered at the second time.
    """
    for number in ids:
        chance = Random(f"order {number}")
        ordered = moment(chance, first, last)
        paid, delivered = milestones(number, ordered)
        yield {
            "id": number,
            "buyer_id": chance.randint(1, user_count) if chance.random() < 0.96 else None,
            "payment_source_id": chance.randint(1, len(names.PAYMENT_SOURCES)),
            "affiliate_id": chance.choice((None, None, None, 1, 2, 3, 4)),
            "site_id": 1,
            "ordered_at": ordered,
            "paid_at": paid if paid and paid <= last else None,
            "delivered_at": delivered if delivered and delivered <= last else None,
        }


def milestones(order: int, ordered: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the times when an order is paid, within MILESTONE_DAYS, and delivered soon after.

    Some orders are never paid or delivered. Their times are None.
    """
    chance = Random(f"milestones {order}")
    paid = ordered + timedelta(minutes=chance.randrange(5000)) if chance.random() < 0.96 else None
    delivered = (
        paid + timedelta(seconds=chance.randrange(90_000))
        if paid and chance.random() < 0.98
        else None
    )
    return paid, delivered


def order_lines(order_ids: range, product_count: int, user_count: int) -> Iterator[Row]:
    """Yield one to four lines for each order."""
    for order in order_ids:
        chance = Random(f"lines {order}")
        for line in range(1, chance.choice((1, 1, 2, 2, 3, 4)) + 1):
            sold = chance.randint(1, product_count)
            amount = price(sold)
            yield {
                "order_id": order,
                "line_number": line,
                "product_id": sold,
                "seller_id": seller(sold, user_count),
                "quantity": chance.choice((1, 1, 1, 2)),
                "unit_price": amount,
                "discount": (
                    (amount / 10).quantize(Decimal("0.01"))
                    if chance.random() < 0.2
                    else Decimal("0.00")
                ),
            }


def seller(product: int, user_count: int) -> int:
    """Return the id of the user who sells a product."""
    return product * 7919 % user_count + 1


def price(product: int) -> Decimal:
    """Return a product's price; some are free."""
    return _PRICES[product * 31 % len(_PRICES)]


def first_name(user: int) -> str:
    """Return a user's first name."""
    return names.FIRST_NAMES[
        user * 11 % len(names.FIRST_NAMES)
    ]  # 11 shares no factor with their number


def moment(chance: Random, first: datetime, last: datetime) -> datetime:
    """Return a random time between two others, in whole seconds."""
    return first + timedelta(seconds=chance.randrange(int((last - first).total_seconds())))


def _schools() -> Iterator[Row]:
    for number, (name, city, state, country) in enumerate(names.schools(SCHOOLS)):
        yield {
            "id": school_id(number),
            "name": name,
            "city": city,
            "state": state,
            "country": country,
        }


def _courses() -> Iterator[Row]:
    for number in range(COURSES):
        # Each further course of a school has the next subject and the next number, so no school has
        # the same course twice.
        school, turn = number % SCHOOLS, number // SCHOOLS
        subject = (school + turn) % len(names.SUBJECTS)
        yield {
            "id": number + 1,
            "school_id": school_id(school),
            "subject_id": subject + 1,
            "number": 100 + 10 * turn,
            "title": course_title(number),
        }


def course_title(number: int) -> str:
    """Return the title of the course of this number, counted from 0."""
    subject = (number % SCHOOLS + number // SCHOOLS) % len(names.SUBJECTS)
    return names.COURSE_TITLES[number % len(names.COURSE_TITLES)].format(names.SUBJECTS[subject])


def _affiliates() -> Iterator[Row]:
    for number, name in enumerate(names.AFFILIATES, 1):
        yield {"id": number, "name": name, "commission": Decimal(5 * number) / 1000}


def _reviews(scale: int) -> Iterator[Row]:
    for number in range(1, ORDERS * scale // 4 + 1):
        chance = Random(f"review {number}")
        yield {
            "id": number,
            "product_id": chance.randint(1, PRODUCTS * scale),
            "user_id": chance.randint(1, USERS * scale),
            "rating": chance.choice((1, 3, 4, 4, 5, 5, 5)),
            "written_at": moment(chance, FIRST_ORDER, LAST_MOMENT),
        }


def _program_members(scale: int) -> Iterator[Row]:
    for user in range(17, USERS * scale + 1, 23):
        joined = moment(Random(f"member {user}"), FIRST_ORDER, LAST_MOMENT)
        yield {"program_id": _PROGRAM["id"], "user_id": user, "joined_at": joined}


def _folded(name: str) -> str:
    """Return a name for an e-mail address, in ASCII; "student" for one in another script."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return plain or "student"
