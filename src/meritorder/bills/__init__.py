"""Bills: one reader a source, to CHARGES; which charges are inference; the figures of FinOps."""

from meritorder.bills.bill import Bill, read
from meritorder.bills.charges import COMMITMENTS, Purchase
from meritorder.bills.report import FileReport, Invoice, Report

__all__ = ["COMMITMENTS", "Bill", "FileReport", "Invoice", "Purchase", "Report", "read"]
