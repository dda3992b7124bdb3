"""The digest of a week: a few lines for people who do not look at the ledger."""

import datetime as dt
from decimal import Decimal
from typing import Final

from meritorder.records.accounting import LedgerReport
from meritorder.report.ledger import words
from meritorder.units import format_count, format_share, format_usd

_MOST: Final = 3


def lines(week: LedgerReport, before: LedgerReport | None) -> tuple[str, ...]:
    """Return the digest of a week.

    Args:
        week: The week by tenant, with a forecast if there is one.
        before: The week before it; None if there is none.
    """
    begin, end = (dt.datetime.fromisoformat(moment) for moment in week.period)
    last = end - dt.timedelta(microseconds=1)
    requests = format_count(week.requests, "request")
    each = f", {format_usd(week.paid_usd / week.requests)} each" if week.requests else ""
    texts = [
        f"{begin:%Y-%m-%d} to {last:%Y-%m-%d}: {format_usd(week.paid_usd)} were paid for {requests}{each}",
        _compared(week, before),
        f"idle machines cost {format_usd(week.idle_usd)}, {_share(week.idle_usd, week)}" if week.idle_usd else "",
        _unused(week),
        words.deadlines(week).rstrip("."),
        _largest("by workload", [(row.workload or row.lane, row.paid_usd) for row in week.by_workload]),
        _largest("by tenant", [(row.by["tenant"], row.paid_usd) for row in week.rows]),
        words.commitments(week).rstrip("."),
        words.forecast(week).rstrip("."),
    ]
    return tuple(f"{text[0].upper()}{text[1:]}." for text in texts if text)


def _compared(week: LedgerReport, before: LedgerReport | None) -> str:
    if before is None or not before.paid_usd:
        return ""
    change = _change(before.paid_usd, week.paid_usd)
    requests = f"; requests: {_change(before.requests, week.requests)}" if before.requests else ""
    return f"against the week before, which cost {format_usd(before.paid_usd)}: {change}{requests}"


def _change(before: Decimal | int, after: Decimal | int) -> str:
    share = float(after) / float(before) - 1
    return f"{format_share(abs(share))} {'more' if share > 0 else 'less'}" if share else "the same"


def _unused(week: LedgerReport) -> str:
    usd = week.unused_commitment_usd
    return f"commitments that nothing used cost {format_usd(usd)}, {_share(usd, week)}" if usd else ""


def _share(usd: Decimal, week: LedgerReport) -> str:
    return f"{format_share(usd / week.paid_usd)} of all"


def _largest(title: str, paid: list[tuple[str, Decimal]]) -> str:
    owned = [(name, usd) for name, usd in paid if usd and not name.startswith("(")]
    most = sorted(owned, key=lambda named: -named[1])[:_MOST]
    return f"{title}: " + ", ".join(f"{name} {format_usd(usd)}" for name, usd in most) if most else ""
