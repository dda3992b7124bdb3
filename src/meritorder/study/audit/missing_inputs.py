"""Questions that the bill alone cannot answer, and the inputs that would."""

from collections.abc import Iterator

from meritorder.bills import Bill, select_inference
from meritorder.bills.formats.cost_explorer import NAME as COST_EXPLORER
from meritorder.records.findings import MissingInput
from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, worth_reporting
from meritorder.study.audit.steps.tokens import untagged_usd


def missing_inputs(bill: Bill, paid: Ledger, left: Ledger, context: AuditContext) -> list[MissingInput]:
    """Return the questions that remain, by the dollars that they concern, largest first.

    Args:
        bill: The bill.
        paid: The ledger before any finding.
        left: The ledger after all findings.
        context: What is known besides the bill.
    """
    questions = [*_about_machines(paid, left, context), *_about_tokens(left), *_about_granularity(bill, left)]
    reported = (missing for missing in questions if worth_reporting(missing.usd_per_month))
    return sorted(reported, key=lambda missing: missing.usd_per_month, reverse=True)


def _about_machines(paid: Ledger, left: Ledger, context: AuditContext) -> Iterator[MissingInput]:
    realtime = [pool for pool in paid.pools if not pool.may_wait]
    on_demand = sum(pool.usd for pool in realtime) / paid.months
    if (context.usage is None or context.usage.guessed) and (paid.fleet is None or paid.fleet.hourly):
        yield MissingInput(
            question="which machine hours had work, and which were idle or beyond what the work needed",
            usd_per_month=on_demand,
            give="the requests (a trace with dates), or the utilization of the machines",
            option="--trace requests.csv or --metrics gpu.csv",
        )
    yield MissingInput(
        question="whether the work of untagged machines may wait",
        usd_per_month=sum(pool.usd for pool in left.pools if not pool.may_wait and not pool.names) / left.months,
        give="a tag such as latency_class = interactive or deferrable",
        option="tags, or --may-wait account=NAME",
    )
    unpriced = [
        pool for pool in left.pools if pool.usd and not pool.on_spot and not context.market.committed(pool.machine)
    ]
    yield MissingInput(
        question="what a commitment to "
        + ", ".join(dict.fromkeys(pool.machine.label for pool in unpriced[:3]))
        + " costs",
        usd_per_month=sum(pool.usd for pool in unpriced) / left.months,
        give="the price of a one-year commitment: neither the bill nor the catalog has one",
        option="--catalog prices.csv",
    )


def _about_tokens(left: Ledger) -> Iterator[MissingInput]:
    yield MissingInput(
        question="which of the tokens bought at real-time tiers could have waited",
        usd_per_month=untagged_usd(left.tokens) / left.months,
        give="a tag such as latency_class = deferrable on them, or the requests: "
        "meritorder inspect requests.csv --could-wait",
        option="tags, or --may-wait account=NAME",
    )
    unknown = [purchase for purchase in left.tokens if purchase.may_wait and purchase.realtime]
    yield MissingInput(
        question="what the batch tier of "
        + ", ".join(dict.fromkeys(purchase.model or purchase.provider for purchase in unknown[:3]))
        + " costs",
        usd_per_month=sum(purchase.usd for purchase in unknown) / left.months,
        give="a bill with batch tokens of the same model, or the provider's price list",
        option="another bill",
    )


def _about_granularity(bill: Bill, left: Ledger) -> Iterator[MissingInput]:
    if any(file.format == COST_EXPLORER for file in bill.report.files):
        yield MissingInput(
            question="by tag and machine: which work may wait, what is not production, which endpoints are not called",
            usd_per_month=sum(pool.usd for pool in left.pools) / left.months,
            give="an export, which Cost Explorer is not: CUR 2.0 or FOCUS, by the hour and with resources",
            option="audit EXPORT.parquet",
        )
    elif left.fleet and not left.fleet.hourly:
        yield MissingInput(
            question="in which hours machines ran",
            usd_per_month=sum(pool.usd for pool in left.pools) / left.months,
            give="the same bill by the hour",
            option="an hourly export",
        )
    inference = select_inference(bill.groups)
    machines = inference.filter(inference["kind"].is_in(["accelerator", "endpoint"]))
    if left.fleet is None and not machines.is_empty():
        yield MissingInput(
            question="which machines ran, and when",
            usd_per_month=float(machines["amortised_usd"].sum() or 0) / left.months,
            give="a bill that names the machine type and counts hours",
            option="the columns of instance type and quantity",
        )
