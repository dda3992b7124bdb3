"""An estimate as one HTML page that needs no network and runs no script."""

from typing import Final

from meritorder.records.estimation import Estimate
from meritorder.report.compare.estimate import asked, break_even, patience_columns, way_columns
from meritorder.report.page import fill

_TEMPLATE: Final = "estimate.html.j2"


def render(estimate: Estimate) -> str:
    """Return the page; all text is escaped."""
    return fill(
        _TEMPLATE,
        None,
        schema=estimate.schema,
        answer=estimate,
        asked=asked(estimate),
        ways=[column for column in way_columns(estimate, estimate.ways) if any(column.cells)],
        patience=patience_columns(estimate.patience),
        break_even=break_even(estimate),
    )
