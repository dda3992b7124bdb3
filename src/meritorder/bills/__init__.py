"""Bills: one reader a source, to CHARGES; which charges are inference; the figures of FinOps."""

from meritorder.bills.bill import Bill, read
from meritorder.bills.charges import COMMITMENTS, Purchase
from meritorder.bills.figures import (
    ESR_DENOMINATOR,
    Figures,
    by,
    by_hour,
    commitments,
    could_wait_usd,
    figures,
    hourly,
    inference,
    resources,
    token_spend,
)
from meritorder.bills.report import FileReport, Invoice, Report
from meritorder.bills.selection import MACHINES, chosen, may_wait, non_production, tag, tag_pairs

__all__ = [
    "COMMITMENTS",
    "ESR_DENOMINATOR",
    "MACHINES",
    "Bill",
    "Figures",
    "FileReport",
    "Invoice",
    "Purchase",
    "Report",
    "by",
    "by_hour",
    "chosen",
    "commitments",
    "could_wait_usd",
    "figures",
    "hourly",
    "inference",
    "may_wait",
    "non_production",
    "read",
    "resources",
    "tag",
    "tag_pairs",
    "token_spend",
]
