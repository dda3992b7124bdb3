"""Words and numbers that every form of the answer shares."""

from typing import Final

from meritorder.findings import Audit, RequestCosts
from meritorder.report.wording import or_missing
from meritorder.units import format_share, format_usd

KINDS: Final = {
    "unused_commitment": "Unused commitment",
    "commitment_wrong_family": "Commitment on the wrong family",
    "above_list_price": "Above list price",
    "idle_capacity": "Idle capacity",
    "over_provisioned": "Over-provisioned",
    "non_production_hours": "Non-production hours",
    "tokens_could_wait": "Tokens that could wait",
    "spot_for_deferrable": "Spot would do",
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
    """Return the figures of FinOps: name, value, and what it is of."""
    scopes = audit.scopes
    rows = [("Whole bill", format_usd(audit.total_usd, 2), scopes["total_usd"])]
    if abs(audit.amortised_usd - audit.total_usd) >= 0.01:
        rows.append(("Whole bill, amortised", format_usd(audit.amortised_usd, 2), scopes["amortised_usd"]))
    rows += [
        ("Inference", format_usd(audit.inference_usd, 2), scopes["inference_usd"]),
        ("On-demand equivalent", format_usd(audit.on_demand_equivalent_usd, 2), scopes["on_demand_equivalent_usd"]),
        (
            "Effective savings rate",
            or_missing(audit.effective_savings_rate, _rate),
            scopes["effective_savings_rate"],
        ),
        (
            "Commitment utilisation",
            or_missing(audit.commitment_utilization, _rate),
            scopes["commitment_utilization"],
        ),
        ("Commitment coverage", or_missing(audit.commitment_coverage, _rate), scopes["commitment_coverage"]),
        ("Unused commitment", format_usd(audit.unused_commitment_usd, 2), scopes["unused_commitment_usd"]),
    ]
    return rows


def _rate(share: float) -> str:
    return format_share(share, 1)


def a_month(audit: Audit) -> str:
    """Return how dollars of findings are to be read."""
    months = audit.bill.months
    return "in the time of the bill" if months <= 1 else f"a month, the mean of {months:g}"


def what_was_read(audit: Audit) -> str:
    """Return files, rows and time in a line."""
    read = audit.bill
    files = read.files[0] if len(read.files) == 1 else f"{len(read.files)} files"
    start, end = read.period_start[:10], read.period_end[:10]
    return f"{files} ({', '.join(read.formats)}) · {read.rows:,} line items · {start} to {end}"


def reconciled(audit: Audit) -> str:
    """Return whether what was read is all that the files state, by how much it is not, and what was paid back."""
    read = audit.bill
    if abs(read.difference_usd) < 0.005:
        said = f"Every dollar in the files is accounted for: {format_usd(audit.total_usd, 2)}."
    else:
        said = (
            f"The files state {format_usd(read.stated_usd, 2)}; {format_usd(audit.total_usd, 2)} is counted, "
            f"{format_usd(read.difference_usd, 2)} of copies and unusable rows is not."
        )
    if not read.negative_rows:
        return said
    negative = format_usd(read.negative_usd, 2)
    return f"{said} {negative} of refunds, credits and corrections are in it."


def requests_sentence(costs: RequestCosts) -> str:
    """Return what a request cost, idle capacity included."""
    total = costs.total
    idle = total.idle_usd / total.usd if total.usd else 0.0
    return (
        f"{total.requests:,} requests were charged {format_usd(total.usd)}: {format_usd(total.usd_per_request)} each, "
        f"{format_usd(total.usd_per_mtok)} per million tokens; {format_share(idle)} of it paid for idle capacity. "
        f"{costs.machine_hours_used:,.0f} of {costs.machine_hours_paid:,.0f} machine hours were used."
    )
