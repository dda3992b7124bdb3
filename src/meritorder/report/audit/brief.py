"""The answer on one printed page, for a decision: total, overpaid, what to do by whom, what is not known."""

from typing import Any, Final

from meritorder.records.findings import Audit, Finding, FindingKind
from meritorder.report.audit.words import KINDS, a_month, reconciled, what_was_read
from meritorder.report.page import fill
from meritorder.report.wording import capitalize
from meritorder.units import format_share, format_usd

_TEMPLATE: Final = "audit_brief.html.j2"
_FINDINGS: Final = 3
_UNKNOWN: Final = 3

OWNERS: Final[dict[FindingKind, str]] = {
    "unused_commitment": "purchasing, with the platform team",
    "commitment_wrong_family": "purchasing, with the platform team",
    "commitment_for_on_demand": "purchasing, with the platform team",
    "above_list_price": "purchasing",
    "idle_capacity": "the team that runs the machines",
    "over_provisioned": "the team that runs the machines",
    "non_production_hours": "the team that runs the machines",
    "spot_for_deferrable": "the team that runs the machines",
    "cheaper_region": "the team that runs the machines",
    "old_generation": "the team that runs the machines",
    "tokens_could_wait": "the team that calls the models",
}
"""Who can do what a kind of finding asks for."""


def render(audit: Audit) -> str:
    """Return the whole page, with all text of the user escaped."""
    shown, others = audit.findings[:_FINDINGS], audit.findings[_FINDINGS:]
    return fill(
        _TEMPLATE,
        None,
        schema=audit.schema,
        read=what_was_read(audit),
        sentence=audit.sentence,
        headline=_headline(audit),
        findings=[_finding(finding) for finding in shown],
        others=_others(others),
        unknown=_unknown(audit),
        reconciled=reconciled(audit),
    )


def _headline(audit: Audit) -> list[tuple[str, str, str]]:
    months, inference = audit.bill.months, float(audit.inference_usd)
    share = f"{format_share(audit.overpaid_usd / inference)} of inference" if inference > 0 else ""
    return [
        ("Whole bill", format_usd(float(audit.total_usd) / months), a_month(audit)),
        ("Inference", format_usd(inference / months), "less credits, without taxes"),
        ("Overpaid", format_usd(audit.overpaid_usd_per_month), share),
    ]


def _finding(finding: Finding) -> dict[str, Any]:
    """Return a finding as texts, without the command that it recommends."""
    what, colon, _ = finding.fix.rpartition(": meritorder ")
    action = what.rpartition(";")[0] or what if colon else finding.fix
    return {
        "usd": format_usd(finding.usd_per_month),
        "title": finding.title,
        "kind": KINDS[finding.kind].lower(),
        "confidence": finding.confidence,
        "action": capitalize(action),
        "owner": OWNERS[finding.kind],
    }


def _others(findings: list[Finding]) -> str:
    if not findings:
        return ""
    usd = format_usd(sum(finding.usd_per_month for finding in findings))
    return f"{len(findings)} smaller finding{'s' if len(findings) != 1 else ''} of {usd} in all are in the full report."


def _unknown(audit: Audit) -> list[str]:
    """Return what is not known: what was not read, what was wrong with the bill, and what it cannot tell."""
    read = audit.bill
    share = format_share(read.unread_share)
    unread = f"{read.refused_rows:,} of {read.rows:,} rows could not be read, {share} of the bill"
    questions = [
        f"{missing.question} (concerns {format_usd(missing.usd_per_month)})"
        for missing in audit.missing_inputs[:_UNKNOWN]
    ]
    return [unread, *questions] if read.refused_rows else questions
