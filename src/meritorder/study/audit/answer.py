"""From a bill to what is overpaid: each kind of finding in its turn, on what those before it left."""

import datetime as dt
from collections.abc import Callable
from typing import Final

import polars as pl

from meritorder import bills, traces
from meritorder import catalog as facts
from meritorder.bills import utilisation
from meritorder.errors import BillError
from meritorder.evidence import Assumption
from meritorder.findings import Audit, Finding, RequestCosts, Shape
from meritorder.study.audit import figures, pools
from meritorder.study.audit.asks import asks
from meritorder.study.audit.capacity import non_production, silent, unneeded
from meritorder.study.audit.charged import charge
from meritorder.study.audit.commit import for_on_demand, unused
from meritorder.study.audit.context import Context
from meritorder.study.audit.generation import old_generation
from meritorder.study.audit.ledger import Ledger, Step, open_ledger
from meritorder.study.audit.market import Market
from meritorder.study.audit.options import Options
from meritorder.study.audit.pools import Fleet, Rates
from meritorder.study.audit.price import above_list, cheaper_region, spot
from meritorder.study.audit.silent import Silence
from meritorder.study.audit.silent import find as find_silence
from meritorder.study.audit.tokens import could_wait
from meritorder.study.audit.use import FULLEST, OUTPUT_WEIGHT, Use, of_metrics, of_shape, of_trace
from meritorder.units import format_share, format_usd

Progress = Callable[[str], None]

STEPS: Final[tuple[Callable[[Ledger, Context], Step], ...]] = (
    unused,
    above_list,
    silent,
    unneeded,
    non_production,
    could_wait,
    spot,
    cheaper_region,
    old_generation,
    for_on_demand,
)
"""Kinds of findings in their turn: first what is not needed, then what is dear, last commitments to what is left."""

_SHOWN: Final = {
    "idle_capacity": "idle capacity",
    "over_provisioned": "over-provisioning",
    "non_production_hours": "non-production hours",
    "tokens_could_wait": "tokens that could wait",
    "above_list_price": "prices above the list",
    "cheaper_region": "dearer regions",
    "spot_for_deferrable": "on demand for work that may wait",
    "old_generation": "older hardware",
    "commitment_for_on_demand": "on demand that a commitment would cover",
    "unused_commitment": "unused commitments",
    "commitment_wrong_family": "commitments on the wrong family",
}


def audit(
    bill: bills.Bill,
    options: Options | None = None,
    trace: traces.Trace | None = None,
    progress: Progress = lambda _: None,
) -> Audit:
    """Say what is overpaid for inference.

    Args:
        bill: The bill.
        options: What is known beside it.
        trace: The requests that its machines served.
        progress: Told what is being done.

    Raises:
        BillError: What is given beside the bill does not fit it.
    """
    options = options or Options()
    progress("gathering machine hours")
    by_hour = bills.by_hour(bill.spans, bills.inference(bill.groups))
    fleet = pools.read(bill, by_hour, options.serving)
    progress("looking for what is overpaid")
    paid = open_ledger(bill, fleet, figures.months(bill))
    context = _context(bill, by_hour, fleet, trace, options)
    left, found = paid, list[Finding]()
    for step in STEPS:
        left, more = step(left, context)
        found += more
    progress("adding up")
    requests = _charged(bill, by_hour, fleet, trace, options) if trace else None
    shape = figures.shape(by_hour)
    return _put_together(bill, options, context, paid=paid, left=left, found=found, requests=requests, shape=shape)


def _context(
    bill: bills.Bill, by_hour: pl.DataFrame, fleet: Fleet | None, trace: traces.Trace | None, options: Options
) -> Context:
    catalog = facts.load(options.catalogs)
    ends = fleet.start + dt.timedelta(hours=fleet.hours) if fleet else bill.report.period_end
    until = ends or dt.datetime.max.replace(tzinfo=dt.UTC)
    return Context(
        market=Market(catalog=catalog, rates=fleet.rates if fleet else Rates(), until=until),
        use=_use(by_hour, fleet, trace, options),
        silence=find_silence(bill, fleet) if fleet else Silence(),
        bill=options.bill,
        trace=options.trace,
        model=catalog.find_model(options.model).id if options.model else _only_model(trace),
    )


def _only_model(trace: traces.Trace | None) -> str:
    """Return the model of a trace that names just one, else ""."""
    names = trace.requests["model"].drop_nulls().unique().cast(str).to_list() if trace else []
    return str(names[0]) if len(names) == 1 else ""


def _use(by_hour: pl.DataFrame, fleet: Fleet | None, trace: traces.Trace | None, options: Options) -> Use | None:
    """Return what machines did: by their metrics, which are surest, else by the requests, else by the bill's shape."""
    if options.metrics is not None:
        metrics = utilisation.read(options.metrics)
        use = of_metrics(fleet, metrics, everything=not options.serving) if fleet else None
        if use is None:
            raise BillError(
                "its samples are of other hours than the machines of the bill",
                where=options.metrics.name,
                fix="give metrics of the time of the bill",
            )
        return use
    if fleet is None:
        return None
    return of_trace(fleet, trace) if trace else of_shape(fleet, by_hour)


def _charged(
    bill: bills.Bill, by_hour: pl.DataFrame, fleet: Fleet | None, trace: traces.Trace, options: Options
) -> RequestCosts:
    if fleet is None:
        raise BillError(
            "it has no machine hours that requests could be charged with",
            where=bill.report.files[0].label,
            fix="leave out --trace, or give the bill of the machines",
        )
    return charge(by_hour, fleet, trace, options.serving)


def _put_together(
    bill: bills.Bill,
    options: Options,
    context: Context,
    *,
    paid: Ledger,
    left: Ledger,
    found: list[Finding],
    requests: RequestCosts | None,
    shape: Shape | None,
) -> Audit:
    inference = bills.inference(bill.groups)
    whole, ours = figures.figures(bill.groups), figures.figures(inference)
    overpaid = sum(finding.usd for finding in found)
    ordered = sorted(found, key=lambda finding: (-finding.usd_per_month, finding.kind, finding.where))
    return Audit(
        sentence=_sentence(ours.amortised_usd, overpaid, ordered, paid.months),
        total_usd=whole.billed_usd,
        amortised_usd=whole.amortised_usd,
        inference_usd=ours.amortised_usd,
        on_demand_equivalent_usd=ours.on_demand_equivalent_usd,
        effective_savings_rate=ours.effective_savings_rate,
        commitment_utilization=ours.commitment_utilization,
        commitment_coverage=ours.commitment_coverage,
        unused_commitment_usd=ours.unused_commitment_usd,
        overpaid_usd=overpaid,
        overpaid_usd_per_month=overpaid / paid.months,
        optimised_usd=ours.amortised_usd - overpaid,
        findings=ordered,
        asks=asks(bill, paid, left, context),
        inference=ours,
        whole_bill=whole,
        commitments=figures.commitments(inference),
        breakdowns=figures.breakdowns(inference, options.by),
        shape=shape,
        requests=requests,
        prices=context.market.prices(),
        assumptions=_assumptions(found, context, paid.months),
        bill=figures.read(bill, paid.months),
    )


def _sentence(inference_usd: float, overpaid: float, ordered: list[Finding], months: float) -> str:
    """Say in a sentence what is overpaid, and for what most."""
    if inference_usd == 0 and not ordered:
        return "As far as this bill tells, nothing in it is inference; --select says what is."
    a_month = " a month" if months > 1 else ""
    paid = f"Of {format_usd(inference_usd / months)}{a_month} for inference,"
    if not ordered:
        return f"{paid} nothing is found that is overpaid."
    sums: dict[str, float] = {}
    for finding in ordered:
        sums[finding.kind] = sums.get(finding.kind, 0.0) + finding.usd_per_month
    most = sorted(sums.items(), key=lambda item: -item[1])[:3]
    share = f" ({format_share(overpaid / inference_usd)})" if inference_usd > 0 else ""
    reasons = ", ".join(f"{format_usd(usd)} {_SHOWN[kind]}" for kind, usd in most)
    rest = " and others" if len(sums) > len(most) else ""
    return f"{paid} {format_usd(overpaid / months)}{share} is overpaid: {reasons}{rest}."


def _assumptions(found: list[Finding], context: Context, months: float) -> list[Assumption]:
    kinds = {finding.kind for finding in found}
    taken = [Assumption(text=f"a month is the mean of the {months:g} in the bill")] if months > 1 else []
    if "over_provisioned" in kinds:
        text = f"machines may be planned to do {format_share(FULLEST)} of what they can in an hour"
        taken.append(Assumption(text=text))
        if context.use and context.use.guessed:
            text = f"machines that never scale have work of {context.use.source}"
            taken.append(Assumption(text=text, option="--trace or --metrics"))
        elif context.use and not context.use.everything:
            text = f"an output token is the work of {OUTPUT_WEIGHT:g} input tokens, and the busiest hours show the pace"
            taken.append(Assumption(text=text, option="--metrics"))
    if "spot_for_deferrable" in kinds:
        text = "an interruption of a spot machine costs ten minutes of it, and spot can be had when it is wanted"
        taken.append(Assumption(text=text))
    if "commitment_for_on_demand" in kinds:
        text = "machines go on being used as in the time of the bill; more months of it make that surer"
        taken.append(Assumption(text=text))
    if "old_generation" in kinds:
        text = "requests of 2,000 tokens of context, four prompt tokens for each generated one, full batches"
        taken.append(Assumption(text=text, option="--model"))
    return taken
