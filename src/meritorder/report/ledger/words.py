"""The wording of what was paid: the sentence, the uses, and the rows of each table."""

from collections.abc import Sequence
from dataclasses import dataclass

from meritorder.records.accounting import NOTICE_DAYS, LedgerReport, RunningCommitment
from meritorder.report.wording import MISSING, lane_title, or_missing, usd_cells
from meritorder.units import format_count, format_share, format_usd

USES = {
    "busy": "machines while requests ran",
    "tokens": "tokens at their price",
    "starting": "machines before they were ready",
    "idle": "machines that were ready, with nothing to run",
    "unused commitment": "commitments that nothing used",
}
"""What each use means."""
BUDGETS = "Budgets at the end of their periods, USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table: its headings, how many of the first are text, and its rows."""

    headings: tuple[str, ...]
    texts: int
    rows: tuple[tuple[str, ...], ...]


def sentence(report: LedgerReport) -> str:
    """Return the answer in one sentence."""
    first, last = (moment[:16].replace("T", " ") for moment in report.period)
    per_request = f", {format_usd(report.paid_usd / report.requests)} each" if report.requests else ""
    return (
        f"{report.paid_usd:,.2f} USD were paid for {format_count(report.requests, 'request')}{per_request}, "
        f"from {first} to {last} UTC."
    )


def deadlines(report: LedgerReport) -> str:
    """Return the deadlines in one sentence; empty if there were none."""
    kept, missed = report.deadlines.kept, report.deadlines.missed
    if not kept + missed:
        return ""
    return f"Deadlines: {kept:,} kept, {missed:,} missed."


def quotes(report: LedgerReport) -> str:
    """Return what batches with a quote were charged, in one sentence; empty if there were none."""
    quoted = report.quotes
    if quoted is None:
        return ""
    batches = "1 batch" if quoted.batches == 1 else f"{quoted.batches:,} batches"
    amounts = (quoted.quoted_usd, quoted.charged_usd, quoted.paid_usd, quoted.difference_usd)
    offered, charged, paid, difference = (format_usd(usd) for usd in amounts)
    return f"Quotes: {batches} quoted {offered} and charged {charged} cost {paid}: a difference of {difference}."


def bill(report: LedgerReport) -> str:
    """Return how ledger and bill compare, in one sentence; empty without a bill."""
    match = report.bill
    if match is None:
        return ""
    apart = f"{match.bill_usd:,.2f} USD were billed for inference and {match.ledger_usd:,.2f} USD are in the ledger"
    other = f"; {format_usd(match.other_usd)} of the bill are for something else" if match.other_usd else ""
    return f"Bill: {apart}; {match.matched_usd:,.2f} USD match to the cent{other}."


def bill_lines(report: LedgerReport) -> Grid:
    """Return the lines of a bill beside the ledger."""
    lines = () if report.bill is None else report.bill.lines
    rows = tuple(
        (line.what or MISSING, f"{line.ledger_usd:,.2f}", f"{line.bill_usd:,.2f}", f"{line.difference_usd:+,.2f}")
        for line in lines
    )
    return Grid(headings=("Venues", "ledger", "bill", "difference"), texts=1, rows=rows)


def bill_reasons(report: LedgerReport) -> tuple[str, ...]:
    """Return why bill and ledger differ, line by line."""
    lines = () if report.bill is None else report.bill.lines
    return tuple(
        f"{line.what or MISSING}: {'; '.join(f'{part.usd:+,.2f}, {part.why}' for part in line.reasons)}"
        for line in lines
        if line.reasons
    )


def saving(report: LedgerReport) -> str:
    """Return what was saved, or why nothing is claimed."""
    if report.saved_usd is None:
        return f"No saving is claimed: {report.no_saving_because}."
    simulated, within = report.counterfactual, interval(report)
    against = f"real time alone ({simulated.arrangement}, {simulated.machine})" if simulated else "real time alone"
    if report.saved_interval is not None and report.saved_interval[0] < 0:
        within += "; negative amounts are a loss"
    if report.saved_usd < 0:
        return f"Cost {format_usd(-report.saved_usd)} more than {against}; what was saved is {within}."
    return f"Saved {format_usd(report.saved_usd)} against {against}: {within}."


def interval(report: LedgerReport) -> str:
    """Return the interval of the saving."""
    if report.saved_interval is None:
        return "of unknown error"
    low, high = (format_usd(usd) for usd in report.saved_interval)
    return f"between {low} and {high}"


def facts(report: LedgerReport) -> tuple[str, ...]:
    """Return what is said after the first sentence."""
    texts = (deadlines(report), quotes(report), bill(report), saving(report), commitments(report), forecast(report))
    return tuple(text for text in texts if text)


def commitments(report: LedgerReport) -> str:
    """Return the commitments in force, with their ends; empty without any."""
    if not report.commitments:
        return ""
    return f"Commitments: {'; '.join(map(commitment, report.commitments))}."


def commitment(running: RunningCommitment) -> str:
    """Return the price of a commitment, and its end."""
    text = f"{running.venue} ({running.pricing_model}) at {format_usd(running.usd_per_hour)} an hour"
    if running.ends_at is None or running.days_left is None:
        return f"{text}, without a stated end"
    soon = "ends soon: " if running.days_left < NOTICE_DAYS else ""
    return f"{text}, {soon}until {running.ends_at[:10]}, in {format_count(running.days_left, 'day')}"


def forecast(report: LedgerReport) -> str:
    """Return what the coming days will cost, in one sentence; empty if that was not asked for."""
    coming = report.forecast
    if coming is None:
        return ""
    expected, low, high, daily = (
        format_usd(usd) for usd in (coming.expected_usd, coming.low_usd, coming.high_usd, coming.past_usd_per_day)
    )
    days = "Today is" if coming.days == 1 else f"Today and the next {coming.days - 1} days are"
    how = "each day is forecast as the last of its weekday"
    if coming.method == "fitted":
        how = "forecast by level, weekdays and growth"
    return (
        f"{days} expected to cost {expected}, eight times in ten between {low} and {high}: "
        f"the last {coming.past_days} whole days cost {daily} each; {how}."
    )


def budgets(report: LedgerReport) -> Grid:
    """Return the budgets and what will be spent of them."""
    rows = () if report.forecast is None else report.forecast.budgets
    cells = tuple(
        (
            row.budget,
            row.ends_at[:10],
            row.spent_on or MISSING,
            *usd_cells([row.limit_usd, row.spent_usd, row.low_usd, row.expected_usd, row.high_usd]),
        )
        for row in rows
    )
    return Grid(
        headings=("Budget of", "Until", "Spent on", "limit", "spent", "low", "expected", "high"), texts=3, rows=cells
    )


def simulation(report: LedgerReport) -> Grid:
    """Return the simulation that a saving comes from, beside what was."""
    simulated = report.counterfactual
    if simulated is None:
        return Grid(headings=(), texts=0, rows=())
    usd = usd_cells([simulated.realtime_usd, simulated.as_ran_usd, simulated.paid_usd])
    shares = (MISSING, format_share(simulated.busy_simulated, 1), format_share(simulated.busy_measured, 1))
    titles = ("real time alone, simulated", "as it ran, simulated", "as it ran")
    rows = tuple(zip(titles, usd, shares, strict=True))
    return Grid(headings=("Machines", "cost", "busy"), texts=1, rows=rows)


def uses(report: LedgerReport) -> Grid:
    """Return what was paid by use."""
    paid = [use for use in report.by_use if use.paid_usd]
    shares = [format_share(use.paid_usd / report.paid_usd, 1) for use in paid]
    cells = zip(paid, usd_cells([use.paid_usd for use in paid]), shares, strict=True)
    rows = tuple((use.use, USES[use.use], usd, share) for use, usd, share in cells)
    return Grid(headings=("Use", "", "paid", "share"), texts=2, rows=rows)


def causes(report: LedgerReport) -> Grid:
    """Return what was paid by cause."""
    cells = usd_cells([cause.paid_usd for cause in report.by_cause])
    rows = tuple((lane_title(cause.lane), usd) for cause, usd in zip(report.by_cause, cells, strict=True))
    return Grid(headings=("Lane", "paid"), texts=1, rows=rows)


def workloads(report: LedgerReport) -> Grid:
    """Return what was paid for the requests of each workload."""
    paid = report.by_workload
    columns = (
        [workload.workload or MISSING for workload in paid],
        [lane_title(workload.lane) for workload in paid],
        [f"{workload.requests:,}" for workload in paid],
        usd_cells([workload.paid_usd for workload in paid]),
        usd_cells([workload.usd_per_request for workload in paid]),
        usd_cells([workload.usd_per_mtok for workload in paid]),
    )
    headings = ("Workload", "Lane", "requests", "paid", "a request", "a million tokens")
    return Grid(headings=headings, texts=2, rows=tuple(zip(*columns, strict=True)))


def groups(report: LedgerReport) -> Grid:
    """Return what was paid by the groups that were asked for."""
    names = tuple(report.rows[0].by) if report.rows else ()
    amounts = {"paid": usd_cells([row.paid_usd for row in report.rows])}
    if report.saved_usd is not None:
        amounts["saved"] = usd_cells([row.saved_usd for row in report.rows])
    rows = tuple(
        (
            *(or_missing(value or None, str) for value in row.by.values()),
            f"{row.requests:,}",
            f"{row.input_tokens + row.output_tokens:,}",
            *cells,
        )
        for row, *cells in zip(report.rows, *amounts.values(), strict=True)
    )
    return Grid(headings=(*map(str.capitalize, names), "requests", "tokens", *amounts), texts=len(names), rows=rows)


def by(names: Sequence[str]) -> str:
    """Return the heading of groups."""
    return f"By {', '.join(names)}"
