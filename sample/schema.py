"""The tables of the marketplace, for every database that SQLAlchemy supports.

All times are in UTC.
"""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

metadata = MetaData()


def _table(name: str, *parts: SchemaItem) -> "Table[Any]":
    return Table(name, metadata, *parts, mysql_charset="utf8mb4", mysql_engine="InnoDB")


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=False)


SCHOOLS = _table(
    "schools",
    _id(),
    Column("name", String(100), nullable=False, unique=True),
    Column("city", String(60), nullable=False),
    Column("state", String(2)),  # schools abroad have none
    Column("country", String(2), nullable=False),
)
SUBJECTS = _table("subjects", _id(), Column("name", String(60), nullable=False, unique=True))
COURSES = _table(
    "courses",
    _id(),
    Column("school_id", ForeignKey("schools.id"), nullable=False),
    Column("subject_id", ForeignKey("subjects.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("title", String(120), nullable=False),
    UniqueConstraint("school_id", "subject_id", "number"),
)
USERS = _table(
    "users",
    _id(),
    Column("username", String(40), nullable=False, unique=True),
    Column("email", String(100), nullable=False),
    Column("school_id", ForeignKey("schools.id")),
    Column("registered_at", DateTime, nullable=False),
    Column("moved_at", DateTime, nullable=False),  # to the present school
)
USER_PROFILES = _table(
    "user_profiles",
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("first_name", String(40), nullable=False),
    Column("last_name", String(40)),
    Column("graduation_year", Integer),
    Column("about", Text),
)
PRODUCTS = _table(
    "products",
    _id(),
    Column("seller_id", ForeignKey("users.id"), nullable=False),
    Column("course_id", ForeignKey("courses.id")),
    Column("title", String(150), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("price", Numeric(10, 2), nullable=False),
    Column("uploaded_at", DateTime, nullable=False),
)
PAYMENT_SOURCES = _table(
    "payment_sources", _id(), Column("name", String(40), nullable=False, unique=True)
)
AFFILIATES = _table(
    "affiliates",
    _id(),
    Column("name", String(60), nullable=False, unique=True),
    Column("commission", Numeric(5, 4), nullable=False),
)
SITES = _table(
    "sites",
    _id(),
    Column("name", String(40), nullable=False),
    Column("domain", String(60), nullable=False, unique=True),
)
ORDERS = _table(
    "orders",
    _id(),
    # No foreign key, because an order may arrive before the account of its buyer. A guest's order
    # has no buyer.
    Column("buyer_id", Integer),
    Column("payment_source_id", ForeignKey("payment_sources.id"), nullable=False),
    Column("affiliate_id", ForeignKey("affiliates.id")),
    Column("site_id", ForeignKey("sites.id"), nullable=False),
    Column("ordered_at", DateTime, nullable=False),
    Column("paid_at", DateTime),
    Column("delivered_at", DateTime),
)
ORDER_LINES = _table(
    "order_lines",
    Column("order_id", ForeignKey("orders.id"), nullable=False),
    Column("line_number", Integer, nullable=False),
    # No foreign key, because a seller may delete a product that was sold.
    Column("product_id", Integer, nullable=False),
    Column("seller_id", ForeignKey("users.id"), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Numeric(10, 2), nullable=False),
    Column("discount", Numeric(10, 2), nullable=False),
    PrimaryKeyConstraint("order_id", "line_number"),
)
REVIEWS = _table(
    "reviews",
    _id(),
    Column("product_id", Integer, nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("rating", Integer, nullable=False),
    Column("written_at", DateTime, nullable=False),
)
DISABILITY_PROGRAMS = _table(
    "disability_programs",
    _id(),
    Column("school_id", ForeignKey("schools.id"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("active", Boolean, nullable=False),
)
PROGRAM_MEMBERS = _table(
    "program_members",
    Column("program_id", ForeignKey("disability_programs.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("joined_at", DateTime, nullable=False),
    PrimaryKeyConstraint("program_id", "user_id"),
)
# The days that have been written to this database, and their scale.
SAMPLE_DAYS = _table(
    "sample_days",
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("scale", Integer, nullable=False),
)
