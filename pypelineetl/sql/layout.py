"""Lay out the text of a statement for people: one clause a line, indented by its queries."""

import re
from collections.abc import Iterable, Iterator, Sequence

_WIDTH = 100
_TOKEN = re.compile(
    r"""
    '(?:[^']|'')*'          # a literal
    | "(?:[^"]|"")*"        # a quoted name
    | `(?:[^`]|``)*`        # a quoted name of MySQL
    | --[^\n]*              # a comment
    | [^\W\d]\w*            # a word
    | \s+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_CLAUSES = frozenset(
    (
        *("SELECT", "FROM", "WHERE", "GROUP", "HAVING", "QUALIFY", "WINDOW", "ORDER", "LIMIT"),
        *("UNION", "SET", "VALUES", "JOIN", "LEFT", "ANTI", "SEMI"),
    )
)
"""The words with which a clause begins."""
_NOT_AFTER = {"FROM": {"DISTINCT", "DELETE"}, "JOIN": {"LEFT", "ANTI", "SEMI"}}
"""Words that begin no clause after one of these words."""
_OF_CASE = frozenset({"WHEN", "ELSE", "END"})
_BRANCHES = frozenset({"WHEN", "ELSE", "END", "AND", "OR"})
"""The words before which a line that is too long may break, if it has no comma to break at."""


def tokens(statement: str) -> list[str]:
    """Return the words, names, literals, signs and comments of a statement, without white space.

    >>> tokens("SELECT 'a  b' -- one")
    ['SELECT', "'a  b'", '-- one']
    """
    return [token for token in _TOKEN.findall(statement) if not token.isspace()]


def laid_out(statement: str) -> str:
    """Return a statement with one clause a line. Only white space differs.

    >>> print(laid_out("SELECT a FROM (SELECT * FROM t WHERE b = 1) ORDER BY a"))
    SELECT a
    FROM (
      SELECT *
      FROM t
      WHERE b = 1
    )
    ORDER BY a
    """
    layout = _Layout()
    parts = _TOKEN.findall(statement)
    for number, part in enumerate(parts):
        layout.add(part, parts[number + 1 :])
    layout.end_line()
    return "\n".join(layout.lines)


class _Layout:
    """The lines of one statement, to which its parts are added in their order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        # For each open parenthesis, whether it has a query in it. The
        # statement itself is one. A CASE of several lines counts as two
        # parentheses, so that WHEN is further right than END.
        self._around = [True]
        # For each open CASE, whether it has several lines.
        self._cases: list[bool] = []
        self._line = ""
        self._depth = 0
        self._before = ""

    def add(self, part: str, following: Sequence[str]) -> None:
        """Add one part.

        Args:
            part: A token, or white space.
            following: The parts after it.

        """
        if part.isspace():
            self._line += " "
            return
        word = part.upper()
        is_comment = part.startswith("--")
        is_clause = word in _CLAUSES and self._before not in _NOT_AFTER.get(word, ())
        is_query = self._around[-1]
        ends = part == ")" and len(self._around) > 1
        # The engine writes a CASE that is too long for a line with a new
        # line after the word.
        has_lines = word == "CASE" and "\n" in "".join(following[:1])
        of_case = word in _OF_CASE and bool(self._cases) and self._cases[-1]
        if is_comment or has_lines or of_case or (is_query and (is_clause or ends)):
            self.end_line()
        if ends or (word == "END" and of_case):
            self._around.pop()
        if not self._line.strip():
            goes_on = is_query and not (is_clause or ends or is_comment) and bool(self.lines)
            self._depth = len(self._around) - 1 + goes_on
        self._line += part
        self._before = word
        opens = part == "(" and _is_query(following)
        if part == "(":
            self._around.append(opens)
        if word == "CASE":
            self._cases.append(has_lines)
            self._around += [False, False] if has_lines else []
        if word == "END" and self._cases and self._cases.pop():
            self._around.pop()
        if is_comment or opens:
            self.end_line()

    def end_line(self) -> None:
        """End the line, and begin a new one."""
        line = _single_blanks(self._line).strip()
        self._line = ""
        if line:
            self.lines += _wrapped(line, "  " * self._depth)


def _is_query(parts: Iterable[str]) -> bool:
    """Return whether a query follows: SELECT or FROM, perhaps after comments."""
    for part in parts:
        if not (part.isspace() or part.startswith("--")):
            return part.upper() in {"SELECT", "FROM"}
    return False


def _single_blanks(line: str) -> str:
    """Return a line with one blank where it has several, except in literals and names."""
    return "".join(" " if part.isspace() else part for part in _TOKEN.findall(line))


def _wrapped(line: str, indent: str) -> Iterator[str]:
    """Yield a line in pieces that fit the width, if it has places to break at."""
    more = f"{indent}  "
    for number, piece in enumerate(_filled(line, len(more), _after_commas(line))):
        begin = more if number else indent
        branches = _filled(piece, len(more) + 2, _before_branches(piece))
        for place, branch in enumerate(branches):
            yield f"{begin if place == 0 else more + '  '}{branch}"


def _filled(line: str, indent: int, pieces: Iterator[str]) -> Iterator[str]:
    """Yield the pieces of a line, as many together as fit the width."""
    if line.startswith("--") or len(line) + indent <= _WIDTH:
        yield line
        return
    filled = ""
    for piece in pieces:
        if filled and len(filled) + len(piece) + indent > _WIDTH:
            yield filled.strip()
            filled = ""
        filled += piece
    yield filled.strip()


def _after_commas(line: str) -> Iterator[str]:
    """Yield the parts of a line, each up to a comma that is in no parenthesis."""
    depth, piece = 0, ""
    for part in _TOKEN.findall(line):
        depth += {"(": 1, ")": -1}.get(part, 0)
        piece += part
        if part == "," and depth == 0:
            yield piece
            piece = ""
    yield piece


def _before_branches(line: str) -> Iterator[str]:
    """Yield the parts of a line, each from a word of _BRANCHES on."""
    piece = ""
    for part in _TOKEN.findall(line):
        if part.upper() in _BRANCHES and piece.strip():
            yield piece
            piece = ""
        piece += part
    yield piece
