"""What the tour says: what was paid, what was saved, and whether the plan was right."""

from collections.abc import Sequence
from typing import Final

from bench.tour.outcome import Figure, Outcome, Served
from bench.tour.service import USD_PER_HOUR
from meritorder.gateway.venues.llamacpp import MODEL
from meritorder.study.ledger.counterfactual import MAX_DRIFT
from meritorder.units import format_share, format_usd

INTRODUCTION: Final = f"""\
This machine stands for one that is rented at {format_usd(USD_PER_HOUR)} an hour (assumed). It runs a small model,
{MODEL}. Its day is short: first reports arrive, which may wait; then people chat, who do not. The day is
served twice, in real time only and as planned. Each line with $ is a command that you could type yourself."""

REALTIME: Final = "1. Real time only: every request is answered at once, so the machine is on all day"
CALIBRATION: Final = "2. How fast is the engine? A profile is fitted to the rows of the ledger"
PLAN: Final = "3. The plan: reports wait until people chat"
PLANNED: Final = "4. The same requests again, as planned: the machine starts when people come"
LEDGER: Final = "   What it cost, by the ledger"


def invitation(url: str) -> str:
    """Return where the web application is, and what it shows."""
    return (
        f"\nWhat would you save? Open {url}/plan in a browser: it answers that for this traffic, and other pages"
        "\nshow the ledger. Ctrl-C ends it; `make tour` shows all this again, at the same address."
    )


def conclusion(outcome: Outcome) -> str:
    """Return what was saved, and how far the plan was from what came."""
    saving = _saving(outcome.realtime, outcome.planned)
    return "\n".join(
        ["\n5. What it saved", *saving, "\n6. Was the plan right?", *_prediction(outcome.figures("median"))]
    )


def _saving(realtime: Served, planned: Served) -> list[str]:
    report, deadlines = planned.report, planned.report["deadlines"]
    days = (("real time only", realtime), ("as planned", planned))
    less = 1 - planned.usd_per_request / realtime.usd_per_request
    lines = [
        f"  {'':<16}{'requests':>10}{'paid':>12}{'a request':>14}{'busy':>8}",
        *(
            f"  {name:<16}{len(served.rows):>10}{format_usd(served.paid_usd):>12}"
            f"{format_usd(served.usd_per_request):>14}{format_share(served.busy):>8}"
            for name, served in days
        ),
        f"  Measured: a request cost {format_share(abs(less))} {'less' if less >= 0 else 'more'} as planned.",
        f"  Reports that waited: {deadlines['kept']} in time, {deadlines['missed']} late.",
    ]
    if report["saved_usd"] is None:
        return [*lines, f"  Simulated: no saving is claimed, since {report['no_saving_because']}."]
    saved, otherwise = (format_usd(float(report[name])) for name in ("saved_usd", "counterfactual_usd"))
    lines.append(f"  Simulated: in real time the second day would have cost {otherwise}; the plan saved {saved}.")
    if report["saved_interval"] is None:
        return lines
    low, high = (format_usd(float(usd)) for usd in report["saved_interval"])
    return [*lines, f"  Given how far the simulation of that day was off, it saved {low} to {high}."]


def _prediction(figures: Sequence[Figure]) -> list[str]:
    """Return a table of what the plan foretold beside what came; times are those of chats."""
    lines = [f"  {'':<16}{'foretold':>12}{'came':>12}{'difference':>12}"]
    lines += [
        f"  {figure.name:<16}{foretold:>12}{came:>12}{figure.difference:>+12.0%}"
        for figure in figures
        for foretold, came in [(figure.text(figure.foretold), figure.text(figure.came))]
    ]
    drifted = [figure.name for figure in figures if abs(figure.difference) > MAX_DRIFT]
    if not drifted:
        return [*lines, f"  All of it is within {format_share(MAX_DRIFT)}."]
    lines.append(f"  More than {format_share(MAX_DRIFT)} off: {'; '.join(drifted)}.")
    return [*lines, "  How fast this machine is depends on what else it does."]
