"""Several short rows in one long one: best-fit decreasing, and lower bounds for the number of bins."""

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pack(lengths: ArrayLike, *, capacity: int) -> list[list[int]]:
    """Best-fit decreasing: from the longest row on, each goes into the fullest bin that has room. Returns places by bin.

    Bins stand in the order in which they were opened. It needs at most 11/9 OPT + 6/9 bins, as first-fit decreasing does (Dosa
    2007). Raises ValueError for a row longer than the capacity.
    """
    sizes = np.asarray(lengths)
    if len(sizes) and sizes.max() > capacity:
        raise ValueError(f"a row of {sizes.max()} tokens does not fit into {capacity} positions; take a longer block")
    bins = list[list[int]]()
    free: list[tuple[int, int]] = []  # room and number of every bin, ascending
    for place in np.argsort(-sizes, kind="stable"):
        at = bisect_left(free, (int(sizes[place]), -1))
        room, number = free.pop(at) if at < len(free) else (capacity, len(bins))
        if number == len(bins):
            bins.append([])
        bins[number].append(int(place))
        insort(free, (room - int(sizes[place]), number))
    return bins


def least_bins(lengths: ArrayLike, *, capacity: int) -> int:
    """The larger of two lower bounds for the number of bins: L1 = ceil(sum / C), and L2 of Martello and Toth (1990, chapter 8).

    L2 = max over a threshold k of |J1| + |J2| + max(0, ceil((sum over J3 - (|J2| C - sum over J2)) / C)), where J1 holds the rows
    longer than C - k, J2 those longer than C / 2 but not in J1, J3 those from k to C / 2.
    """
    sizes: NDArray[np.int64] = np.asarray(lengths, dtype=np.int64)
    bound = -(-int(sizes.sum()) // capacity)
    for threshold in [0, *np.unique(sizes[2 * sizes <= capacity])]:
        alone = sizes > capacity - threshold
        large = (2 * sizes > capacity) & ~alone
        small = (sizes >= threshold) & (2 * sizes <= capacity)
        over = int(sizes[small].sum()) - (int(large.sum()) * capacity - int(sizes[large].sum()))
        bound = max(bound, int(alone.sum()) + int(large.sum()) + max(0, -(-over // capacity)))
    return bound
