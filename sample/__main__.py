"""Write the sample's operational database: `python -m sample --url URL --scale S [--day D]`.

Day 1 writes all rows, and each later day changes some.
"""

import argparse
import sys

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from sample.days import DayError, write


def main() -> int:
    """Write a day, and print the number of rows of each table.

    Return 0 for success, and 2 for wrong arguments or a database that cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sample", description="Write the sample's operational database."
    )
    parser.add_argument(
        "--url", required=True, help="where to: sqlite:///…, mysql://…, postgresql://…"
    )
    parser.add_argument(
        "--scale", type=_positive, default=1, help="multiplies users, products and orders"
    )
    parser.add_argument(
        "--day", type=_positive, default=1, help="1 writes afresh, 2 and on change what is there"
    )
    arguments = parser.parse_args()
    try:
        # The options of a URL may include a password, so they are not shown.
        shown = make_url(arguments.url).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        parser.error(
            "--url is no database URL; the form is database://user:password@host:port/name"
        )
    try:
        rows = write(arguments.url, scale=arguments.scale, day=arguments.day)
    except DayError as error:
        parser.error(str(error))
    except (SQLAlchemyError, ImportError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        parser.error(f"cannot write {shown}: {reason}")
    for table, count in rows.items():
        sys.stdout.write(f"{table:<20}{count:>12,} rows\n")
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = "must be a whole number, 1 or more"
        raise argparse.ArgumentTypeError(message)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
