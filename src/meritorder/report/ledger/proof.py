"""What was paid and what it saved, on one printed page for the person who pays."""

from typing import Any, Final

from meritorder.records.accounting import LedgerReport
from meritorder.report.ledger import words
from meritorder.report.page import fill
from meritorder.report.wording import capitalize
from meritorder.units import format_count, format_share, format_usd

_TEMPLATE: Final = "proof.html.j2"
_WORKLOADS: Final = 5
_NOTES: Final = 4
_NOTE_CHARS: Final = 240


def render(report: LedgerReport) -> str:
    """Return the whole page, with all text of the user escaped."""
    return fill(_TEMPLATE, None, schema=report.schema, proof=view(report))


def view(report: LedgerReport) -> dict[str, Any]:
    """Return what the page shows: the answer, its amounts, where the money went, how sure it is, what is not known."""
    workloads = words.workloads(report)
    dearest = sorted(report.by_workload, key=lambda workload: workload.paid_usd, reverse=True)[:_WORKLOADS]
    rows = {id(workload): row for workload, row in zip(report.by_workload, workloads.rows, strict=True)}
    first, last = (moment[:10] for moment in report.period)
    return {
        "period": f"{first} to {last}",
        "sentence": _sentence(report),
        "headline": _headline(report),
        "uses": _uses(report),
        "headings": workloads.headings[:4],
        "workloads": [rows[id(workload)][:4] for workload in dearest],
        "others": len(report.by_workload) - len(dearest),
        "sure": _sure(report),
        "unknown": _unknown(report),
    }


def _sentence(report: LedgerReport) -> str:
    requests = format_count(report.requests, "request")
    if report.saved_usd is None or report.counterfactual_usd is None:
        return f"{format_usd(report.paid_usd)} were paid for {requests}. No saving is claimed."
    share = format_share(abs(report.saved_usd) / report.counterfactual_usd) if report.counterfactual_usd > 0 else ""
    if report.saved_usd < 0:
        return f"{requests} cost {format_usd(-report.saved_usd)} ({share}) more than in real time alone."
    return f"{requests} cost {format_usd(report.saved_usd)} ({share}) less than in real time alone."


def _headline(report: LedgerReport) -> list[tuple[str, str, str]]:
    items = [("Paid", format_usd(report.paid_usd), f"{format_count(report.attempts, 'attempt')} at requests")]
    if report.counterfactual_usd is not None and report.saved_usd is not None:
        items.append(("Real time alone", format_usd(report.counterfactual_usd), "simulated, at the same prices"))
        items.append(("Saved", format_usd(report.saved_usd), words.interval(report)))
    promised = report.deadlines.kept + report.deadlines.missed
    if promised:
        note = f"{report.deadlines.missed:,} of {promised:,} missed"
        decimals = 1 if report.deadlines.missed else 0
        items.append(("Deadlines kept", format_share(report.deadlines.kept / promised, decimals), note))
    return items


def _uses(report: LedgerReport) -> list[dict[str, Any]]:
    """Return the uses that cost something, each with its share of what was paid."""
    return [
        {
            "title": capitalize(words.USES[use.use]),
            "usd": format_usd(use.paid_usd),
            "percent": 100 * float(use.paid_usd / report.paid_usd),
            "kind": _KINDS[use.use],
        }
        for use in report.by_use
        if use.paid_usd > 0
    ]


_KINDS: Final = {
    "busy": "realtime",
    "tokens": "tokens",
    "starting": "startup",
    "idle": "lost",
    "unused commitment": "committed",
}
"""The color of each use."""


def _sure(report: LedgerReport) -> list[str]:
    """Return where the amounts come from."""
    paid = "What was paid is exact at the prices of the gateway: the rows of the ledger add up to it."
    texts = [paid, words.deadlines(report), words.bill(report)]
    if report.counterfactual is not None and report.saved_usd is not None:
        texts += [words.saving(report), f"The interval comes from {report.counterfactual.basis}."]
    return [_shortened(text) for text in texts if text]


def _unknown(report: LedgerReport) -> list[str]:
    """Return what is missing and what was assumed, as far as one page can hold it."""
    assumed = report.counterfactual.assumptions if report.counterfactual is not None else ()
    texts = [] if report.saved_usd is not None else [f"What it saved: {report.no_saving_because}"]
    texts += [*report.warnings, *assumed]
    shown = [_shortened(text) for text in texts[:_NOTES]]
    return [*shown, f"{len(texts) - _NOTES} more in the ledger"] if len(texts) > _NOTES else shown


def _shortened(text: str) -> str:
    return text if len(text) <= _NOTE_CHARS else text[: _NOTE_CHARS - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
