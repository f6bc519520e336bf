"""Write MySQL's functions of texts in the SQL of a target database."""

from collections.abc import Sequence

from pypelineetl.sql.translation.expressions import Form


class Texts:
    """Functions of texts in the SQL that PostgreSQL and DuckDB share."""

    has_string_agg = True
    """Whether the database has STRING_AGG, for GROUP_CONCAT."""
    char_length = "LENGTH"
    """The function that counts the characters of a text."""
    trim = "TRIM"
    """The function that removes a character at both ends of a text."""
    split_text = "STRING_SPLIT"
    """The function that splits a text at a separator."""

    def concat_ws(self, texts: Sequence[str]) -> str:
        """Return texts joined by the first of them; NULL is left out."""
        return f"CONCAT_WS({', '.join(texts)})"

    def padded(self, name: str, arguments: Sequence[str]) -> str:
        """Return LPAD or RPAD."""
        return f"{name}({', '.join(arguments)})"

    def substring(self, text: str, start: str, counts: Sequence[str]) -> str:
        """Return SUBSTRING, from a position that is counted from 1, or from the end.

        Args:
            text: The text.
            start: The position; negative if it is counted from the end.
            counts: The number of characters, as the only item; empty for
                all.
        """
        # The rules of MySQL for a start below 1 and for a negative length
        # are not those of SUBSTR, so the SQL contains them.
        cut = ""
        for count in counts:
            cut += f", {self.position(f'CASE WHEN {count} < 0 THEN 0 ELSE {count} END')}"
        # A negative start is counted from the end, where -1 is the last
        # character.
        from_end = f"{self.char_length}({text}) + {start} + 1"
        are_given = " AND ".join(f"{number} IS NOT NULL" for number in (start, *counts))
        return (
            f"CASE WHEN {start} > 0 THEN SUBSTR({text}, {self.position(start)}{cut})"
            f" WHEN {start} < 0 AND {from_end} > 0"
            f" THEN SUBSTR({text}, {self.position(from_end)}{cut})"
            f" WHEN {are_given} THEN SUBSTR({text}, 1, 0) END"
        )

    def position(self, number: str) -> str:
        """Return a whole number as an argument of SUBSTR."""
        return number

    def substring_index(self, text: str, mark: str, count: int) -> str:
        """Return SUBSTRING_INDEX: the text before, or after, a separator.

        Args:
            text: The text.
            mark: The separator, as a literal.
            count: Which separator, from 1; negative if it is counted from
                the end.
        """
        if count == 0:
            # An empty text, or NULL for NULL.
            return f"LEFT({text}, 0)"
        parts = f"{self.split_text}({text}, {mark})"
        if count > 0:
            return f"ARRAY_TO_STRING(({parts})[1:{count}], {mark})"
        return f"ARRAY_TO_STRING(({parts})[{self.from_end(parts, -count)}:], {mark})"

    def from_end(self, array: str, count: int) -> str:
        """Return the position of the first of the last `count` items of an array."""
        raise NotImplementedError

    def sha256(self, text: str) -> str:
        """Return the SHA-256 of a text, in hexadecimal digits."""
        raise NotImplementedError

    def extreme(self, name: str, values: Sequence[str], form: Form) -> tuple[str, Form]:
        """Return GREATEST or LEAST of values, which is NULL if one of them is NULL.

        Args:
            name: GREATEST or LEAST.
            values: The values, cast to one type.
            form: The form of the values.

        Returns:
            The SQL, and the form of the result.
        """
        # GREATEST and LEAST of PostgreSQL and DuckDB leave NULL out. In
        # MySQL, NULL gives NULL.
        missing = " OR ".join(f"{value} IS NULL" for value in values)
        return f"CASE WHEN {missing} THEN NULL ELSE {name}({', '.join(values)}) END", form
