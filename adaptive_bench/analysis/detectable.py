"""The smallest effect that a paired comparison would have found."""

import math

from scipy import optimize, stats

POWER = 0.8
ALPHA = 0.05


def detectable(sd: float, *, pairs: int, comparisons: int) -> float:
    """The speed-up exp(d) that a two-sided paired t test on log ratios with this sd finds with 80 % power.

    d solves P(T > t(1 - a / 2)) = 0.8, where T is non-central t with pairs - 1 degrees of freedom and the non-centrality
    d sqrt(pairs) / sd; the other tail is left out, it adds less than 1e-4. a = 0.05 / comparisons is the first step of Holm, the
    hardest one. nan if there are fewer than two pairs.
    """
    if pairs < 2 or math.isnan(sd):
        return math.nan
    critical = float(stats.t.ppf(1 - ALPHA / comparisons / 2, pairs - 1))

    def shortfall(shift: float) -> float:
        return float(stats.nct.sf(critical, pairs - 1, shift)) - POWER

    upper = critical + 1
    while shortfall(upper) < 0:
        upper *= 2
    return math.exp(min(optimize.brentq(shortfall, 0, upper) * sd / math.sqrt(pairs), 700.0))  # exp overflows at 710
