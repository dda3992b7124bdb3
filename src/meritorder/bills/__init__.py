"""Bills: one reader a format, to CHARGES; which charges are inference; FinOps figures."""

from meritorder.bills.bill import Bill, read
from meritorder.bills.charges import COMMITMENTS, PurchaseOption
from meritorder.bills.figures import (
    compute_figures,
    hourly_charges,
    hourly_groups,
    ratio,
    select_inference,
    sum_by,
    sum_commitments,
    sum_tokens,
)
from meritorder.bills.report import BillReport, FileReport, Invoice
from meritorder.bills.selection import MACHINES, THROUGHPUT, matches_selectors, may_wait, non_production, tag, tag_pairs

__all__ = [
    "COMMITMENTS",
    "MACHINES",
    "THROUGHPUT",
    "Bill",
    "BillReport",
    "FileReport",
    "Invoice",
    "PurchaseOption",
    "compute_figures",
    "hourly_charges",
    "hourly_groups",
    "matches_selectors",
    "may_wait",
    "non_production",
    "ratio",
    "read",
    "select_inference",
    "sum_by",
    "sum_commitments",
    "sum_tokens",
    "tag",
    "tag_pairs",
]
