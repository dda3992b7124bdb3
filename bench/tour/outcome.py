"""What came of a day that was served twice, and what was foretold of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from bench.tour.service import CATALOG, SCHEDULE
from bench.tour.traffic import Day
from meritorder.gateway.venues.llamacpp import MODEL
from meritorder.latency import tpot_s
from meritorder.records import planfile
from meritorder.study.plan.replay import Replay, replay_in_detail
from meritorder.traces.read import read_trace
from meritorder.units import format_duration, format_share, format_usd, utc

QUANTILES: Final = {"median": 0.5, "p99": 0.99}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that the plan foretold, what came, and how both are written."""

    name: str
    foretold: float
    came: float
    text: Callable[[float], str]

    @property
    def difference(self) -> float:
        """How much more came, as a share of what was foretold."""
        return self.came / self.foretold - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A day in real time only, the same as planned, and the plan's schedule simulated on its requests."""

    realtime: Served
    planned: Served
    foretold: Replay

    @classmethod
    def read(cls, folder: Path, day: Day, realtime_s: float, planned_s: float) -> "Outcome":
        """Read the files of a tour.

        Args:
            folder: The folder.
            day: The day.
            realtime_s: When it began in real time, epoch seconds.
            planned_s: When it began as planned.
        """
        start, end = (utc(epoch_s).isoformat() for epoch_s in (realtime_s, realtime_s + day.span_s))
        trace = read_trace([str(folder / "realtime.csv")], start=start, end=end)
        return cls(
            realtime=Served.read(folder, "realtime", realtime_s, day),
            planned=Served.read(folder, "planned", planned_s, day),
            foretold=replay_in_detail(planfile.read_plan(folder / SCHEDULE), trace, catalogs=(CATALOG,)),
        )

    def figures(self, *quantiles: str) -> list[Figure]:
        """Return cost and busy share, and the times of chats at some of `QUANTILES`."""
        model = self.foretold.models[MODEL]
        account = model.accounts[0]
        busy = 1 - account.idle_s / max(account.paid_s - account.startup_s, 1e-9)
        figures = [
            Figure(name="cost", foretold=self.foretold.outcome.total_usd, came=self.planned.paid_usd, text=format_usd),
            Figure(name="busy", foretold=busy, came=self.planned.busy, text=format_share),
        ]
        is_chat = ~model.load.deferrable
        ttfts_s, tpots_s = (times_s[is_chat] for times_s in model.latencies)
        e2es_s = ttfts_s + np.nan_to_num(tpots_s) * (model.load.output_tokens[is_chat] - 1)
        chats = self.planned.rows.filter(pl.col("lane") == "realtime")
        first_s = (chats["started_s"] + chats["ttft_s"]).to_numpy()
        paces_s = tpot_s(chats["ended_s"].to_numpy(), first_s, chats["output_tokens"].to_numpy())
        took_s = (chats["ended_s"] - chats["arrived_s"]).to_numpy()
        times_s = {
            "TTFT": (ttfts_s, chats["ttft_s"].to_numpy()),
            "TPOT": (tpots_s, paces_s),
            "E2E": (e2es_s, took_s),
        }
        return figures + [
            Figure(
                name=f"{name}, {quantile}",
                foretold=float(np.nanquantile(foretold_s, QUANTILES[quantile])),
                came=float(np.nanquantile(came_s, QUANTILES[quantile])),
                text=format_duration,
            )
            for quantile in quantiles
            for name, (foretold_s, came_s) in times_s.items()
        ]
