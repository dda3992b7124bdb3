"""What was paid, as one HTML file that needs no network and runs no script."""

from typing import Final

from meritorder.records.accounting import LedgerReport
from meritorder.report.ledger import words
from meritorder.report.page import fill

_TEMPLATE: Final = "ledger.html.j2"


def render(report: LedgerReport) -> str:
    """Return the whole page, with all text of the user escaped."""
    tables = [("What it was paid for", words.uses(report)), ("Requests by workload", words.workloads(report))]
    tables.insert(1, ("What it was paid because of", words.causes(report)))
    tables.append(("Against the bill, USD", words.bill_lines(report)))
    tables.append(("Simulation", words.simulation(report)))
    tables.append((words.BUDGETS, words.budgets(report)))
    if report.rows:
        tables.append((words.by(tuple(report.rows[0].by)), words.groups(report)))
    return fill(
        _TEMPLATE,
        None,
        schema=report.schema,
        sentence=words.sentence(report),
        reasons=words.bill_reasons(report),
        facts=words.facts(report),
        warned=report.warnings + (report.bill.warnings if report.bill else ()),
        tables=[(title, grid) for title, grid in tables if grid.rows],
    )
