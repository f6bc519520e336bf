"""The types of sums, products and quotients of decimals in MySQL."""

import math

from pypelineetl.sql.translation.types import INTEGER, Kind, Type, decimal

_GROUP = 9
"""The digits in a group; MySQL computes decimals in whole groups."""
_DIVISION_DIGITS = 4
"""The digits that a quotient has beyond those of its dividend: `div_precision_increment`."""


def product_type(operator: str, one: Type, other: Type) -> Type:
    """Return the type of a sum, difference, product or remainder of whole numbers and decimals."""
    if one.kind is Kind.INTEGER and other.kind is Kind.INTEGER:
        return INTEGER
    if one.scale is None or other.scale is None:
        return decimal(None)
    # A product has the digits of both operands, a sum those of the operand
    # with more.
    combine = sum if operator == "*" else max
    scale = combine((one.scale, other.scale))
    if not one.excess and not other.excess:
        return decimal(scale)
    return decimal(scale, combine((computed_scale(one), computed_scale(other))))


def computed_scale(kind: Type) -> int:
    """Return the digits after the point with which MySQL computes; 0 if they are not known."""
    return kind.excess or kind.scale or 0


def quotient_type(one: Type, other: Type) -> Type:
    """Return the type of a quotient of whole numbers and decimals, whose scales must be known.

    MySQL computes the digits of both operands in whole groups, and at least
    four digits more:

    >>> quotient_type(decimal(2), INTEGER)
    Type(kind=<Kind.DECIMAL: 'a decimal'>, scale=6, excess=9, name='', is_required=False)
    """
    scales = [computed_scale(one), computed_scale(other)]
    in_groups = sum(map(_whole_groups, scales))
    spare = in_groups - sum(scales)
    digits = in_groups + max(0, _DIVISION_DIGITS - spare)
    return decimal((one.scale or 0) + _DIVISION_DIGITS, _whole_groups(digits))


def _whole_groups(digits: int) -> int:
    """Return a number of digits, rounded up to whole groups."""
    return math.ceil(digits / _GROUP) * _GROUP
