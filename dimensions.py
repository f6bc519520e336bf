"""The dimensions: pygrametl's classes with pygrametl's own arguments.

pygrametl's documentation applies. A CachedDimension's members never change, those of a
TypeOneSlowlyChangingDimension are overwritten, and those of a SlowlyChangingDimension get a new
version.
"""

from pygrametl import datereader
from pygrametl.tables import (
    CachedDimension,
    Dimension,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)

from pypelineetl import factory

product = factory(
    TypeOneSlowlyChangingDimension,
    name="product_dim",
    key="id",
    attributes=[
        "product_id",
        "title",
        "kind",
        "subject",
        "is_free",
        "uploaded_on",
        "is_inferred",
        "is_deleted",
    ],
    lookupatts=["product_id"],
)

# A user who moves to another school gets a new version from that day on; a new e-mail address is a
# correction.
user = factory(
    SlowlyChangingDimension,
    name="user_dim",
    key="id",
    attributes=[
        "user_id",
        "username",
        "full_name",
        "email",
        "cohort",
        "graduation_year",
        "school_name",
        "school_state",
        "is_inferred",
        "valid_from",
        "valid_to",
        "version",
    ],
    lookupatts=["user_id"],
    fromatt="valid_from",
    fromfinder=datereader("moved_on"),
    toatt="valid_to",
    versionatt="version",
    type1atts=["username", "full_name", "email", "cohort", "graduation_year"],
)

course = factory(
    TypeOneSlowlyChangingDimension,
    name="course_dim",
    key="id",
    attributes=["course_id", "title", "number", "subject", "school_name"],
    lookupatts=["course_id"],
)

date = factory(
    CachedDimension,
    name="date_dim",
    key="id",
    attributes=[
        "full_date",
        "year",
        "quarter",
        "month",
        "month_name",
        "day",
        "weekday",
        "iso_week",
        "is_weekend",
    ],
    lookupatts=["full_date"],
)

school = factory(
    CachedDimension,
    name="school_dim",
    key="id",
    attributes=["school_id", "name", "city", "state", "country"],
    lookupatts=["school_id"],
)

payment_source = factory(
    Dimension,
    name="payment_source_dim",
    key="id",
    attributes=["payment_source_id", "name"],
    lookupatts=["payment_source_id"],
)

disability_program = factory(
    Dimension,
    name="disability_program_dim",
    key="id",
    attributes=["disability_program_id", "name", "school_name", "active"],
    lookupatts=["disability_program_id"],
)

affiliate = factory(
    Dimension,
    name="affiliate_dim",
    key="id",
    attributes=["affiliate_id", "name", "commission"],
    lookupatts=["affiliate_id"],
)

site = factory(
    Dimension,
    name="site_dim",
    key="id",
    attributes=["site_id", "name", "domain"],
    lookupatts=["site_id"],
)
