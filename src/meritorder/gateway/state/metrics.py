"""Prometheus metrics: counted per ledger entry, rendered when scraped."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue import backlog
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.units import PICOUSD_PER_USD

_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0)
_KEY: Final = ("lane", "model", "venue")
_MODEL: Final = ("model",)
_BUDGET: Final = ("budget",)

REALTIME: Final = "meritorder_realtime"
DEFERRABLE: Final = "meritorder_deferrable"
ALLOWED: Final = "meritorder_allowed"
_ADDED: Final = frozenset(
    {
        *(REALTIME, DEFERRABLE, ALLOWED),
        *("meritorder_task_failures", "meritorder_ledger_dropped", "meritorder_ledger_set_aside"),
    }
)
"""Gauges of a gateway that are the sums of those of its processes; each process knows the value of the others alone."""

_Values = list[tuple[tuple[str, ...], float]]
Gauge = tuple[str, str, tuple[str, ...], _Values]
"""Name, description, label names, and values by labels."""


class Histogram(msgspec.Struct):
    """Counts by bucket, and the sum of what was counted."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def merge(self, other: "Histogram") -> None:
        """Add what another process has counted."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s

    def buckets(self) -> list[tuple[str, float]]:
        """Return the buckets as Prometheus has them: each includes the smaller ones."""
        names = [*(f"{bound:g}" for bound in _BUCKETS_S), "+Inf"]
        return [(name, float(sum(self.counts[: at + 1]))) for at, name in enumerate(names)]


class Counts(msgspec.Struct):
    """Totals of one lane, model and venue."""

    requests: dict[int | None, int] = {}  # by status code
    input_tokens: int = 0
    output_tokens: int = 0
    lost_tokens: int = 0
    cost_picousd: int = 0
    ttft: Histogram = msgspec.field(default_factory=Histogram)
    e2e: Histogram = msgspec.field(default_factory=Histogram)

    def tokens(self) -> list[tuple[str, int]]:
        """Return tokens by kind; lost tokens only if there are any."""
        kinds = [("input", self.input_tokens), ("output", self.output_tokens)]
        return [*kinds, ("lost", self.lost_tokens)] if self.lost_tokens else kinds

    def merge(self, other: "Counts") -> None:
        """Add what another process has counted."""
        for status, count in other.requests.items():
            self.requests[status] = self.requests.get(status, 0) + count
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.lost_tokens += other.lost_tokens
        self.cost_picousd += other.cost_picousd
        self.ttft.merge(other.ttft)
        self.e2e.merge(other.e2e)


_Totals = defaultdict[tuple[str, str, str], Counts]  # by lane, model and venue


class Report(msgspec.Struct, frozen=True):
    """What one process of a gateway has counted, for the others.

    Args:
        counts: Totals by lane, model and venue.
        gauges: Its part of the gauges that are added; empty once it is gone.
        paid: What was paid for machines, in picodollars by venue and use.
    """

    counts: list[tuple[tuple[str, str, str], Counts]]
    gauges: dict[str, _Values]
    paid: list[tuple[tuple[str, str], int]] = []


class StoreGauges:
    """What the store knows: the queue and the budgets, as last read.

    Args:
        database: The store.
        margin_s: A queued request that is due within this time is at risk.
        now_s: Returns the current epoch seconds.
    """

    def __init__(self, database: Database, margin_s: float, now_s: Callable[[], float]) -> None:
        self._database = database
        self._margin_s = margin_s
        self._now_s = now_s
        self._depths: list[tuple[str, int, int]] = []
        self._budgets: list[BudgetState] = []

    async def read(self) -> None:
        """Read them.

        Raises:
            StoreUnavailableError: The store cannot be reached; the last ones remain.
        """
        now_s = self._now_s()

        def read(connection: Connection) -> None:
            self._depths = backlog.queue_depths(connection, due_by_s=now_s + self._margin_s)
            self._budgets = budgets.states(connection, now_s=now_s)

        await self._database.read_soon(read)

    def gauges(self) -> list[Gauge]:
        """Return them as gauges."""
        queued: _Values = [((model,), count) for model, count, _ in self._depths]
        at_risk: _Values = [((model,), due_soon) for model, _, due_soon in self._depths]
        amounts: _Values = [
            ((state.budget.id,), state.budget.amount_picousd / PICOUSD_PER_USD) for state in self._budgets
        ]
        spent: _Values = [((state.budget.id,), state.spent_picousd / PICOUSD_PER_USD) for state in self._budgets]
        return [
            ("meritorder_queued", "Queued requests.", _MODEL, queued),
            ("meritorder_queued_at_risk", "Queued requests that are due within `lanes.margin`.", _MODEL, at_risk),
            ("meritorder_budget_usd", "Budgets of keys and teams in their current period.", _BUDGET, amounts),
            ("meritorder_budget_spent_usd", "What is spent of a budget in its current period.", _BUDGET, spent),
        ]


class Metrics(Collector):
    """A collector of request metrics and gauges, of all processes of a gateway.

    Args:
        gauges: Returns the current gauges.
    """

    def __init__(self, gauges: Callable[[], Iterable[Gauge]]) -> None:
        self._gauges = gauges
        self._counts: _Totals = defaultdict(Counts)
        self.others: Callable[[], Sequence[Report]] = tuple
        """Returns the reports of the other processes."""

    def observe(self, entry: LedgerEntry) -> None:
        """Count a finished request."""
        counts = self._counts[entry.lane, entry.model, entry.venue or ""]
        counts.requests[entry.status_code] = counts.requests.get(entry.status_code, 0) + 1
        counts.input_tokens += entry.input_tokens
        counts.output_tokens += entry.output_tokens
        counts.lost_tokens += entry.lost_tokens
        counts.cost_picousd += entry.cost_picousd or 0
        if entry.ttft_s is not None:
            counts.ttft.add(entry.ttft_s)
        counts.e2e.add(entry.ended_s - (entry.started_s or entry.arrived_s))

    def report(self) -> Report:
        """Return what this process has counted."""
        added = {name: values for name, _, _, values in self._gauges() if name in _ADDED}
        return Report(list(self._counts.items()), added)

    def resume(self, report: Report) -> None:
        """Go on from what a process had counted that this one replaces, since a counter must not fall."""
        _merge(self._counts, report)

    def elsewhere(self, name: str, *labels: str) -> int:
        """Return the sum of the parts that the other processes have in a gauge."""
        return round(sum(dict(report.gauges.get(name, ())).get(labels, 0.0) for report in self.others()))

    def totals(self) -> Mapping[tuple[str, str, str], Counts]:
        """Return what was counted, by lane, model and venue."""
        others = self.others()
        if not others:
            return self._counts
        totals: _Totals = defaultdict(Counts)
        for report in (self.report(), *others):
            _merge(totals, report)
        return totals

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics in Prometheus format."""
        counted = self.totals().items()
        requests = {
            (*key, "none" if status is None else str(status)): count
            for key, counts in counted
            for status, count in counts.requests.items()
        }
        yield _counter("meritorder_requests", "Requests that ended.", (*_KEY, "status"), requests)
        tokens = {(*key, kind): count for key, counts in counted for kind, count in counts.tokens()}
        yield _counter("meritorder_tokens", "Tokens, by kind.", (*_KEY, "kind"), tokens)
        usd = {key: counts.cost_picousd / PICOUSD_PER_USD for key, counts in counted if counts.cost_picousd}
        yield _counter("meritorder_cost_usd", "What requests cost at their venues.", _KEY, usd)
        for name, description, histograms in (
            (
                "meritorder_ttft_seconds",
                "Time to the first token of streamed real-time requests.",
                {key: counts.ttft for key, counts in counted if counts.ttft.total_s},
            ),
            (
                "meritorder_request_seconds",
                "Time at the venue, from start to end.",
                {key: counts.e2e for key, counts in counted},
            ),
        ):
            family = HistogramMetricFamily(name, description, labels=_KEY)
            for key, histogram in histograms.items():
                family.add_metric(key, histogram.buckets(), histogram.total_s)
            yield family
        others = self.others()
        for name, description, labels, values in self._gauges():
            gauge = GaugeMetricFamily(name, description, labels=labels)
            sums = dict(values)
            for report in others:  # each has gauges that are added, and no others
                for label_values, value in report.gauges.get(name, ()):
                    sums[label_values] = sums.get(label_values, 0.0) + value
            for label_values, value in sums.items():
                gauge.add_metric(label_values, value)
            yield gauge


def _merge(totals: _Totals, report: Report) -> None:
    for key, counts in report.counts:
        totals[key].merge(counts)


def _counter(name: str, description: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name, description, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
