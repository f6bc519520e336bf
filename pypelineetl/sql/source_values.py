"""The values of sources that no type of Python holds as the engine needs them."""

import math


class Bits(str):
    """The zeros and ones of a BIT value, as PostgreSQL returns them.

    A cast must not read them as a decimal number.
    """

    __slots__ = ()


class NotANumber(float):
    """NaN that equals itself, so that a NaN which comes again is no change."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isnan(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(NotANumber)


class UnsupportedValue:
    """A source's value that Python cannot hold, such as the date `infinity`; no column takes it."""

    def __init__(self, type_name: str, reason: str) -> None:
        self.type_name = type_name
        """The Python type of the other values of its column."""
        self.reason = reason
        """Why Python cannot hold it."""

    def __repr__(self) -> str:
        """Return the reason, and not the value, which may be secret."""
        return f"a {self.type_name}, and {self.reason}"


class Interval:
    """An interval of PostgreSQL, for which no type of the DDL exists."""
