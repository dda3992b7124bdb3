"""The highest real-time load that n pooled machines carry within the SLO, as the programme sees it.

c(n) comes from the simulator as a table. It is more than n c(1): a larger pool smooths its own peaks. Being convex
where a linear programme would want it concave, its relaxation is the upper envelope of the table, cut off at the load
that there is: with everything in one pool the envelope needs exactly the whole machines that the table needs.
"""

import math

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import ConfigError

Floats = NDArray[np.float64]


def min_machines(safe_load: Floats, load: float) -> int:
    """Return the fewest machines that carry a load: min {n: c(n) >= load}; all of them if none do.

    Args:
        safe_load: c(n), shape (most + 1,).
        load: Load in replicas' worth.
    """
    return min(int(np.searchsorted(safe_load, load * (1 - 1e-12))), len(safe_load) - 1)


def concave_envelope(safe_load: Floats, load: float) -> list[tuple[float, float]]:
    """Return the lines (slope, height at 0) whose lowest is the upper concave envelope of min(c(n), load).

    Over n = 0, ..., `machines_for(load)`. Every whole number of machines that carries a load satisfies

        carried <= slope * n + height    for every line.

    Args:
        safe_load: c(n), shape (most + 1,).
        load: The largest load that can come.
    """
    last = min_machines(safe_load, load)
    points = np.minimum(safe_load[: last + 1], load)
    lines, n = [], 0
    while n < last:
        slopes = (points[n + 1 :] - points[n]) / np.arange(1, last - n + 1)
        # The farthest of equal slopes, so that no line comes twice.
        step = len(slopes) - int(np.argmax(slopes[::-1]))
        slope = float(slopes[step - 1])
        lines.append((slope, float(points[n] - slope * n)))
        n += step
    return lines


def extend(safe_load: Floats, most: int) -> Floats:
    """Continue a table to more machines at the pace of its last ones; being convex, the true load is no lower.

    Args:
        safe_load: c(n), shape (measured + 1,), of at least one machine.
        most: Machines to go up to.
    """
    if len(safe_load) < 2:
        raise ConfigError("a safe load needs the figure of one machine at least", where="safe load")
    last = len(safe_load) - 1
    pace = safe_load[last] / last
    more = safe_load[last] + pace * np.arange(1, max(most - last, 0) + 1)
    return np.concatenate((safe_load, more))


def extend_to_load(safe_load: Floats, load: float) -> Floats:
    """Continue a table to as many machines as a load asks for; as it is if they are in it.

    Args:
        safe_load: c(n), shape (measured + 1,), of at least one machine.
        load: The largest load that can come.
    """
    last = len(safe_load) - 1
    short = load - float(safe_load[-1])
    if short <= 0 or safe_load[-1] <= 0:
        return safe_load
    return extend(safe_load, last + math.ceil(short / (safe_load[-1] / last)))


def has_pooling_gain(safe_load: Floats) -> bool:
    """Whether one pool carries what two of its parts would: c(n) / n never falls, so c(m) + c(n) <= c(m + n)."""
    each = safe_load[1:] / np.arange(1, len(safe_load))
    return bool((np.diff(each) >= -1e-12).all())
