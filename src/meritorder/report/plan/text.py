"""A plan in a terminal: what to do first, then why, then how far it was checked."""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from meritorder.planfile import Plan, PlanOutcome
from meritorder.report.plan import rows
from meritorder.report.plan.check import facts, verdict
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
    """Yield the sections, less those of which the plan says nothing."""
    reading = min(width, READING_WIDTH)
    fall = rows.waterfall(plan)
    sections_of = (
        plan.sentence and narrow(plain(plan.sentence, "bold"), reading),
        narrow(plain(" · ".join(filter(None, (rows.models(plan), rows.span(plan)))), "dim"), reading),
        plan.schedule and _rent(plan, width),
        _tokens(plan, reading),
        plan.commitments and _commit(plan, reading),
        _waits(plan, reading),
        _limits(plan, reading),
        _costs(plan, reading),
        plan.simulated and _check(plan, plan.simulated, reading),
        fall and waterfall_section(fall, width, plan.baseline),
        plan.backtest and _backtest(plan),
        _sure(plan, reading),
        plan.assumptions and assumptions_section(plan.assumptions, reading),
        plan.prices and prices_section(plan.prices, width),
        plan.warnings and warnings_section(plan.warnings, reading),
    )
    for block in sections_of:
        if block:
            yield block


def _rent(plan: Plan, width: int) -> RenderableType:
    """Return a table for each pool, under its name, the columns of all at the same places."""
    rented = rows.rentals(plan)
    cells = [_RENT_HEADINGS, *((one.pricing, one.machines, "", one.gpu_hours, one.usd, one.serves) for one in rented)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    widths[_TREND] = 0
    widths[_TREND] = max(0, min(_TREND_WIDTH, width - sum(widths) - 2 * len(widths)))
    parts: list[RenderableType] = []
    for pool, of_pool in groupby(rented, key=lambda one: one.pool):
        table = columns(*_RENT_HEADINGS, numbers=0)
        table.show_header = not parts
        notes: list[RenderableType] = []
        for column, fixed in zip(table.columns, widths, strict=True):
            column.width = fixed
        for place in _RENT_NUMBERS:
            table.columns[place].justify = "right"
        for one in of_pool:
            drawn = Text(sparkline(one.trend, widths[_TREND]), _LANE_STYLE.get(one.serves, "blue"))
            texts = (one.pricing, one.machines, one.gpu_hours, one.usd, one.serves)
            pricing, machines, *rest = map(plain, texts)
            table.add_row(pricing, machines, drawn, *rest)
            notes += [plain(f"{one.pricing}: {one.saved}", "dim")] if one.saved else []
        parts += [Text(), plain(pool), table, *notes]
    return section("Rent", "", *parts[1:])


def _commit(plan: Plan, width: int) -> RenderableType:
    lasts = format_duration(plan.slots * plan.slot_s)
    parts: list[RenderableType] = []
    for one in rows.commitments(plan):
        price = f"{one.price} an hour each" if one.price != MISSING else ""
        saves = [
            f"{usd} {how}" for usd, how in ((one.alone, "alone"), (one.together, "with the rest")) if usd != MISSING
        ]
        facts_of = (
            one.terms,
            f"{one.usd} over {lasts}",
            price,
            f"used {one.used}",
            f"pays from {one.break_even} use" if one.break_even != MISSING else "",
            f"saves {', '.join(saves)}" if saves else "",
            f"in steps: {one.steps}" if one.steps.endswith("term") else one.steps,
        )
        parts += [
            Text.assemble(plain(one.amount, "bold"), " of ", plain(one.name)),
            bullets([plain(" · ".join(filter(None, facts_of)))], width, "  "),
        ]
    return section("Commit to", "", narrow(stack(*parts), width))


def _tokens(plan: Plan, width: int) -> RenderableType | None:
    lines = [plain(f"{one.venue}: {one.usd} for {one.workload}") for one in rows.bought(plan)]
    return section("Buy as tokens", "", bullets(lines, width)) if lines else None


def _waits(plan: Plan, width: int) -> RenderableType | None:
    lines = []
    for one in rows.waiting(plan):
        worth = (
            f"its waiting saves {one.saves}" if one.saves != MISSING else "",
            f"an hour more of patience is worth {one.worth}" if one.worth != MISSING else "",
        )
        lines.append(plain("; ".join(filter(None, (f"{one.workload}: up to {one.patience}", *worth)))))
    lines += [plain(line) for line in rows.beside(plan)]
    return section("Deferrable work", "", bullets(lines, width)) if lines else None


def _limits(plan: Plan, width: int) -> RenderableType | None:
    lines = [plain(line) for line in rows.limits(plan)]
    return section("May not run anywhere", "", bullets(lines, width)) if lines else None


def _sure(plan: Plan, width: int) -> RenderableType | None:
    texts = (rows.saving(plan), rows.regret(plan), *rows.spot(plan), *plan.performance)
    lines = [plain(text) for text in texts if text]
    return section("Confidence", "", bullets(lines, width)) if lines else None


def _costs(plan: Plan, width: int) -> RenderableType:
    paid = " · ".join(f"{usd} {words}" for _, words, usd in rows.payments(plan))
    return section(
        "Cost", rows.cost(plan), bullets([plain(text) for text in (paid, *rows.bounds(plan)) if text], width)
    )


def _check(plan: Plan, simulated: PlanOutcome, width: int) -> RenderableType:
    rounds = f"{verdict(plan, simulated)}, after {simulated.rounds:,} round{'' if simulated.rounds == 1 else 's'}"
    table = Table.grid(padding=(0, 3, 0, 0))
    for _ in range(2 if width < _TWO_COLUMNS else 4):
        table.add_column(no_wrap=True)
    told = [(plain(name, "dim"), plain(value)) for name, value in facts(plan, simulated)]
    side = len(table.columns) // 2
    for place in range(0, len(told), side):
        table.add_row(*(cell for pair in told[place : place + side] for cell in pair))
    return section("Simulated, request by request", rounds, table)


def _backtest(plan: Plan) -> RenderableType:
    parts: list[RenderableType] = []
    for name, tested in groupby(rows.backtests(plan), key=lambda row: row[0]):
        table = columns("rule", "machines", "cost", "saved", numbers=3)
        for row in tested:
            table.add_row(*map(plain, row[1:]), style="bold" if row[1] == rows.ADVICE else "")
        parts += [plain(name, "dim"), table]
    return section("Backtest", "chosen on the first part of the trace, paid on the rest", *parts)


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values from zero to their greatest, at most `width` characters wide; only nothing at all is blank."""
    count = min(width, len(values))
    edges = [round(place * len(values) / count) for place in range(count + 1)] if count else []
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    greatest = max(means, default=0.0)
    return "".join(_block(mean / greatest) if mean > 0 else " " for mean in means)


def _block(share: float) -> str:
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))]
