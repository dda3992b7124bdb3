"""The answer in a terminal: the sentence first, then the findings, then the missing inputs."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from meritorder.records.findings import Audit, Breakdown, Finding, MissingInput, RequestCosts
from meritorder.report.audit.words import (
    KINDS,
    PURCHASES,
    a_month,
    figures,
    reconciled,
    requests_sentence,
    what_was_read,
)
from meritorder.report.terminal import (
    INDENT,
    READING_WIDTH,
    assumptions_section,
    bullets,
    columns,
    narrow,
    plain,
    prices_section,
    section,
    show,
    stack,
    warnings_section,
)
from meritorder.report.wording import or_missing, usd_cells
from meritorder.units import format_share, format_usd

_CONFIDENCE_STYLES: Final = {"low": "yellow", "medium": "", "high": "green"}
_MAX_SPENDS: Final = 8
_MAX_ALLOCATIONS: Final = 8


def render(audit: Audit, console: Console) -> None:
    """Print the answer, laid out for the width of the console."""
    show(_blocks(audit, console.width - INDENT), console)


def _blocks(audit: Audit, width: int) -> Iterator[RenderableType]:
    reading = min(width, READING_WIDTH)
    yield narrow(plain(audit.sentence, "bold"), reading)
    yield stack(narrow(plain(what_was_read(audit), "dim"), reading), plain(reconciled(audit), "dim"))
    if audit.bill.problems:
        yield section(
            "Wrong with the bill",
            "",
            bullets([plain(problem) for problem in audit.bill.problems], reading, "! ", "yellow"),
        )
    if audit.warnings:
        yield warnings_section(audit.warnings, reading)
    if audit.findings:
        yield _findings(audit, reading)
    if audit.missing_inputs:
        yield _missing_inputs(audit.missing_inputs, reading)
    if audit.requests:
        yield _requests(audit.requests, reading)
    yield _figures(audit, width)
    yield from (_breakdown(breakdown) for breakdown in audit.breakdowns if len(breakdown.spends) > 1)
    if audit.assumptions:
        yield assumptions_section(audit.assumptions, reading)
    if audit.prices:
        yield prices_section(audit.prices, width)


def _findings(audit: Audit, width: int) -> RenderableType:
    cells = usd_cells([finding.usd_per_month for finding in audit.findings])
    table = Table.grid(padding=(0, 2, 1, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(max_width=width - max(map(len, cells)) - 2)
    for finding, usd in zip(audit.findings, cells, strict=True):
        table.add_row(Text(usd, "bold"), _finding(finding))
    total = format_usd(audit.overpaid_usd_per_month)
    return section("Overpaid", f"{total} {a_month(audit)}; no dollar is counted twice", Text(""), table)


def _finding(finding: Finding) -> RenderableType:
    about = Text.assemble(
        (f"{KINDS[finding.kind].lower()}, ", "dim"),
        (f"{finding.confidence} confidence", _CONFIDENCE_STYLES[finding.confidence] or "dim"),
    )
    what, colon, command = finding.fix.rpartition(": meritorder ")
    fix = Text.assemble("→ ", plain(what if colon else finding.fix))
    shown = [fix, plain(f"meritorder {command}", "cyan")] if colon else [fix]
    return stack(plain(finding.title, "bold"), about, plain(finding.evidence, "dim"), *shown)


def _missing_inputs(missing_inputs: list[MissingInput], width: int) -> RenderableType:
    lines = [
        Text.assemble(
            (f"up to {format_usd(missing.usd_per_month)}", "bold"),
            " ",
            plain(missing.question),
            ("  give ", "dim"),
            plain(missing.give, "dim"),
            "  ",
            plain(missing.option, "cyan"),
        )
        for missing in missing_inputs
    ]
    return section(
        "What the bill cannot tell", "spend that each question concerns, not findings", bullets(lines, width, "? ")
    )


def _requests(costs: RequestCosts, width: int) -> RenderableType:
    parts: list[RenderableType] = [narrow(plain(requests_sentence(costs)), width)]
    for heading, costs_by in (("model", costs.by_model), ("tenant", costs.by_tenant)):
        if len(costs_by) < 2:
            continue
        table = columns(heading, "requests", "cost", "of it idle", "per 1,000", "per Mtok", numbers=5)
        for cost in costs_by[:_MAX_ALLOCATIONS]:
            table.add_row(
                plain(cost.name),
                f"{cost.requests:,}",
                format_usd(cost.usd),
                format_usd(cost.idle_usd),
                format_usd(1000 * cost.usd_per_request),
                format_usd(cost.usd_per_mtok),
            )
        parts += [Text(""), table]
        if len(costs_by) > _MAX_ALLOCATIONS:
            parts.append(Text(f"and {len(costs_by) - _MAX_ALLOCATIONS} more in --json", "dim"))
    parts.append(bullets([plain(text, "dim") for text in costs.basis], width))
    return section("Dollars per request", "from what the bill paid", *parts)


def _figures(audit: Audit, width: int) -> RenderableType:
    rows = figures(audit)
    first, second = max(len(name) for name, _, _ in rows), max(len(value) for _, value, _ in rows)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(max_width=max(20, min(width, READING_WIDTH) - first - second - 4))
    for name, value, scope in rows:
        table.add_row(name, value, Text(scope, "dim"))
    parts: list[RenderableType] = [table]
    if audit.commitments:
        table = columns("commitment", "covers", "cost", "used", "unused", numbers=3)
        for commitment in audit.commitments:
            name = commitment.commitment.rsplit("/", 1)[-1]
            table.add_row(
                plain(f"{commitment.purchase.replace('_', ' ')} {name}"),
                plain(", ".join(commitment.instances)),
                format_usd(commitment.usd),
                or_missing(commitment.utilization, lambda share: format_share(share, 1)),
                format_usd(commitment.unused_usd),
            )
        parts += [Text(""), table]
    return section("Figures", "of inference, amortized, unless stated otherwise", *parts)


def _breakdown(breakdown: Breakdown) -> RenderableType:
    table = columns(breakdown.by.replace("_", " "), "cost", "share", numbers=2)
    shown = breakdown.spends[:_MAX_SPENDS]
    for spend, usd in zip(shown, usd_cells([spend.usd for spend in shown]), strict=True):
        name = PURCHASES.get(spend.name, spend.name) if breakdown.by == "purchase" else spend.name
        table.add_row(plain(name), usd, format_share(spend.share))
    more = len(breakdown.spends) - len(shown)
    return stack(table, *([Text(f"and {more} more in --json", "dim")] if more else []))
