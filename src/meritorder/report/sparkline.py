"""A row of numbers as a line of blocks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_BLOCKS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values from zero to their greatest, at most `width` characters wide; only nothing at all is blank."""
    count = min(width, len(values))
    edges = [round(place * len(values) / count) for place in range(count + 1)] if count else []
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    greatest = max(means, default=0.0)
    return "".join(_block(mean / greatest) if mean > 0 else " " for mean in means)


def _block(share: float) -> str:
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))]


def step_path(values: Sequence[float], *, width: float, height: float) -> str:
    """Return the area under values as the path of an SVG, one step a value, from zero to their greatest."""
    greatest = max(values, default=0) or 1
    path = [f"M0 {height:g}"]
    before: float | None = None
    for place, value in enumerate(values):
        if value != before:
            path.append(f"H{place * width / len(values):.4g}V{height * (1 - value / greatest):.4g}")
            before = value
    return " ".join([*path, f"H{width:g}V{height:g}Z"])
