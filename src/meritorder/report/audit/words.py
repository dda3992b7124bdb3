"""Words and figures that the reports of an audit share."""

from decimal import Decimal
from typing import Final

from meritorder.records.findings import Audit, BillRead, RequestCosts
from meritorder.report.wording import or_missing
from meritorder.units import format_share, format_usd

_CENT: Final = Decimal("0.01")

KINDS: Final = {
    "unused_commitment": "Unused commitment",
    "commitment_wrong_family": "Commitment on the wrong family",
    "above_list_price": "Above list price",
    "idle_capacity": "Idle capacity",
    "over_provisioned": "Over-provisioned",
    "non_production_hours": "Non-production hours",
    "tokens_could_wait": "Tokens that could wait",
    "spot_for_deferrable": "Spot is enough",
    "cheaper_region": "Cheaper region",
    "old_generation": "Older generation",
    "commitment_for_on_demand": "On demand, not committed",
}

PURCHASES: Final = {
    "on_demand": "on demand",
    "spot": "spot",
    "savings_plan": "savings plans",
    "reserved": "reservations",
    "committed_use": "committed use",
    "capacity_block": "capacity blocks",
    "tokens": "tokens",
    "unused": "unused commitments",
    "fee": "fees",
    "tax": "taxes",
    "credit": "credits",
    "refund": "refunds",
    "discount": "discounts",
    "adjustment": "adjustments",
    "other": "other",
}


def figures(audit: Audit) -> list[tuple[str, str, str]]:
    """Return the FinOps figures as name, value and scope."""
    scopes = audit.scopes
    rows = [("Whole bill", format_usd(audit.total_usd, 2), scopes["total_usd"])]
    if abs(audit.amortised_usd - audit.total_usd) >= _CENT:
        rows.append(("Whole bill, amortized", format_usd(audit.amortised_usd, 2), scopes["amortised_usd"]))
    rows += [
        ("Inference", format_usd(audit.inference_usd, 2), scopes["inference_usd"]),
        ("On-demand equivalent", format_usd(audit.on_demand_equivalent_usd, 2), scopes["on_demand_equivalent_usd"]),
        (
            "Effective savings rate",
            or_missing(audit.effective_savings_rate, _rate),
            scopes["effective_savings_rate"],
        ),
        (
            "Commitment utilization",
            or_missing(audit.commitment_utilization, _rate),
            scopes["commitment_utilization"],
        ),
        ("Commitment coverage", or_missing(audit.commitment_coverage, _rate), scopes["commitment_coverage"]),
        ("Unused commitment", format_usd(audit.unused_commitment_usd, 2), scopes["unused_commitment_usd"]),
    ]
    return rows


def _rate(share: Decimal) -> str:
    return format_share(share, 1)


def a_month(audit: Audit) -> str:
    """Return what period the dollars of findings are for."""
    months = audit.bill.months
    return "over the period of the bill" if months <= 1 else f"a month, the mean of {months:g}"


def what_was_read(audit: Audit) -> str:
    """Return files, rows and period in one line."""
    read = audit.bill
    files = read.files[0] if len(read.files) == 1 else f"{len(read.files)} files"
    start, end = read.period_start[:10], read.period_end[:10]
    return f"{files} ({', '.join(read.formats)}) · {read.rows:,} line items · {start} to {end}"


def reconciled(audit: Audit) -> str:
    """Return how the charges reconcile with the amounts in the files, and the sum of refunds and credits."""
    read = audit.bill
    if read.unpriced_rows and read.unpriced_rows == read.rows - read.refused_rows:
        reconciliation = f"{_unread(read)}The files count usage and state no dollars; list prices are used."
    elif abs(read.difference_usd) < _CENT / 2 and not read.refused_rows:
        reconciliation = f"Every dollar in the files is accounted for: {format_usd(audit.total_usd, 2)}."
    else:
        reconciliation = (
            f"{_unread(read)}The files state {format_usd(read.stated_usd, 2)}; "
            f"{format_usd(audit.total_usd, 2)} is counted, "
            f"{format_usd(read.difference_usd, 2)} of copies and unusable rows is not."
        )
    if read.tax_usd:
        reconciliation += f" {format_usd(read.tax_usd, 2)} of it is taxes, which are no cost of inference."
    if read.negative_rows:
        reconciliation += f" This includes {format_usd(read.negative_usd, 2)} of refunds, credits and corrections."
    return reconciliation


def _unread(read: BillRead) -> str:
    if not read.refused_rows:
        return ""
    return f"{read.refused_rows:,} of {read.rows:,} rows are not read, {format_share(read.unread_share)} of the bill. "


def requests_sentence(costs: RequestCosts) -> str:
    """Return the cost per request in words, idle capacity included."""
    total = costs.total
    idle = total.idle_usd / total.usd if total.usd else 0.0
    return (
        f"{format_usd(total.usd)} is allocated to {total.requests:,} requests: {format_usd(total.usd_per_request)} "
        f"each, {format_usd(total.usd_per_mtok)} per million tokens; {format_share(idle)} of it for idle capacity. "
        f"{costs.machine_hours_used:,.0f} of {costs.machine_hours_paid:,.0f} machine hours were used."
    )
