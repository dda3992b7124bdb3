"""The answer of `audit`: the figures of a bill, what of it is overpaid and why, and what the bill cannot tell.

Plain records, written as JSON as they are; dollars of the bill itself are exact. `SCHEMA` changes when a field changes
its meaning or is removed.
"""

from decimal import Decimal
from typing import Final, Literal

import msgspec

from meritorder.records.evidence import Assumption, PriceUsed

SCHEMA: Final = "meritorder.audit/1"

Confidence = Literal["high", "medium", "low"]
FindingKind = Literal[
    "unused_commitment",
    "commitment_wrong_family",
    "above_list_price",
    "idle_capacity",
    "over_provisioned",
    "non_production_hours",
    "tokens_could_wait",
    "spot_for_deferrable",
    "cheaper_region",
    "old_generation",
    "commitment_for_on_demand",
]

SCOPES: Final = {
    "total_usd": "the whole bill, as invoiced",
    "amortised_usd": "the whole bill, commitments spread over what they cover",
    "inference_usd": "charges that are inference, amortized, less their credits and without taxes; all figures below "
    "are of these charges",
    "on_demand_equivalent_usd": "list price of the machine hours that were bought on demand or under a commitment; "
    "spot, capacity blocks, tokens, fees and taxes are left out",
    "effective_savings_rate": "1 - cost of those hours and of unused commitments / their on-demand equivalent",
    "commitment_utilization": "used / all commitments (savings plans, reservations, committed use), in dollars",
    "commitment_coverage": "list price of the hours under commitments / on-demand equivalent",
    "unused_commitment_usd": "cost of the unused part of commitments",
    "overpaid_usd": "sum of the findings over the period of the bill",
}
"""The scope of each figure, and its denominator."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One change by which the same requests would have cost less.

    No dollar is in two findings: each is computed on what the findings before it left.

    Args:
        kind: What is overpaid.
        title: The same in words, with the place.
        usd_per_month: Dollars overpaid in a month of the bill.
        usd: Dollars overpaid over the period of the bill.
        confidence: How certain the amount is.
        evidence: What the amount is computed from.
        fix: What to do, with a command.
        where: Machine, model or commitment.
    """

    kind: FindingKind
    title: str
    usd_per_month: float
    usd: float
    confidence: Confidence
    evidence: str
    fix: str
    where: str


class MissingInput(msgspec.Struct, frozen=True, kw_only=True):
    """A question that the bill alone cannot answer, and the input that would.

    Args:
        question: What is not known.
        usd_per_month: Spend that the question concerns; an upper limit of what could be found, not a finding.
        give: The input that would answer it.
        option: The command-line option that takes this input.
    """

    question: str
    usd_per_month: float
    give: str
    option: str


class BillFigures(msgspec.Struct, frozen=True, kw_only=True):
    """FinOps figures of a bill or of a part of it; exact dollars, and rates that are None without a denominator.

    Args:
        billed_usd: Cost on the invoice.
        amortised_usd: Cost with commitments spread over what they cover, unused parts included.
        on_demand_usd: Amortized cost of machines bought on demand.
        spot_usd: Amortized cost of spot machines.
        capacity_block_usd: Amortized cost of capacity blocks.
        tokens_usd: Amortized cost of token products.
        on_demand_equivalent_usd: List price of the machine hours that a commitment covered or could have covered.
        effective_usd: Amortized cost of the same hours after negotiated discounts, and of unused commitments.
        effective_savings_rate: 1 - effective / on-demand equivalent.
        unlisted_usd: Amortized cost of such hours that have no list price in the bill; in neither of these two.
        commitment_usd: Used and unused commitments, amortized.
        used_commitment_usd: Commitments that covered something.
        unused_commitment_usd: Unused part of commitments; negative where AWS corrects an earlier hour.
        commitment_utilization: Used / all commitments.
        commitment_coverage: Share of the on-demand equivalent that commitments covered.

    Source: FinOps Foundation, KPI library, "Effective Savings Rate" and "Commitment Discount Utilization" and
        "Coverage", finops.org, read 2026-11; AWS Cost Management User Guide, "Savings Plans coverage report".
    """

    billed_usd: Decimal
    amortised_usd: Decimal
    on_demand_usd: Decimal
    spot_usd: Decimal
    capacity_block_usd: Decimal
    tokens_usd: Decimal
    on_demand_equivalent_usd: Decimal
    effective_usd: Decimal
    effective_savings_rate: Decimal | None
    unlisted_usd: Decimal
    commitment_usd: Decimal
    used_commitment_usd: Decimal
    unused_commitment_usd: Decimal
    commitment_utilization: Decimal | None
    commitment_coverage: Decimal | None


class CommitmentUse(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one commitment, and how much of it was used."""

    provider: str
    commitment: str
    purchase: str
    usd: Decimal
    used_usd: Decimal
    unused_usd: Decimal
    utilization: Decimal | None
    list_usd: Decimal
    instances: list[str]


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of inference for one value of a dimension."""

    name: str
    usd: Decimal
    share: float


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of inference by a dimension: `kind`, `purchase`, or one that `--by` names."""

    by: str
    spends: list[Spend]


class SpendOverTime(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of inference over time: for each purchase option one value a bin."""

    bin_s: float
    start_epoch_s: float
    usd: dict[str, list[float]]


class AllocatedCost(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars allocated to the requests of one model, of one tenant, or of the trace; idle capacity included."""

    name: str
    requests: int
    tokens: int
    usd: float
    idle_usd: float
    usd_per_request: float
    usd_per_mtok: float


class RequestCosts(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars per request, from what the bill paid for the machines.

    Args:
        total: All requests of the trace.
        by_model: The same by model.
        by_tenant: The same by tenant, most expensive first.
        machine_hours_paid: Machine hours in the time that both bill and trace cover.
        machine_hours_used: The part that the requests took at the pace of the fleet's own busiest hours.
        hours: Hours that both cover.
        hours_without_requests: Those of them in which no request arrived.
        basis: How dollars were allocated, a sentence each.
    """

    total: AllocatedCost
    by_model: list[AllocatedCost]
    by_tenant: list[AllocatedCost]
    machine_hours_paid: float
    machine_hours_used: float
    hours: int
    hours_without_requests: int
    basis: list[str]


class InvoiceRead(msgspec.Struct, frozen=True, kw_only=True):
    """The total of one invoice, to compare with the document."""

    provider: str
    payer: str
    id: str
    month: str
    billed_usd: Decimal


class BillRead(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and what was wrong with it.

    Args:
        unread_share: Share of the bill that could not be read.
        tax_usd: Taxes, which are part of the whole bill and not of inference.
        unpriced_rows: Line items that count usage without an amount.
    """

    files: list[str]
    formats: list[str]
    rows: int
    refused_rows: int
    duplicate_rows: int
    negative_rows: int
    negative_usd: Decimal
    stated_usd: Decimal
    difference_usd: Decimal
    period_start: str
    period_end: str
    months: float
    invoices: list[InvoiceRead]
    problems: list[str]
    unread_share: float = 0.0
    tax_usd: Decimal = Decimal(0)
    unpriced_rows: int = 0


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; a rate without a denominator is null."""

    sentence: str
    total_usd: Decimal
    amortised_usd: Decimal
    inference_usd: Decimal
    on_demand_equivalent_usd: Decimal
    effective_savings_rate: Decimal | None
    commitment_utilization: Decimal | None
    commitment_coverage: Decimal | None
    unused_commitment_usd: Decimal
    overpaid_usd: float
    overpaid_usd_per_month: float
    optimised_usd: float
    findings: list[Finding]
    missing_inputs: list[MissingInput] = msgspec.field(name="asks")
    inference: BillFigures
    whole_bill: BillFigures
    commitments: list[CommitmentUse]
    breakdowns: list[Breakdown]
    shape: SpendOverTime | None
    requests: RequestCosts | None
    prices: list[PriceUsed]
    assumptions: list[Assumption]
    bill: BillRead
    warnings: list[str] = []
    scopes: dict[str, str] = msgspec.field(default_factory=lambda: dict(SCOPES))
    schema: str = SCHEMA
