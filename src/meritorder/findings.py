"""The answer of `audit`: what a bill comes to, what of it is overpaid and why, and what it cannot tell.

Plain records, written as JSON as they stand. `SCHEMA` changes when a field changes its meaning or goes.
"""

from typing import Final, Literal

import msgspec

from meritorder.evidence import Assumption, PriceUsed

SCHEMA: Final = "meritorder.audit/1"

Confidence = Literal["high", "medium", "low"]
Kind = Literal[
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
    "inference_usd": "charges that are inference, amortised; all figures below are of these charges",
    "on_demand_equivalent_usd": "list price of the machine hours that were bought on demand or under a commitment; "
    "spot, capacity blocks, tokens, fees and taxes are left out",
    "effective_savings_rate": "1 - what those hours and unused commitments cost / on_demand_equivalent_usd",
    "commitment_utilization": "used / all commitments (savings plans, reservations, committed use), in dollars",
    "commitment_coverage": "list price of the hours under commitments / on_demand_equivalent_usd",
    "unused_commitment_usd": "commitments that nothing used",
    "overpaid_usd": "sum of the findings, in the time of the bill; inference_usd - optimised_usd",
}
"""What each figure is of, and what it is divided by."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which less would have been paid for the same answers.

    No dollar is in two findings: each is reckoned on what the findings before it left, in the order of `Kind`.

    Args:
        kind: What is wrong.
        title: The same in words, with where.
        usd_per_month: What it costs in a month of the bill.
        usd: What it costs in the time of the bill.
        confidence: How sure that is.
        evidence: Where the number comes from.
        fix: What to do, with a command.
        where: Machine, model or commitment.
    """

    kind: Kind
    title: str
    usd_per_month: float
    usd: float
    confidence: Confidence
    evidence: str
    fix: str
    where: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the bill alone cannot tell.

    Args:
        question: What is not known.
        usd_per_month: Spend that the answer is about: an upper limit of what it could show, not a finding.
        give: What would tell, by name.
        option: How to give it.
    """

    question: str
    usd_per_month: float
    give: str
    option: str


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of FinOps, for the whole bill or for a part; meanings are those of `SCOPES`."""

    billed_usd: float
    amortised_usd: float
    on_demand_usd: float
    spot_usd: float
    capacity_block_usd: float
    tokens_usd: float
    on_demand_equivalent_usd: float
    effective_usd: float
    effective_savings_rate: float | None
    unlisted_usd: float
    commitment_usd: float
    used_commitment_usd: float
    unused_commitment_usd: float
    commitment_utilization: float | None
    commitment_coverage: float | None


class CommitmentUse(msgspec.Struct, frozen=True, kw_only=True):
    """One commitment: what it cost, and how much of it was used."""

    provider: str
    commitment: str
    purchase: str
    usd: float
    used_usd: float
    unused_usd: float
    utilization: float | None
    list_usd: float
    instances: list[str]


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars of inference by one value of a dimension."""

    name: str
    usd: float
    share: float


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars of inference by a dimension: `kind`, `purchase`, or what `--by` names."""

    by: str
    spends: list[Spend]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars of inference over time by how they were paid: a column of one value a bin for each purchase."""

    bin_s: float
    start_epoch_s: float
    usd: dict[str, list[float]]


class Charged(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one model, tenant or all are charged, idle capacity included."""

    name: str
    requests: int
    tokens: int
    usd: float
    idle_usd: float
    usd_per_request: float
    usd_per_mtok: float


class RequestCosts(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars per request from the bill that was really paid.

    Args:
        total: All requests of the trace.
        by_model: The same by model.
        by_tenant: The same by tenant, dearest first.
        machine_hours_paid: Machine hours in the time that both bill and trace cover.
        machine_hours_used: The part that the requests took at the pace of the fleet's own busiest hours.
        hours: Hours that both cover.
        hours_without_requests: Those of them in which nothing arrived.
        basis: How it was reckoned, a sentence each.
    """

    total: Charged
    by_model: list[Charged]
    by_tenant: list[Charged]
    machine_hours_paid: float
    machine_hours_used: float
    hours: int
    hours_without_requests: int
    basis: list[str]


class InvoiceRead(msgspec.Struct, frozen=True, kw_only=True):
    """One invoice, to hold against the paper."""

    provider: str
    payer: str
    id: str
    month: str
    billed_usd: float


class BillRead(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and what was wrong with it."""

    files: list[str]
    formats: list[str]
    rows: int
    refused_rows: int
    duplicate_rows: int
    negative_rows: int
    negative_usd: float
    stated_usd: float
    difference_usd: float
    period_start: str
    period_end: str
    months: float
    invoices: list[InvoiceRead]
    problems: list[str]


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. A rate that does not exist is null."""

    sentence: str
    total_usd: float
    amortised_usd: float
    inference_usd: float
    on_demand_equivalent_usd: float
    effective_savings_rate: float | None
    commitment_utilization: float | None
    commitment_coverage: float | None
    unused_commitment_usd: float
    overpaid_usd: float
    overpaid_usd_per_month: float
    optimised_usd: float
    findings: list[Finding]
    asks: list[Ask]
    inference: Figures
    whole_bill: Figures
    commitments: list[CommitmentUse]
    breakdowns: list[Breakdown]
    shape: Shape | None
    requests: RequestCosts | None
    prices: list[PriceUsed]
    assumptions: list[Assumption]
    bill: BillRead
    scopes: dict[str, str] = msgspec.field(default_factory=lambda: dict(SCOPES))
    schema: str = SCHEMA
