"""The figures of the answers, as Vega-Lite: pure functions of the answer."""

from meritorder.report.figures.bars import bounds, lanes, paid_time, waterfall
from meritorder.report.figures.dispatch import paid, work
from meritorder.report.figures.frontier import frontier
from meritorder.report.figures.load import load
from meritorder.report.figures.merit_order import merit_order

__all__ = ["bounds", "frontier", "lanes", "load", "merit_order", "paid", "paid_time", "waterfall", "work"]
