"""`python -m sample.show`: what the star answers, asked of the warehouse that config.py names."""

import sys
from collections.abc import Sequence
from typing import Any

from pypelineetl import read_project

import config

_SCHOOLS = "SELECT school_id, name, state FROM school_dim ORDER BY id LIMIT 3"

_REVENUE = """
    SELECT d.year, d.quarter, COUNT(*), COUNT(DISTINCT f.buyer_fk), SUM(f.net_amount)
    FROM product_sale_fact f
    JOIN date_dim d ON d.id = f.local_date_fk
    GROUP BY d.year, d.quarter
    ORDER BY d.year, d.quarter
"""

_TOTAL = "SELECT COUNT(*), SUM(net_amount) FROM product_sale_fact"


def main() -> int:
    """Print three schools, and the revenue by quarter with a total; 1 if the quarters do not add up to it."""
    with read_project(config).open_warehouse() as warehouse:
        _print("Three schools", ("school_id", "name", "state"), warehouse.query(_SCHOOLS))
        quarters = warehouse.query(_REVENUE)
        [(lines, revenue)] = warehouse.query(_TOTAL)
    shown = [(f"{year} Q{quarter}", *rest) for year, quarter, *rest in quarters]
    _print("Revenue by quarter, US/Eastern", ("quarter", "lines", "buyers", "revenue"), shown)
    adds_up = lines == sum(row[2] for row in quarters) and revenue == sum(row[4] for row in quarters)
    sys.stdout.write(f"In all {lines:,} order lines and {revenue:,} of revenue")
    sys.stdout.write(
        ", which is what the quarters add up to.\n" if adds_up else "; the quarters do NOT add up to it.\n"
    )
    return 0 if adds_up else 1


def _print(title: str, heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    lines = [heading, *([str(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sys.stdout.write(f"{title}\n")
    for line in lines:
        sys.stdout.write("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n")
    sys.stdout.write("\n")


if __name__ == "__main__":
    sys.exit(main())
