"""What the bill alone cannot tell, and by what name to ask for it."""

from collections.abc import Iterator

from meritorder.bills import Bill, inference
from meritorder.findings import Ask
from meritorder.study.audit.context import Context
from meritorder.study.audit.ledger import Ledger, worth_telling
from meritorder.study.audit.tokens import untagged_usd


def asks(bill: Bill, paid: Ledger, left: Ledger, context: Context) -> list[Ask]:
    """Return the questions that remain, the dearest first.

    Args:
        bill: The bill.
        paid: The ledger before any finding.
        left: The ledger after all findings.
        context: What is known beside the bill.
    """
    found = [*_of_machines(paid, left, context), *_of_tokens(left), *_of_shape(bill, left)]
    return sorted(
        (ask for ask in found if worth_telling(ask.usd_per_month)), key=lambda ask: ask.usd_per_month, reverse=True
    )


def _of_machines(paid: Ledger, left: Ledger, context: Context) -> Iterator[Ask]:
    realtime = [pool for pool in paid.pools if not pool.may_wait]
    on_demand = sum(pool.usd for pool in realtime) / paid.months
    if (context.use is None or context.use.guessed) and (paid.fleet is None or paid.fleet.hourly):
        yield Ask(
            question="which of the machine hours had work, and which stood idle or were more than the work needed",
            usd_per_month=on_demand,
            give="the requests (a trace with dates), or the utilisation of the machines",
            option="--trace requests.csv or --metrics gpu.csv",
        )
    yield Ask(
        question="whether the work of machines without a tag may wait",
        usd_per_month=sum(pool.usd for pool in left.pools if not pool.may_wait and not pool.names) / left.months,
        give="a tag such as latency_class = interactive or deferrable",
        option="tags, or --may-wait account=NAME",
    )
    unpriced = [
        pool for pool in left.pools if pool.usd and not pool.on_spot and not context.market.committed(pool.machine)
    ]
    yield Ask(
        question="what a commitment to "
        + ", ".join(dict.fromkeys(pool.machine.label for pool in unpriced[:3]))
        + " costs",
        usd_per_month=sum(pool.usd for pool in unpriced) / left.months,
        give="a price of a year's commitment: neither the bill nor the catalog has one",
        option="--catalog prices.csv",
    )


def _of_tokens(left: Ledger) -> Iterator[Ask]:
    yield Ask(
        question="which of the tokens that were answered at once could have waited",
        usd_per_month=untagged_usd(left.tokens) / left.months,
        give="a tag such as latency_class = deferrable on them, or the requests: "
        "meritorder inspect requests.csv --could-wait",
        option="tags, or --may-wait account=NAME",
    )
    unknown = [each for each in left.tokens if each.may_wait and each.hasty]
    yield Ask(
        question="what the batch tier of "
        + ", ".join(dict.fromkeys(each.model or each.provider for each in unknown[:3]))
        + " costs",
        usd_per_month=sum(each.usd for each in unknown) / left.months,
        give="a bill with batch tokens of the same model, or the provider's price list",
        option="another bill",
    )


def _of_shape(bill: Bill, left: Ledger) -> Iterator[Ask]:
    if left.fleet and not left.fleet.hourly:
        yield Ask(
            question="at which hours machines ran",
            usd_per_month=sum(pool.usd for pool in left.pools) / left.months,
            give="the same bill by the hour",
            option="an hourly export",
        )
    known = inference(bill.groups)
    counted = {str(kind) for kind in known["kind"].unique()}
    if left.fleet is None and counted & {"accelerator", "endpoint"}:
        machines = known.filter(known["kind"].is_in(["accelerator", "endpoint"]))
        yield Ask(
            question="which machines ran, and when",
            usd_per_month=float(machines["amortised_usd"].sum() or 0) / left.months,
            give="a bill that names the machine type and counts it in hours",
            option="the columns of the instance type and of the quantity",
        )
