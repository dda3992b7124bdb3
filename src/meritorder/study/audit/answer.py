"""From a bill to what is overpaid: each kind of finding in turn, on what those before it left."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Final

from meritorder import bills, traces
from meritorder.bills.metrics.utilization import read_utilization
from meritorder.catalog import Catalog
from meritorder.errors import BillError, CatalogError
from meritorder.records.accounting import OUTPUT_WEIGHT
from meritorder.records.evidence import Assumption, age_warnings
from meritorder.records.findings import Audit, Finding, RequestCosts
from meritorder.study.audit import bill_summary
from meritorder.study.audit.allocation import allocate
from meritorder.study.audit.context import AuditCase, AuditContext, AuditOptions, build_case
from meritorder.study.audit.ledger import Ledger, StepResult, open_ledger
from meritorder.study.audit.market import Market
from meritorder.study.audit.missing_inputs import missing_inputs
from meritorder.study.audit.pools import PaidRates
from meritorder.study.audit.steps.capacity import (
    find_non_production_hours,
    find_uncalled_endpoints,
    find_unneeded_machines,
)
from meritorder.study.audit.steps.cheaper_machines import (
    find_cheaper_regions,
    find_newer_generations,
    find_prices_above_list,
    find_work_for_spot,
)
from meritorder.study.audit.steps.commitments import find_commitments_to_make, find_unused_commitments
from meritorder.study.audit.steps.tokens import find_tokens_for_batch
from meritorder.study.audit.usage import (
    MAX_UTILIZATION,
    MachineUsage,
    UncalledEndpoints,
    uncalled_endpoints,
    usage_from_metrics,
    usage_from_shape,
    usage_from_trace,
)
from meritorder.study.prices.age import priced_today
from meritorder.units import format_share, format_usd

Progress = Callable[[str], None]

STEPS: Final[tuple[Callable[[Ledger, AuditContext], StepResult], ...]] = (
    find_unused_commitments,
    find_prices_above_list,
    find_uncalled_endpoints,
    find_unneeded_machines,
    find_non_production_hours,
    find_tokens_for_batch,
    find_work_for_spot,
    find_cheaper_regions,
    find_newer_generations,
    find_commitments_to_make,
)
"""Kinds of findings in their order: first what is not needed, then what is too expensive, last commitments."""

_REASONS: Final = {
    "idle_capacity": "idle capacity",
    "over_provisioned": "over-provisioning",
    "non_production_hours": "non-production hours",
    "tokens_could_wait": "tokens that could wait",
    "above_list_price": "prices above the list",
    "cheaper_region": "more expensive regions",
    "spot_for_deferrable": "on demand for work that may wait",
    "old_generation": "older hardware",
    "commitment_for_on_demand": "on demand that a commitment would cover",
    "unused_commitment": "unused commitments",
    "commitment_wrong_family": "commitments on the wrong family",
}


def audit(
    bill: bills.Bill,
    options: AuditOptions | None = None,
    trace: traces.Trace | None = None,
    progress: Progress = lambda _: None,
) -> Audit:
    """Return what is overpaid for inference.

    Args:
        bill: The bill.
        options: Options, and inputs beside the bill.
        trace: The requests that its machines served.
        progress: Called with what is being done.

    Raises:
        BillError: What is given beside the bill does not fit it.
    """
    progress("gathering machine hours")
    return audit_case(build_case(bill, options or AuditOptions()), trace, progress)


def audit_case(case: AuditCase, trace: traces.Trace | None = None, progress: Progress = lambda _: None) -> Audit:
    """Return what is overpaid for inference, from a case that is already built; arguments as for `audit`."""
    progress("looking for what is overpaid")
    paid = open_ledger(case.bill, case.fleet, bill_summary.months(case.bill))
    context = _context(case, trace)
    left, findings = paid, list[Finding]()
    for step in STEPS:
        left, step_findings = step(left, context)
        findings += step_findings
    progress("summing up")
    return _answer(case, context, paid=paid, left=left, findings=findings, requests=_allocated(case, trace))


def _context(case: AuditCase, trace: traces.Trace | None) -> AuditContext:
    fleet, options = case.fleet, case.options
    end = fleet.start + dt.timedelta(hours=fleet.hours) if fleet else case.bill.report.period_end
    until = end or dt.datetime.max.replace(tzinfo=dt.UTC)
    return AuditContext(
        market=Market(catalog=case.catalog, rates=fleet.rates if fleet else PaidRates(), until=until),
        usage=_usage(case, trace),
        uncalled=uncalled_endpoints(case.bill, fleet) if fleet else UncalledEndpoints(),
        bill=options.bill or tuple(file.name for file in case.bill.report.files),
        trace=options.trace,
        model=case.catalog.find_model(options.model).id if options.model else _only_model(case.catalog, trace),
    )


def _only_model(catalog: Catalog, trace: traces.Trace | None) -> str:
    """Return the model of a trace that names exactly one, if the catalog has it, else ""."""
    names = trace.models if trace else ()
    try:
        return catalog.find_model(names[0]).id if len(names) == 1 else ""
    except CatalogError:
        return ""


def _usage(case: AuditCase, trace: traces.Trace | None) -> MachineUsage | None:
    """Return how much of the machines was used, by their metrics, else by the requests, else by the bill's shape."""
    fleet, options = case.fleet, case.options
    if options.metrics is not None:
        metrics = read_utilization(options.metrics) if isinstance(options.metrics, Path) else options.metrics
        usage = usage_from_metrics(fleet, metrics, of_all_machines=not options.serving) if fleet else None
        if usage is None:
            raise BillError(
                "its samples are of other hours than the machines of the bill",
                where=options.metrics.name,
                fix="give metrics of the period of the bill",
            )
        return usage
    if fleet is None:
        return None
    return usage_from_trace(fleet, trace) if trace else usage_from_shape(fleet, case.by_hour)


def _allocated(case: AuditCase, trace: traces.Trace | None) -> RequestCosts | None:
    if trace is None:
        return None
    if case.fleet is None:
        raise BillError(
            "it has no machine hours whose cost could be allocated to requests",
            where=case.bill.report.files[0].label,
            fix="omit --trace, or give the bill of the machines",
        )
    return allocate(case.by_hour, case.fleet, trace, case.options.serving)


def _answer(
    case: AuditCase,
    context: AuditContext,
    *,
    paid: Ledger,
    left: Ledger,
    findings: list[Finding],
    requests: RequestCosts | None,
) -> Audit:
    inference_groups = bills.select_inference(case.bill.groups)
    whole_bill, inference = bills.compute_figures(case.bill.groups), bills.compute_figures(inference_groups)
    inference_usd = float(inference.amortised_usd)
    overpaid_usd = sum(finding.usd for finding in findings)
    ordered = sorted(findings, key=lambda finding: (-finding.usd_per_month, finding.kind, finding.where))
    prices = priced_today([*case.listed.prices, *context.market.prices()])
    return Audit(
        sentence=_unread(case.bill.report)
        + _unpriced(case)
        + _sentence(inference_usd, overpaid_usd, ordered, paid.months, listed=bool(case.listed.prices)),
        total_usd=whole_bill.billed_usd,
        amortised_usd=whole_bill.amortised_usd,
        inference_usd=inference.amortised_usd,
        on_demand_equivalent_usd=inference.on_demand_equivalent_usd,
        effective_savings_rate=inference.effective_savings_rate,
        commitment_utilization=inference.commitment_utilization,
        commitment_coverage=inference.commitment_coverage,
        unused_commitment_usd=inference.unused_commitment_usd,
        overpaid_usd=overpaid_usd,
        overpaid_usd_per_month=overpaid_usd / paid.months,
        optimised_usd=inference_usd - overpaid_usd,
        findings=ordered,
        missing_inputs=missing_inputs(case.bill, paid, left, context),
        inference=inference,
        whole_bill=whole_bill,
        commitments=bill_summary.commitments(inference_groups),
        breakdowns=bill_summary.breakdowns(inference_groups, case.options.by),
        shape=bill_summary.spend_over_time(case.by_hour),
        requests=requests,
        prices=prices,
        warnings=age_warnings(prices),
        assumptions=[
            *case.bill.report.assumptions,
            *case.listed.assumptions,
            *_assumptions(findings, context, paid.months),
        ],
        bill=bill_summary.bill_read(case.bill, paid.months),
    )


def _unpriced(case: AuditCase) -> str:
    """Return in a sentence that nothing has a price, "" if anything does or there is no such usage."""
    if not case.listed.assumptions or case.listed.prices:
        return ""
    return "The bill counts usage without prices, and the price list does not have its models. "


def _unread(report: bills.BillReport) -> str:
    """Return in a sentence how much of the bill could not be read, "" if all of it was."""
    if not report.refused_rows:
        return ""
    share = format_share(report.unread_share) if report.unread_share else "nothing"
    stated = f", {format_usd(report.refused_usd)} as far as they state it" if report.refused_usd else ""
    return f"{report.refused_rows:,} of {report.rows:,} rows are not read, {share} of the bill{stated}. "


def _sentence(
    inference_usd: float, overpaid_usd: float, ordered: list[Finding], months: float, *, listed: bool = False
) -> str:
    """Return in a sentence what is overpaid, and mostly for what.

    Args:
        inference_usd: Cost of inference.
        overpaid_usd: Sum of the findings.
        ordered: The findings, largest first.
        months: Months of the bill.
        listed: Whether the cost is at list prices.
    """
    if inference_usd == 0 and not ordered:
        return "Nothing in this bill is recognized as inference; --select names what is."
    a_month = " a month" if months > 1 else ""
    at_list = " at list prices, since the bill has none" if listed else ""
    paid = f"Of {format_usd(inference_usd / months)}{a_month} for inference{at_list},"
    if not ordered:
        return f"{paid} nothing is found to be overpaid."
    sums: dict[str, float] = {}
    for finding in ordered:
        sums[finding.kind] = sums.get(finding.kind, 0.0) + finding.usd_per_month
    largest = sorted(sums.items(), key=lambda item: -item[1])[:3]
    share = f" ({format_share(overpaid_usd / inference_usd)})" if inference_usd > 0 else ""
    reasons = ", ".join(f"{format_usd(usd)} {_REASONS[kind]}" for kind, usd in largest)
    rest = " and others" if len(sums) > len(largest) else ""
    return f"{paid} {format_usd(overpaid_usd / months)}{share} is overpaid: {reasons}{rest}."


def _assumptions(findings: list[Finding], context: AuditContext, months: float) -> list[Assumption]:
    kinds = {finding.kind for finding in findings}
    assumed = [Assumption(text=f"a month is the mean of the {months:g} in the bill")] if months > 1 else []
    assumed += [Assumption(text=note) for note in (context.usage.notes if context.usage else ())]
    if "over_provisioned" in kinds:
        text = f"machines may be planned at {format_share(MAX_UTILIZATION)} of what they can do in an hour"
        assumed.append(Assumption(text=text))
        if context.usage and context.usage.guessed:
            text = f"machines that never scale have work of {context.usage.source}"
            assumed.append(Assumption(text=text, option="--trace or --metrics"))
        elif context.usage and not context.usage.of_all_machines:
            text = f"an output token is the work of {OUTPUT_WEIGHT:g} input tokens, and the busiest hours show the pace"
            assumed.append(Assumption(text=text, option="--metrics"))
    if "spot_for_deferrable" in kinds:
        text = "an interruption of a spot machine costs ten minutes of it, and spot is available when needed"
        assumed.append(Assumption(text=text))
    if "commitment_for_on_demand" in kinds:
        text = "machines continue to be used as in the period of the bill; more months of bills make that more certain"
        assumed.append(Assumption(text=text))
    if "old_generation" in kinds:
        text = "requests of 2,000 tokens of context, four prompt tokens for each generated one, full batches"
        assumed.append(Assumption(text=text, option="--model"))
    return assumed
