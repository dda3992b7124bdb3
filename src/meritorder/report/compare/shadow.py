"""What waiting would have saved on engines in use, in a terminal."""

from collections.abc import Iterator

from rich.console import Console, RenderableType

from meritorder.records.comparison import ShadowPeriod, ShadowReport
from meritorder.report.terminal import (
    INDENT,
    READING_WIDTH,
    assumptions_section,
    bullets,
    narrow,
    plain,
    section,
    show,
    warnings_section,
)
from meritorder.units import format_count, format_duration, format_share, format_usd, utc


def render(report: ShadowReport, console: Console) -> None:
    """Print the summary."""
    show(_blocks(report, min(console.width - INDENT, READING_WIDTH)), console)


def sentence(period: ShadowPeriod) -> str:
    """Return a period in one sentence."""
    since = f"{utc(period.start_epoch_s):%Y-%m-%d %H:%M}, {format_duration(period.end_epoch_s - period.start_epoch_s)}"
    if period.saving_usd is None or not period.realtime_usd:
        return f"{since}: no saving can be stated: {period.no_saving_because}"
    text = f"{format_usd(period.saving_usd)} of {format_usd(period.realtime_usd)} would have been saved"
    if interval := period.saving_interval:
        text += f" ({format_share(interval.low)} to {format_share(interval.high)})"
    causes = ", ".join(f"{credit.cause} {format_usd(credit.usd)}" for credit in period.credited if credit.usd)
    return f"{since}: {format_count(period.requests, 'request')}, {text}{f': {causes}' if causes else ''}"


def _blocks(report: ShadowReport, width: int) -> Iterator[RenderableType]:
    yield narrow(plain(f"In the whole time, from {sentence(report.whole)}.", "bold"), width)
    if report.warnings:
        yield warnings_section(report.warnings, width)
    periods = bullets([plain(sentence(period)) for period in report.periods], width)
    yield section("By period", "each alone: waiting across periods counts only in the whole", periods)
    yield assumptions_section(report.whole.assumptions, width)
