"""The SQL condition by which an incremental load reads only new rows."""

from collections.abc import Mapping

from pypelineetl.extract.high_water_marks import HighWaterMark


def watermark_condition(
    marks: Mapping[str, HighWaterMark],
    lower_bounds: Mapping[str, str],
    expressions: Mapping[str, str],
) -> str:
    """Return the condition on the rows that a load reads; empty for all rows.

    For a watermark of one column that earlier loads have read up to
    2024-01-01, in a source whose largest value is 2024-01-31, it is (here
    in two lines):

        (changed_at <= '2024-01-31' OR changed_at IS NULL)
        AND (changed_at >= '2024-01-01' OR changed_at IS NULL)

    Args:
        marks: The high-water marks by column.
        lower_bounds: For each column that earlier loads have read, the SQL
            literal of the first value to read. If it is empty, the load
            reads from the beginning.
        expressions: What each column is in the source query.
    """
    conditions = []
    for column, mark in marks.items():
        upper = _upper_condition(mark, expressions[column])
        if upper:
            conditions.append(upper)
    if lower_bounds:
        # A row is new if one of the columns says so, or if all of them are
        # NULL.
        is_new = []
        for column, mark in marks.items():
            is_new.append(_lower_condition(mark, lower_bounds.get(column), expressions[column]))
        all_null = " AND ".join(f"({expressions[column]}) IS NULL" for column in marks)
        conditions.append(" OR ".join([*is_new, f"({all_null})"]))
    return " AND ".join(f"({condition})" for condition in conditions)


def _upper_condition(mark: HighWaterMark, expression: str) -> str:
    """Return the condition that a value is not above the mark; empty if all rows are read.

    Rows above it were committed after the mark was read. The next load
    reads them.
    """
    if mark.type is None:
        return ""
    if mark.value is None:
        # All rows are ahead of the clock. A fact that appends reads them
        # when it has passed them.
        return "1 = 0" if mark.is_append else ""
    comparable = mark.type.comparable(expression)
    condition = f"{comparable} <= {mark.type.literal(mark.value)} OR ({expression}) IS NULL"
    if mark.rows_ahead and mark.clock is not None and not mark.is_append:
        # Each load reads the rows ahead of the clock. They do not move the
        # mark.
        condition += f" OR {comparable} > {mark.type.literal(mark.clock)}"
    return condition


def _lower_condition(mark: HighWaterMark, lower_bound: str | None, expression: str) -> str:
    """Return the condition that a value is not below the lower bound."""
    if mark.type is None or lower_bound is None:
        return f"({expression}) IS NOT NULL"
    # A fact that appends cannot find a row that it has loaded, so it must
    # not read one twice.
    operator = ">" if mark.is_append else ">="
    return f"{mark.type.comparable(expression)} {operator} {lower_bound}"
