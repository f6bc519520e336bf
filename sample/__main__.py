"""`python -m sample --url URL --scale S [--day D]`: write the sample's operational database, or its next day."""

import argparse
import sys

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from sample.days import DayError, write


def main() -> int:
    """Write what the arguments ask for and print the tables; 0 for success, 2 for wrong use or no such database."""
    parser = argparse.ArgumentParser(prog="python -m sample", description="Write the sample's operational database.")
    parser.add_argument("--url", required=True, help="where to: sqlite:///…, mysql://…, postgresql://…")
    parser.add_argument("--scale", type=_positive, default=1, help="multiplies users, products and orders")
    parser.add_argument("--day", type=_positive, default=1, help="1 writes afresh, 2 and on change what is there")
    arguments = parser.parse_args()
    try:
        shown = make_url(arguments.url).render_as_string(hide_password=True)
    except ArgumentError:
        parser.error("--url is no database URL; the form is database://user:password@host:port/name")
    try:
        rows = write(arguments.url, scale=arguments.scale, day=arguments.day)
    except DayError as error:
        parser.error(str(error))
    except (SQLAlchemyError, ImportError) as error:
        parser.error(f"cannot write {shown}: {getattr(error, 'orig', None) or error}")
    for table, count in rows.items():
        sys.stdout.write(f"{table:<20}{count:>12,} rows\n")
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "must be 1 or more"
        raise argparse.ArgumentTypeError(message)
    return number


if __name__ == "__main__":
    sys.exit(main())
