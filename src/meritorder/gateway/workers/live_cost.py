"""What is paid now and what tokens cost in the last minutes, as Prometheus metrics, also of engines of one's own."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meritorder.gateway.state.metrics import Metrics, Report
from meritorder.gateway.workers.capacity_meter import CapacityMeter
from meritorder.records.accounting import OUTPUT_WEIGHT, Use
from meritorder.units import PICOUSD_PER_USD, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, TOKENS_PER_MTOK

WINDOW_S: Final = 5 * SECONDS_PER_MINUTE
_SAMPLE_S: Final = 1.0
_STEP_S: Final = 5.0
_MODEL: Final = ("model", "venue")

_Paid = Counter[tuple[str, Use]]  # picodollars by venue and use
_Tokens = Counter[tuple[str, str]]  # tokens by model and venue


class _Reading:
    """What had been paid and counted until some time."""

    def __init__(self, at_s: float, paid: _Paid, metrics: Metrics, machines: Iterable[str]) -> None:
        self.at_s, self.paid = at_s, paid.copy()
        self.tokens, self.weights = _Tokens(), _Tokens()
        by_machine = frozenset(machines)
        for (_, model, venue), counts in metrics.totals().items():
            self.tokens[model, venue] += counts.input_tokens + counts.output_tokens
            self.weights[model, venue] += counts.input_tokens + round(OUTPUT_WEIGHT * counts.output_tokens)
            if venue not in by_machine:  # a machine's price is paid, whatever its tokens would cost
                self.paid[venue, Use.TOKENS] += counts.cost_picousd


class LiveCost(Collector):
    """Collects what is paid, in the last minutes and since the start.

    What venues are used for is seen each second; the ledger has it exactly.

    Args:
        meter: Knows what is rented.
        metrics: Counts tokens, and what they cost at venues with a price of tokens.
        now_s: Returns the current epoch seconds.
    """

    def __init__(self, meter: CapacityMeter, metrics: Metrics, now_s: Callable[[], float]) -> None:
        self._meter = meter
        self._metrics = metrics
        self._now_s = now_s
        self._paid: _Paid = Counter()  # for machines
        self._seen_s = now_s()
        self._readings = deque([self._read(self._seen_s)])

    async def run(self) -> None:
        """See each second what the venues are used for, until cancelled."""
        while True:
            await asyncio.sleep(_SAMPLE_S)
            self.sample()

    def sample(self) -> None:
        """Add the price of the time since the last sample."""
        now_s = self._now_s()
        elapsed_s, self._seen_s = max(now_s - self._seen_s, 0.0), now_s
        for venue, use, picousd_per_hour in self._meter.paid_now():
            self._paid[venue, use] += round(picousd_per_hour * elapsed_s / SECONDS_PER_HOUR)
        if now_s - self._readings[-1].at_s >= _STEP_S:
            self._readings.append(self._read(now_s))
        while len(self._readings) > 1 and self._readings[1].at_s <= now_s - WINDOW_S:
            self._readings.popleft()

    def report(self) -> Report:
        """Return what was counted and paid so far, for the other processes of this gateway."""
        paid = [((venue, use.value), picousd) for (venue, use), picousd in self._paid.items()]
        return msgspec.structs.replace(self._metrics.report(), paid=paid)

    def resume(self, report: Report) -> None:
        """Go on from what a process had counted that this one replaces."""
        self._metrics.resume(report)
        self._paid |= _paid_in(report)
        self._readings = deque([self._read(self._seen_s)])

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics in Prometheus format."""
        now = self._read(self._now_s())
        paid = CounterMetricFamily(
            "meritorder_paid_usd", "What was paid, by what it was paid for.", labels=("venue", "use")
        )
        for (venue, use), picousd in now.paid.items():
            paid.add_metric((venue, use.value), picousd / PICOUSD_PER_USD)
        yield paid
        before = self._readings[0]
        in_window = now.paid - before.paid
        yield _gauge(
            "llm_total_hourly_cost",
            "What is paid an hour: the price of machines now, and of tokens as in the last five minutes.",
            ("venue", "basis"),
            self._hourly(in_window, now.at_s - before.at_s),
        )
        yield _gauge(
            "llm_cost_per_million_tokens",
            "What a million tokens, input and output, cost in the last five minutes, by what was paid for.",
            (*_MODEL, "use"),
            _per_mtok(in_window, now.tokens - before.tokens, now.weights - before.weights),
        )

    def _read(self, now_s: float) -> _Reading:
        paid = self._paid
        for report in self._metrics.others():  # each process sees the whole price of a machine
            paid = paid | _paid_in(report)
        return _Reading(now_s, paid, self._metrics, self._meter.venues())

    def _hourly(self, paid: _Paid, elapsed_s: float) -> Iterator[tuple[Sequence[str], float]]:
        machines = dict.fromkeys(self._meter.venues(), 0)
        machines |= {venue: picousd_per_hour for venue, _, picousd_per_hour in self._meter.paid_now()}
        for venue, picousd_per_hour in machines.items():
            yield (venue, "machine"), picousd_per_hour / PICOUSD_PER_USD
        for (venue, use), picousd in paid.items():
            if use is Use.TOKENS and elapsed_s > 0:
                yield (venue, "tokens"), picousd / elapsed_s * SECONDS_PER_HOUR / PICOUSD_PER_USD


def _paid_in(report: Report) -> _Paid:
    return _Paid({(venue, Use(use)): picousd for (venue, use), picousd in report.paid})


def _per_mtok(paid: _Paid, tokens: _Tokens, weights: _Tokens) -> Iterator[tuple[Sequence[str], float]]:
    """Yield what a million tokens of each model and venue cost; models share what is paid for a venue by weight."""
    by_venue: defaultdict[str, int] = defaultdict(int)
    for (_, venue), weight in weights.items():
        by_venue[venue] += weight
    for (model, venue), count in tokens.items():
        share = weights[model, venue] / by_venue[venue]
        for use in Use:
            if picousd := paid[venue, use]:
                yield (model, venue, use.value), picousd * share / count * TOKENS_PER_MTOK / PICOUSD_PER_USD


def _gauge(
    name: str, description: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, description, labels=labels)
    for label_values, value in values:
        gauge.add_metric(label_values, value)
    return gauge
