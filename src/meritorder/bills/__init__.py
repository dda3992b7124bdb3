"""Bills: one reader a source, to CHARGES; which charges are inference; the figures of FinOps."""

from meritorder.bills.bill import Bill, read
from meritorder.bills.charges import COMMITMENTS, Purchase
from meritorder.bills.figures import (
    ESR_DENOMINATOR,
    Figures,
    by,
    commitments,
    could_wait_usd,
    figures,
    hourly,
    inference,
    resources,
    token_spend,
)
from meritorder.bills.report import FileReport, Invoice, Report

__all__ = [
    "COMMITMENTS",
    "ESR_DENOMINATOR",
    "Bill",
    "Figures",
    "FileReport",
    "Invoice",
    "Purchase",
    "Report",
    "by",
    "commitments",
    "could_wait_usd",
    "figures",
    "hourly",
    "inference",
    "read",
    "resources",
    "token_spend",
]
