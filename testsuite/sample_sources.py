"""The sample's shop as a SQLite file: complete, or small for tests that do not need 37,000 rows.

Each process writes the files once, and the tests copy them.
"""

import atexit
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import sample

_STORY_DAYS = 5
# Ten products, and of every other table only the rows that belong to them.
_SMALL = (
    "DELETE FROM products WHERE id > 10",
    "DELETE FROM order_lines WHERE product_id NOT IN (SELECT id FROM products)",
    "DELETE FROM orders WHERE id NOT IN (SELECT order_id FROM order_lines)",
    "DELETE FROM reviews WHERE product_id NOT IN (SELECT id FROM products)",
    """
    DELETE FROM courses
    WHERE id NOT IN (SELECT course_id FROM products WHERE course_id IS NOT NULL)
    """,
    """
    DELETE FROM users
    WHERE id NOT IN (
        SELECT seller_id FROM products
        UNION SELECT seller_id FROM order_lines
        UNION SELECT buyer_id FROM orders WHERE buyer_id IS NOT NULL
        UNION SELECT user_id FROM reviews
        UNION SELECT user_id FROM program_members
    )
    """,
    "DELETE FROM user_profiles WHERE user_id NOT IN (SELECT id FROM users)",
    """
    DELETE FROM schools
    WHERE id NOT IN (
        SELECT school_id FROM courses
        UNION SELECT school_id FROM users WHERE school_id IS NOT NULL
        UNION SELECT school_id FROM disability_programs
    )
    """,
)


def write_sample(path: Path) -> None:
    """Write the complete sample of the first day."""
    path.parent.mkdir(exist_ok=True)
    shutil.copy(_whole(), path)


def write_small_sample(path: Path) -> None:
    """Write ten products of the sample, and the rows that belong to them."""
    path.parent.mkdir(exist_ok=True)
    shutil.copy(_small(), path)


def write_sample_with_few_courses(path: Path) -> None:
    """Write the sample with 850 of its 30,418 courses.

    These are the courses of the products that the sample has on any of its first five days.
    """
    shutil.copy(_few_courses(), path)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="sample-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _whole() -> Path:
    path = _folder() / "whole.db"
    sample.write(f"sqlite:///{path}")
    return path


@cache
def _small() -> Path:
    path = _folder() / "small.db"
    shutil.copy(_whole(), path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in _SMALL:
            connection.execute(statement)
        connection.execute("VACUUM")
    return path


@cache
def _few_courses() -> Path:
    path, later = _folder() / "few-courses.db", _folder() / "later.db"
    shutil.copy(_whole(), path)
    shutil.copy(_whole(), later)
    used: set[int] = set()
    for day in range(1, _STORY_DAYS + 1):
        if day > 1:
            sample.write(f"sqlite:///{later}", day=day)
        with closing(sqlite3.connect(later)) as connection:
            used.update(*connection.execute("SELECT course_id FROM products"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TEMPORARY TABLE used (id INT)")
        connection.executemany("INSERT INTO used VALUES (?)", [(course,) for course in used])
        connection.execute(
            "DELETE FROM courses WHERE id NOT IN (SELECT id FROM used WHERE id IS NOT NULL)"
        )
    return path
