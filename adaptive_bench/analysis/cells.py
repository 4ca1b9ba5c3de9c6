"""Numbers as text: what a reader sees in a table's cell."""

import math
from collections.abc import Iterable, Sequence

from .intervals import Interval
from .published import Claim, Replication

NOTHING = "-"


def number(value: float, *, decimals: int, sign: bool = False) -> str:
    """1,234.50; "-" for nan."""
    if math.isnan(value):
        return NOTHING
    return f"{value:{'+' if sign else ''},.{decimals}f}"


def interval(value: Interval, *, decimals: int, sign: bool = False) -> str:
    """The text "mean [low, high]", or "mean [-]" where there are too few values for bounds."""
    mean, low, high = (number(part, decimals=decimals, sign=sign) for part in (value.mean, value.low, value.high))
    if mean == NOTHING:
        return NOTHING
    return f"{mean} [{low}, {high}]" if low != NOTHING else f"{mean} [{NOTHING}]"


def detectable(effect: Interval) -> str:
    """A speed-up that could have been found; beyond 100 its size says nothing more than that nothing could."""
    if math.isnan(effect.mean):
        return NOTHING
    mean, low, high = (">100" if part > 100 else f"{part:.2f}" for part in (effect.mean, effect.low, effect.high))
    return f"{mean} [{low}, {high}]"


def speedup(effect: Interval) -> str:
    """A ratio near 1, to the hundredth; small ones to three digits."""
    return interval(effect, decimals=max(2, decimals(effect.mean, digits=3)))


def published(found: Sequence[tuple[Claim, Replication]]) -> str:
    """The text "114.5: agrees; 125.4 [120.6, 130.2]: differs": values and intervals with the digits that were published."""
    return "; ".join(f"{claim(each)}: {ours.verdict}" for each, ours in found) or NOTHING


def claim(published: Claim) -> str:
    value, low, high = (f"{part:,.10g}" for part in (published.value, published.low, published.high))
    return value if math.isnan(published.low) else f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    return NOTHING if math.isnan(p) else f"{p:.2g}"


def column_decimals(values: Iterable[Interval]) -> int:
    """One number of decimals for a whole column: what its largest mean needs."""
    return decimals(max((abs(value.mean) for value in values if math.isfinite(value.mean)), default=math.nan))


def decimals(value: float, *, digits: int = 4) -> int:
    """As many decimals as `value` needs for so many significant digits."""
    if not math.isfinite(value) or value == 0:
        return 2
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))
