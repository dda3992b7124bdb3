"""A plan in a terminal: actions first, then reasons, then the checks."""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from meritorder.records.planfile import Plan, PlanOutcome
from meritorder.report.plan import judged, rows
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
    waterfall_section,
)
from meritorder.report.wording import MISSING
from meritorder.units import format_duration

_RENT_HEADINGS: Final = ("payment", "machines", "slot by slot", "GPU-hours", "planned", "serves")
_RENT_NUMBERS: Final = (1, 3, 4)
_TREND: Final = 2
_TREND_WIDTH: Final = 56
_LANE_STYLE: Final = {"deferrable": "yellow", "both": "cyan"}
_TWO_COLUMNS: Final = 96
_BLOCKS: Final = "▁▂▃▄▅▆▇█"


def render(plan: Plan, console: Console) -> None:
    """Print the plan, laid out for the width of the console."""
    show(_blocks(plan, console.width - INDENT), console)


def _blocks(plan: Plan, width: int) -> Iterator[RenderableType]:
    """Yield the sections that the plan has content for."""
    reading = min(width, READING_WIDTH)
    fall = rows.waterfall(plan)
    sections = (
        plan.sentence and narrow(plain(plan.sentence, "bold"), reading),
        narrow(plain(" · ".join(filter(None, (rows.models(plan), rows.span(plan)))), "dim"), reading),
        _coming(plan, reading),
        _days(plan, reading),
        plan.schedule and _rent(plan, width),
        _tokens(plan, reading),
        plan.commitments and _commit(plan, reading),
        _deferrable(plan, reading),
        _access(plan, reading),
        _costs(plan, reading),
        _credited(plan),
        _policy(plan, reading),
        plan.simulated and _check(plan, plan.simulated, reading),
        fall and waterfall_section(fall, width, plan.baseline),
        plan.backtest and _backtest(plan),
        _certainty(plan, reading),
        plan.assumptions and assumptions_section(plan.assumptions, reading),
        plan.prices and prices_section(plan.prices, width),
        plan.warnings and warnings_section(plan.warnings, reading),
    )
    for block in sections:
        if block:
            yield block


def _rent(plan: Plan, width: int) -> RenderableType:
    """Return a table for each pool; the columns of all tables are aligned."""
    rentals = rows.rentals(plan)
    cells = [_RENT_HEADINGS, *((row.pricing, row.machines, "", row.gpu_hours, row.usd, row.serves) for row in rentals)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    widths[_TREND] = 0
    widths[_TREND] = max(0, min(_TREND_WIDTH, width - sum(widths) - 2 * len(widths)))
    parts: list[RenderableType] = []
    for pool, of_pool in groupby(rentals, key=lambda row: row.pool):
        table = columns(*_RENT_HEADINGS, numbers=0)
        table.show_header = not parts
        notes: list[RenderableType] = []
        for column, column_width in zip(table.columns, widths, strict=True):
            column.width = column_width
        for index in _RENT_NUMBERS:
            table.columns[index].justify = "right"
        for row in of_pool:
            trend = Text(sparkline(row.trend, widths[_TREND]), _LANE_STYLE.get(row.serves, "blue"))
            pricing, machines, *rest = map(plain, (row.pricing, row.machines, row.gpu_hours, row.usd, row.serves))
            table.add_row(pricing, machines, trend, *rest)
            notes += [plain(f"{row.pricing}: {row.saved}", "dim")] if row.saved else []
        parts += [Text(), plain(pool), table, *notes]
    return section("Rent", "", *parts[1:])


def _commit(plan: Plan, width: int) -> RenderableType:
    span = format_duration(plan.slots * plan.slot_s)
    parts: list[RenderableType] = []
    for row in rows.commitments(plan):
        savings = ((row.alone, "alone"), (row.together, "with the rest"))
        saves = [f"{usd} {condition}" for usd, condition in savings if usd != MISSING]
        details = (
            row.terms,
            f"{row.usd} over {span}",
            f"{row.owed} owed over the whole term" if row.owed != MISSING else "",
            f"{row.price} an hour each" if row.price != MISSING else "",
            f"used {row.used}",
            f"breaks even at {row.break_even} use" if row.break_even != MISSING else "",
            f"saves {', '.join(saves)}" if saves else "",
            f"in steps: {row.steps}" if row.steps.endswith("term") else row.steps,
        )
        parts += [
            Text.assemble(plain(row.amount, "bold"), " of ", plain(row.name)),
            bullets([plain(" · ".join(filter(None, details)))], width, "  "),
        ]
    return section("Commit to", "", narrow(stack(*parts), width))


def _tokens(plan: Plan, width: int) -> RenderableType | None:
    lines = [plain(f"{row.venue}: {row.usd} for {row.workload}") for row in rows.bought_tokens(plan)]
    return section("Buy as tokens", "", bullets(lines, width)) if lines else None


def _deferrable(plan: Plan, width: int) -> RenderableType | None:
    lines = []
    for row in rows.deferrable(plan):
        details = (
            f"{row.workload}: up to {row.patience}",
            f"deferral saves {row.saves}" if row.saves != MISSING else "",
            f"an hour more of patience is worth {row.worth}" if row.worth != MISSING else "",
        )
        lines.append(plain("; ".join(filter(None, details))))
    lines += [plain(line) for line in rows.reduced_backfill(plan)]
    return section("Deferrable work", "", bullets(lines, width)) if lines else None


def _access(plan: Plan, width: int) -> RenderableType | None:
    lines = [plain(line) for line in rows.access(plan)]
    return section("Restricted to", "", bullets(lines, width)) if lines else None


def _certainty(plan: Plan, width: int) -> RenderableType | None:
    lines = [plain(text) for text in rows.certainty(plan)]
    return section("Confidence", "", bullets(lines, width)) if lines else None


def _costs(plan: Plan, width: int) -> RenderableType:
    paid = " · ".join(f"{usd} {words}" for _, words, usd in rows.payments(plan))
    return section(
        "Cost", rows.cost(plan), bullets([plain(text) for text in (paid, *rows.bounds(plan)) if text], width)
    )


def _check(plan: Plan, outcome: PlanOutcome, width: int) -> RenderableType:
    rounds = f"{rows.verdict(plan, outcome)}, after {outcome.rounds:,} round{'' if outcome.rounds == 1 else 's'}"
    table = Table.grid(padding=(0, 3, 0, 0))
    for _ in range(2 if width < _TWO_COLUMNS else 4):
        table.add_column(no_wrap=True)
    facts = [(plain(name, "dim"), plain(value)) for name, value in rows.facts(plan, outcome)]
    pairs = len(table.columns) // 2
    for first in range(0, len(facts), pairs):
        table.add_row(*(cell for fact in facts[first : first + pairs] for cell in fact))
    return section("Simulated, request by request", rounds, table)


def _coming(plan: Plan, width: int) -> RenderableType | None:
    notes = _notes(judged.coming_notes(plan), width)
    return _judgment("Days to come", "forecast from this history", judged.COMING_HEADINGS, judged.coming(plan), notes)


def _days(plan: Plan, width: int) -> RenderableType | None:
    basis, notes = "fitted to the days before, real time sized on them", _notes(judged.day_notes(plan), width)
    return _judgment("Days that it had not seen", basis, judged.DAY_HEADINGS, judged.days(plan), notes)


def _credited(plan: Plan) -> RenderableType | None:
    return _judgment("What saves it", "with hindsight", ("cause", "saved"), judged.credited(plan), ())


def _judgment(
    title: str, basis: str, headings: Sequence[str], lines: Sequence[Sequence[str]], notes: Sequence[RenderableType]
) -> RenderableType | None:
    """Return a section with a table, whose first column is text and the others numbers; None without rows."""
    if not lines:
        return None
    table = columns(*headings, numbers=len(headings) - 1)
    for row in lines:
        table.add_row(*map(plain, row))
    return section(title, basis, table, *notes)


def _notes(texts: Sequence[str], width: int) -> list[RenderableType]:
    return [bullets([plain(text) for text in texts], width)] if texts else []


def _policy(plan: Plan, width: int) -> RenderableType | None:
    lines = [plain(line) for line in judged.policy(plan)]
    return (
        section("Policy", "what runs at a load that is not known beforehand", bullets(lines, width)) if lines else None
    )


def _backtest(plan: Plan) -> RenderableType:
    parts: list[RenderableType] = []
    for name, tests in groupby(judged.backtests(plan), key=lambda row: row[0]):
        table = columns("rule", "machines", "cost", "saved", numbers=3)
        for row in tests:
            table.add_row(*map(plain, row[1:]), style="bold" if row[1] == judged.ADVICE else "")
        parts += [plain(name, "dim"), table]
    return section("Backtest", "chosen on the first part of the trace, paid on the rest", *parts)


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values from zero to their maximum, at most `width` characters wide; only zero is blank."""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)] if count else []
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    maximum = max(means, default=0.0)
    return "".join(_block(mean / maximum) if mean > 0 else " " for mean in means)


def _block(share: float) -> str:
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))]
