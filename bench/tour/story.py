"""What the tour says: what was paid, what was saved, and whether the plan was right."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.tour.service import CATALOG, SCHEDULE, USD_PER_HOUR
from bench.tour.traffic import Day
from meritorder.gateway.venues.llamacpp import MODEL
from meritorder.latency import tpot_s
from meritorder.records import planfile
from meritorder.study.ledger.counterfactual import MAX_DRIFT
from meritorder.study.plan.replay import Replay, replay_in_detail
from meritorder.traces.read import read_trace
from meritorder.units import format_duration, format_share, format_usd, utc

INTRODUCTION: Final = f"""\
This machine stands for one that is rented at {format_usd(USD_PER_HOUR)} an hour (assumed). It runs a small model,
{MODEL}. Its day is short: first reports arrive, which may wait; then people chat, who do not. The day is
served twice, in real time only and as planned. Each line with $ is a command that you could type yourself."""

REALTIME: Final = "1. Real time only: every request is answered at once, so the machine is on all day"
CALIBRATION: Final = "2. How fast is the engine? A profile is fitted to the rows of the ledger"
PLAN: Final = "3. The plan: reports wait until people chat"
PLANNED: Final = "4. The same requests again, as planned: the machine starts when people come"
LEDGER: Final = "   What it cost, by the ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A day that was served: the report of its ledger, and its answered rows."""

    report: dict[str, Any]
    rows: pl.DataFrame

    @classmethod
    def read(cls, folder: Path, name: str, from_s: float, day: Day) -> "Served":
        """Read a day from the files of its ledger."""
        report = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        rows = pl.read_csv(folder / f"{name}.csv", infer_schema_length=None)
        is_of_day = pl.col("arrived_s").is_between(from_s, from_s + day.span_s)
        return cls(report=report, rows=rows.filter(is_of_day & (pl.col("outcome") == "answered")))

    @property
    def paid_usd(self) -> float:
        """What was paid."""
        return float(self.report["paid_usd"])

    @property
    def usd_per_request(self) -> float:
        """What was paid for each request."""
        return self.paid_usd / max(len(self.rows), 1)

    @property
    def busy(self) -> float:
        """Share of the serving time in which a request ran."""
        paid = {use["use"]: float(use["paid_usd"]) for use in self.report["by_use"]}
        serving_usd = paid["busy"] + paid["idle"]
        return paid["busy"] / serving_usd if serving_usd else 0.0


def invitation(port: int) -> str:
    """Return where the web application is, and what it shows."""
    return (
        f"\nWhat would you save? Open http://127.0.0.1:{port}/ in a browser: the first page answers it, and the others"
        "\nshow the ledger of this tour. Ctrl-C ends it; `make tour` shows all this again, at the same address."
    )


def conclusion(folder: Path, day: Day, realtime_s: float, planned_s: float) -> str:
    """Return what was saved, and how far the plan was from what came.

    Args:
        folder: The files of the tour.
        day: The day.
        realtime_s: When it began in real time, epoch seconds.
        planned_s: When it began as planned.
    """
    realtime = Served.read(folder, "realtime", realtime_s, day)
    planned = Served.read(folder, "planned", planned_s, day)
    foretold = _foretold(folder, realtime_s, day)
    parts = ("\n5. What it saved", *_saving(realtime, planned), "\n6. Was the plan right?")
    return "\n".join([*parts, *_prediction(foretold, planned)])


def _foretold(folder: Path, from_s: float, day: Day) -> Replay:
    """Return the schedule, simulated on the requests that it was made from."""
    start, end = (utc(epoch_s).isoformat() for epoch_s in (from_s, from_s + day.span_s))
    trace = read_trace([str(folder / "realtime.csv")], start=start, end=end)
    return replay_in_detail(planfile.read_plan(folder / SCHEDULE), trace, catalogs=(CATALOG,))


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
    low, high = (format_usd(float(usd)) for usd in report["saved_interval"])
    lines.append(f"  Simulated: the second day would have cost {otherwise} in real time; {saved} of it were saved")
    return [*lines, f"  (90 % interval, by the error of the profile: {low} to {high})."]


def _prediction(foretold: Replay, planned: Served) -> list[str]:
    """Return a table of what the plan foretold beside what came; times are those of chats."""
    outcome = foretold.models[MODEL]
    ttfts_s, tpots_s = (times_s[~outcome.load.deferrable] for times_s in outcome.latencies)
    account = outcome.accounts[0]
    busy = 1 - account.idle_s / max(account.paid_s - account.startup_s, 1e-9)
    chats = planned.rows.filter(pl.col("lane") == "realtime")
    first_s = (chats["started_s"] + chats["ttft_s"]).to_numpy()
    paces_s = tpot_s(chats["ended_s"].to_numpy(), first_s, chats["output_tokens"].to_numpy())
    figures: list[tuple[str, float, float, Callable[[float], str]]] = [
        ("cost", foretold.outcome.total_usd, planned.paid_usd, format_usd),
        ("busy", busy, planned.busy, format_share),
        (
            "TTFT, median",
            float(np.nanmedian(ttfts_s)),
            float(np.nanmedian(chats["ttft_s"].to_numpy())),
            format_duration,
        ),
        ("TPOT, median", float(np.nanmedian(tpots_s)), float(np.nanmedian(paces_s)), format_duration),
    ]
    lines = [f"  {'':<16}{'foretold':>12}{'came':>12}{'difference':>12}"]
    lines += [
        f"  {name:<16}{text(expected):>12}{text(actual):>12}{actual / expected - 1:>+12.0%}"
        for name, expected, actual, text in figures
    ]
    drifted = [name for name, expected, actual, _ in figures if abs(actual / expected - 1) > MAX_DRIFT]
    if not drifted:
        return [*lines, f"  All of it is within {format_share(MAX_DRIFT)}."]
    lines.append(f"  More than {format_share(MAX_DRIFT)} off: {'; '.join(drifted)}.")
    return [*lines, "  How fast this machine is depends on what else it does."]


def _median(times_s: NDArray[np.float64]) -> float:
    return float(np.nanmedian(times_s))
