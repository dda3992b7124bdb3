"""The answer as one HTML file that needs no network and runs no script."""

from typing import Any, Final

from meritorder.records.findings import Audit, Finding
from meritorder.report.audit import figures
from meritorder.report.audit.words import (
    KINDS,
    PURCHASES,
    a_month,
    reconciled,
    requests_sentence,
    what_was_read,
)
from meritorder.report.audit.words import figures as figure_rows
from meritorder.report.page import fill
from meritorder.report.wording import usd_cells
from meritorder.units import SECONDS_PER_HOUR, format_duration, format_share, format_usd

_TEMPLATE: Final = "audit.html.j2"


def render(audit: Audit) -> str:
    """Return the whole page, with all text of the user escaped."""
    cells = usd_cells([finding.usd_per_month for finding in audit.findings])
    return fill(
        _TEMPLATE,
        None,
        schema=audit.schema,
        answer=audit,
        headline=_headline(audit),
        read=what_was_read(audit),
        reconciled=reconciled(audit),
        a_month=a_month(audit),
        findings=[
            {"usd": usd, "kind": KINDS[finding.kind], **_parts(finding)}
            for finding, usd in zip(audit.findings, cells, strict=True)
        ],
        bars=figures.waterfall(audit),
        chart=_chart(audit),
        figures=figure_rows(audit),
        commitments=audit.commitments,
        breakdowns=[breakdown for breakdown in audit.breakdowns if len(breakdown.spends) > 1],
        purchases=PURCHASES,
        requests=requests_sentence(audit.requests) if audit.requests else "",
    )


def _headline(audit: Audit) -> list[tuple[str, str, str]]:
    months = audit.bill.months
    share = format_share(audit.overpaid_usd / float(audit.inference_usd)) if audit.inference_usd > 0 else ""
    rate = audit.effective_savings_rate
    rows = [
        ("Paid for inference", format_usd(float(audit.inference_usd) / months), a_month(audit)),
        ("Overpaid", format_usd(audit.overpaid_usd_per_month), f"{share} of it" if share else ""),
    ]
    if rate is not None:
        rows.append(("Effective savings rate", format_share(rate, 1), "against on-demand list price, without spot"))
    if audit.commitment_utilization is not None:
        unused = format_usd(audit.unused_commitment_usd)
        rows.append(("Commitments used", format_share(audit.commitment_utilization, 1), f"{unused} unused"))
    if audit.requests:
        total = audit.requests.total
        rows.append(("Per million tokens", format_usd(total.usd_per_mtok), f"allocated to {total.requests:,} requests"))
    return rows


def _parts(finding: Finding) -> dict[str, Any]:
    """Return the texts of a finding, with the command of its fix separate."""
    what, colon, command = finding.fix.rpartition(": meritorder ")
    return {
        "title": finding.title,
        "confidence": finding.confidence,
        "evidence": finding.evidence,
        "fix": what if colon else finding.fix,
        "command": f"meritorder {command}" if colon else "",
    }


def _chart(audit: Audit) -> dict[str, Any] | None:
    shape = audit.shape
    if shape is None:
        return None
    areas = figures.areas(shape)
    return {
        "areas": areas,
        "key": dict.fromkeys((area.color, area.title) for area in areas),
        "days": figures.days(shape),
        "peak": format_usd(figures.peak(shape)),
        "bin": "an hour" if shape.bin_s == SECONDS_PER_HOUR else format_duration(shape.bin_s),
        "width": figures.WIDTH,
        "height": figures.HEIGHT,
    }
