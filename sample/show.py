"""Show answers of the star in the warehouse that config.py names: `python -m sample.show`."""

import sys
from collections.abc import Sequence
from decimal import Decimal
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


def main() -> int:
    """Print three schools, and the revenue by quarter.

    Return 1 if the quarters do not add up to the revenue of the source.
    """
    project = read_project(config)
    sales = project.find("fact", "product_sale")
    with project.open_source(sales) as source:
        [(lines, held)] = source.query(
            f"SELECT COUNT(*), SUM(net_amount) FROM ({project.source_query(sales)}) AS sold"
        )
    with project.open_warehouse() as warehouse:
        schools, quarters = warehouse.query(_SCHOOLS), warehouse.query(_REVENUE)
    shown = [
        (f"{year} Q{quarter}", *counts, _money(revenue))
        for year, quarter, *counts, revenue in quarters
    ]
    _print("Three schools", ("school_id", "name", "state"), schools)
    _print("Revenue by quarter, US/Eastern", ("quarter", "lines", "buyers", "revenue"), shown)
    total = (lines, _money(held))
    adds_up = total == (sum(row[1] for row in shown), sum(row[3] for row in shown))
    verdict = (
        ", which is what the quarters add up to"
        if adds_up
        else " in the source; the quarters do NOT add up"
    )
    sys.stdout.write(f"In all {total[0]:,} order lines and {total[1]:,} of revenue{verdict}.\n")
    return 0 if adds_up else 1


def _money(amount: Any) -> Decimal:
    """Return an amount with two digits, because SQLite stores amounts as floating-point numbers."""
    return round(Decimal(amount), 2)


def _print(title: str, heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    lines = [heading, *([str(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sys.stdout.write(f"{title}\n")
    for line in lines:
        sys.stdout.write(
            "  "
            + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            + "\n"
        )
    sys.stdout.write("\n")


if __name__ == "__main__":
    sys.exit(main())
