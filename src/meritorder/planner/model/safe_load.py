"""The safe load c(n): the highest real-time load that n pooled machines serve within the SLO.

c(n) is a table from the simulator, with c(n) > n c(1): a larger pool smooths its peaks. A linear program needs a
concave function, and c is convex; its relaxation is the upper concave envelope of min(c(n), load). With all load in one
pool the envelope requires exactly as many whole machines as the table.
"""

import math

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import ConfigError

Floats = NDArray[np.float64]


def min_machines(safe_load: Floats, load: float) -> int:
    """Return the fewest machines that serve a load, min {n: c(n) >= load}, or all machines if none suffice.

    Args:
        safe_load: c(n), shape (max machines + 1,).
        load: Load in saturated replicas.
    """
    return min(int(np.searchsorted(safe_load, load * (1 - 1e-12))), len(safe_load) - 1)


def concave_envelope(safe_load: Floats, load: float) -> list[tuple[float, float]]:
    """Return the upper concave envelope of min(c(n), load) as lines (slope, intercept).

    Every whole number of machines n up to `min_machines(safe_load, load)` satisfies

        min(c(n), load) <= slope * n + intercept    for every line.

    Args:
        safe_load: c(n), shape (max machines + 1,).
        load: The largest possible load.
    """
    last = min_machines(safe_load, load)
    points = np.minimum(safe_load[: last + 1], load)
    lines, n = [], 0
    while n < last:
        slopes = (points[n + 1 :] - points[n]) / np.arange(1, last - n + 1)
        # The farthest point of equal slopes, so that no line appears twice.
        step = len(slopes) - int(np.argmax(slopes[::-1]))
        slope = float(slopes[step - 1])
        lines.append((slope, float(points[n] - slope * n)))
        n += step
    return lines


def extend(safe_load: Floats, machines: int) -> Floats:
    """Extend a table to more machines at its last load per machine; the true load is no lower, because c is convex.

    Args:
        safe_load: c(n), shape (measured + 1,), of at least one machine.
        machines: Machines of the extended table.
    """
    if len(safe_load) < 2:
        raise ConfigError("a safe load must cover at least one machine", where="safe load")
    last = len(safe_load) - 1
    per_machine = safe_load[last] / last
    more = safe_load[last] + per_machine * np.arange(1, max(machines - last, 0) + 1)
    return np.concatenate((safe_load, more))


def extend_to_load(safe_load: Floats, load: float) -> Floats:
    """Extend a table until it covers a load.

    Args:
        safe_load: c(n), shape (measured + 1,), of at least one machine.
        load: The largest possible load.
    """
    last = len(safe_load) - 1
    short = load - float(safe_load[-1])
    if short <= 0 or safe_load[-1] <= 0:
        return safe_load
    return extend(safe_load, last + math.ceil(short / (safe_load[-1] / last)))


def has_pooling_gain(safe_load: Floats) -> bool:
    """Whether c(n) / n never decreases, so that splitting a pool never helps: c(m) + c(n) <= c(m + n)."""
    per_machine = safe_load[1:] / np.arange(1, len(safe_load))
    return bool((np.diff(per_machine) >= -1e-12).all())
