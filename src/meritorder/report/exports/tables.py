"""A plan as tables: machines by slot, and what to commit to."""

import csv
import datetime as dt
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

from meritorder.records.planfile import Commitment, Plan
from meritorder.report.exports.fleets import Fleet

_URL: Final = re.compile(r"https?://[^\s<>)\"]+")
# Where a commitment is bought, by provider and pricing model; else the page of its price.
_PAGES: Final = {
    ("aws", "reserved"): "https://console.aws.amazon.com/ec2/home#ReservedInstances:",
    ("aws", "savings_plan"): "https://console.aws.amazon.com/costmanagement/home#/savings-plans/purchase",
    ("aws", "capacity_block"): "https://console.aws.amazon.com/ec2/home#CapacityReservations:",
    ("gcp", "committed_use"): "https://console.cloud.google.com/compute/commitments",
    ("azure", "reserved"): "https://portal.azure.com/#view/Microsoft_Azure_Reservations/ReservationsBrowseBlade",
    ("azure", "savings_plan"): "https://portal.azure.com/#view/Microsoft_Azure_Reservations/CreateBlade",
}


def schedule(plan: Plan, fleets: list[Fleet]) -> dict[str, str]:
    """Return the machines of each pool, payment and slot, as planned."""
    del fleets
    pools = {pool.name: pool for pool in plan.pools}
    header = ("slot", "starts_at", "pool", "provider", "region", "machine", "payment", "pricing_model")
    rows = [
        (
            slot,
            _instant(plan, slot),
            row.pool,
            pools[row.pool].provider,
            pools[row.pool].region,
            pools[row.pool].machine,
            row.payment,
            row.pricing_model,
            machines,
            machines * pools[row.pool].replicas,
            row.usd_per_hour,
        )
        for row in plan.schedule
        for slot, machines in enumerate(row.machines)
    ]
    return {"schedule.csv": _csv((*header, "machines", "replicas", "usd_per_hour"), rows)}


def purchases(plan: Plan) -> dict[str, str]:
    """Return what to buy, with the provider's page; no file if nothing is committed to."""
    if not any(commitment.amount > 0 for commitment in plan.commitments):
        return {}
    header = ("commitment", "pricing_model", "term", "payment", "buy", "have", "usd_per_hour", "usd_of_term", "page")
    rows = [
        (
            commitment.name,
            commitment.pricing_model,
            commitment.term,
            commitment.payment,
            commitment.amount,
            commitment.have,
            commitment.usd_per_hour,
            "" if commitment.owed_usd is None else commitment.owed_usd,
            _page(plan, commitment),
        )
        for commitment in plan.commitments
        if commitment.amount > 0
    ]
    return {"commitments.csv": _csv(header, rows)}


def _page(plan: Plan, commitment: Commitment) -> str:
    provider = commitment.name.partition(" ")[0].lower()
    if page := _PAGES.get((provider, commitment.pricing_model)):
        return page
    sources = [price.source for price in plan.prices if price.provider == provider]
    return next((url.group() for source in sources if (url := _URL.search(source))), "")


def _instant(plan: Plan, slot: int) -> str:
    if plan.start_epoch_s is None:
        return ""
    return dt.datetime.fromtimestamp(plan.start_epoch_s + slot * plan.slot_s, dt.UTC).isoformat()


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_safe(cell) for cell in row] for row in rows])
    return text.getvalue()


def _safe(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
