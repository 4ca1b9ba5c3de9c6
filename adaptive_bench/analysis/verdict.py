"""What a table says of an arm, in words from a fixed list."""

import math

from .compare import Comparison

SIGNIFICANT = 0.05
BASELINE = "baseline"
FASTER_NOT_WORSE = "faster, not worse"
FASTER_UNDECIDED = "faster, quality undecided"
FASTER_WORSE = "faster, worse"
FASTER = "faster"  # before its quality is judged
NO_DIFFERENCE = "no difference shown"
SLOWER = "slower"
MISSED = "missed"
NOT_YET = "not yet different"
CONTROL = "control"
CANNOT_TELL = "cannot tell"  # no target, no interval, or a crossing too early to be placed
VERDICTS = {
    FASTER_NOT_WORSE: "fewer {cost} to the target, and not worse by the margin or more",
    FASTER_UNDECIDED: "fewer {cost} to the target; neither worse nor within the margin can be shown",
    FASTER_WORSE: "fewer {cost} to the target, and worse at the end",
    NO_DIFFERENCE: "the {cost} to the target could be equal",
    SLOWER: "more {cost} to the target",
    MISSED: "at least one started run did not reach the target",
    NOT_YET: "it had not done anything else than the baseline when the target was reached",
    CONTROL: "repeats the sizes of the arm in its name, and is held against that arm instead of the baseline",
    CANNOT_TELL: "no target, too few runs, or a crossing within the first two evaluations",
}


def speed(comparison: Comparison, *, p: float) -> str:
    """`faster`, `slower` or that no difference is shown, from a speed-up and its corrected p."""
    if math.isnan(comparison.estimate) or math.isnan(p):
        return CANNOT_TELL
    if p >= SIGNIFICANT:
        return NO_DIFFERENCE
    # `ratio`'s estimate is ln(baseline / arm), which is above 0 for an arm that is faster
    return FASTER if comparison.estimate > 0 else SLOWER


def quality(*, p_worse: float, p_change: float, worse: bool) -> str:
    """Not worse, worse or undecided.

    `p_worse` is the corrected one-sided p of the test that the arm is worse by the margin or more, `p_change` the corrected p of
    the change, and `worse` whether the arm's value is the worse one.
    """
    if p_worse < SIGNIFICANT / 2:  # one-sided: the interval's lower bound lies above - margin
        return FASTER_NOT_WORSE
    return FASTER_WORSE if worse and p_change < SIGNIFICANT else FASTER_UNDECIDED
