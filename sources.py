"""The sources: one SELECT per ETL, in the dialect that config.py names, or Python rows.

Every dimension is ordered by its natural key, so that the same source always gives the same
surrogate keys.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from pypelineetl import rows

PRODUCT = """
    SELECT p.id AS product_id,
           p.title,
           p.kind,
           s.name AS subject,
           IF(p.price = 0, 1, 0) AS is_free,
           DATE(p.uploaded_at) AS uploaded_on
    FROM products p
    LEFT JOIN courses c ON c.id = p.course_id
    LEFT JOIN subjects s ON s.id = c.subject_id
    ORDER BY p.id
"""

# moved_on dates a new version: see the factory in dimensions.py.
USER = """
    SELECT u.id AS user_id,
           u.username,
           IF(f.last_name IS NULL, f.first_name, CONCAT(f.first_name, ' ',
             f.last_name)) AS full_name,
           u.email,
           DATE_FORMAT(u.registered_at, '%Y-%m') AS cohort,
           f.graduation_year,
           s.name AS school_name,
           s.state AS school_state,
           DATE(u.moved_at) AS moved_on
    FROM users u
    LEFT JOIN user_profiles f ON f.user_id = u.id
    LEFT JOIN schools s ON s.id = u.school_id
    ORDER BY u.id
"""

COURSE = """
    SELECT c.id AS course_id,
           c.title,
           c.`number`,
           j.name AS subject,
           s.name AS school_name
    FROM courses c
    JOIN subjects j ON j.id = c.subject_id
    JOIN schools s ON s.id = c.school_id
    ORDER BY c.id
"""


def calendar(first: date, last: date) -> Iterator[dict[str, Any]]:
    """Yield a row for each day; its key is the day itself, as yyyymmdd."""
    day = first
    while day <= last:
        yield {
            "id": day.year * 10_000 + day.month * 100 + day.day,
            "full_date": day,
            "year": day.year,
            "quarter": (day.month + 2) // 3,
            "month": day.month,
            "month_name": f"{day:%B}",
            "day": day.day,
            "weekday": f"{day:%A}",
            "iso_week": day.isocalendar().week,
            "is_weekend": int(day.isoweekday() > 5),  # noqa: PLR2004 - Saturday and Sunday
        }
        day += timedelta(days=1)


DATE = rows(calendar, first=date(2010, 1, 1), last=date(2015, 12, 31))

SCHOOL = """
    SELECT id AS school_id, name, city, state, country
    FROM schools
    ORDER BY id
"""

PAYMENT_SOURCE = """
    SELECT id AS payment_source_id, name
    FROM payment_sources
    ORDER BY id
"""

DISABILITY_PROGRAM = """
    SELECT p.id AS disability_program_id, p.name, s.name AS school_name, p.active
    FROM disability_programs p
    JOIN schools s ON s.id = p.school_id
    ORDER BY p.id
"""

AFFILIATE = """
    SELECT id AS affiliate_id, name, commission
    FROM affiliates
    ORDER BY id
"""

SITE = """
    SELECT id AS site_id, name, domain
    FROM sites
    ORDER BY id
"""

# A product may be deleted before its sale is loaded, so its tables are joined by LEFT JOIN.
PRODUCT_SALE = """
    SELECT l.order_id,
           l.line_number,
           l.product_id,
           p.course_id,
           c.school_id,
           l.seller_id,
           o.buyer_id,
           o.payment_source_id,
           o.affiliate_id,
           o.site_id,
           o.ordered_at AS sale_datetime,
           l.quantity,
           l.quantity * l.unit_price AS gross_amount,
           l.discount AS discount_amount,
           l.quantity * l.unit_price - l.discount AS net_amount
    FROM order_lines l
    JOIN orders o ON o.id = l.order_id
    LEFT JOIN products p ON p.id = l.product_id
    LEFT JOIN courses c ON c.id = p.course_id
"""

PRODUCT_UPLOAD = """
    SELECT p.id AS product_id,
           p.seller_id,
           p.course_id,
           c.school_id,
           p.uploaded_at AS upload_datetime,
           p.price AS list_price
    FROM products p
    LEFT JOIN courses c ON c.id = p.course_id
"""

ORDER_FULFILLMENT = """
    SELECT id AS order_id,
           buyer_id,
           ordered_at,
           paid_at,
           delivered_at,
           DATEDIFF(DATE(paid_at), DATE(ordered_at)) AS days_to_pay,
           DATEDIFF(DATE(delivered_at), DATE(paid_at)) AS days_to_deliver
    FROM orders
"""

PROGRAM_MEMBERSHIP = """
    SELECT program_id, user_id, joined_at
    FROM program_members
"""

PRODUCT_REVIEW = """
    SELECT id AS review_id, product_id, user_id, written_at, rating
    FROM reviews
"""
