"""MySQL's functions of texts, in Python for SQLite."""

import hashlib

from pypelineetl.sql.translation.sqlite_functions.tables import Functions, strict_in

FUNCTIONS: Functions = {}
"""The functions of this module."""
_function = strict_in(FUNCTIONS)


@_function("length", 1)
def _length(given: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(given.encode())


@_function("char_length", 1)
def _char_length(given: str) -> int:
    return len(given)


@_function("upper", 1)
def _upper(given: str) -> str:
    # MySQL keeps a letter whose upper case is several letters in Python,
    # such as ß.
    return "".join(each.upper() if len(each.upper()) == 1 else each for each in given)


@_function("lower", 1)
def _lower(given: str) -> str:
    # In Python the lower case of İ is two characters. MySQL has only the
    # first.
    return "".join(each.lower()[0] for each in given)


def _replace(given: str | None, old: str | None, new: str | None) -> str | None:
    """Return REPLACE. If `old` is empty, the text is returned even if `new` is NULL."""
    if given is None or old is None or (old and new is None):
        return None
    return given.replace(old, new or "") if old else given


FUNCTIONS["replace"] = (_replace, 3)


@_function("left", 2)
def _left(given: str, count: int) -> str:
    return given[: max(count, 0)]


@_function("right", 2)
def _right(given: str, count: int) -> str:
    # given[-0:] would be the whole text.
    return given[-count:] if count > 0 else ""


@_function("substring", 2)
def _substring(given: str, start: int) -> str:
    """Return a text from a position on, counted from 1, or from the end if it is negative.

    The result is empty for the position 0, and for one before the beginning
    of the text.
    """
    # A negative start is counted from the end.
    begin = _place(given, start)
    return "" if begin is None else given[begin:]


@_function("substring_of", 3)
def _substring_of(given: str, start: int, count: int) -> str:
    """Return so many characters from a position on, as `_substring`."""
    begin = _place(given, start)
    return "" if begin is None else given[begin : begin + max(count, 0)]


def _place(given: str, start: int) -> int | None:
    """Return the place in a text, from 0, of a position in MySQL; None if there is none."""
    if start > 0:
        return start - 1
    # A negative position is counted from the end, and 0 is none.
    place = len(given) + start
    return place if start and place >= 0 else None


@_function("substring_index", 3)
def _substring_index(given: str, mark: str, count: int) -> str:
    """Return the text before the separator number `count`.

    A negative count is counted from the end, and gives the text after that
    separator.
    """
    # A count beyond the separators gives the whole text.
    parts = given.split(mark)
    return mark.join(parts[:count] if count >= 0 else parts[max(len(parts) + count, 0) :])


@_function("lpad", 3)
def _lpad(given: str, count: int, filling: str) -> str:
    """Return a text filled at its left, or cut, to exactly so many characters."""
    return (filling * count)[: max(count - len(given), 0)] + given[:count]


@_function("rpad", 3)
def _rpad(given: str, count: int, filling: str) -> str:
    """Return a text filled at its right, or cut, to exactly so many characters."""
    return given[:count] + (filling * count)[: max(count - len(given), 0)]


@_function("repeat", 2)
def _repeat(given: str, count: int) -> str:
    return given * count


@_function("space", 1)
def _space(count: int) -> str:
    return " " * count


@_function("md5", 1)
def _md5(given: str) -> str:
    # A Python in FIPS mode refuses MD5 without `usedforsecurity=False`.
    return hashlib.md5(given.encode(), usedforsecurity=False).hexdigest()


@_function("sha2", 1)
def _sha2(given: str) -> str:
    return hashlib.sha256(given.encode()).hexdigest()


@_function("instr", 2)
def _instr(given: str, part: str) -> int:
    return given.find(part) + 1


@_function("locate", 2)
def _locate(part: str, given: str) -> int:
    return given.find(part) + 1


def _concat_ws(mark: str | None, *parts: str | None) -> str | None:
    """Return texts joined by a separator. NULL is left out; a NULL separator gives NULL."""
    return None if mark is None else mark.join(part for part in parts if part is not None)


FUNCTIONS["concat_ws"] = (_concat_ws, -1)
