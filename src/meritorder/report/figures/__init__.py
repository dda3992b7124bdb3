"""The figures of the answer, as Vega-Lite: pure functions of the answer."""

from meritorder.report.figures.bars import lanes, paid_time, waterfall
from meritorder.report.figures.frontier import frontier
from meritorder.report.figures.load import load

__all__ = ["frontier", "lanes", "load", "paid_time", "waterfall"]
