"""What Prometheus is told. Counted where the ledger is written, put into its form only when it asks."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from meritorder.gateway.store.ledger import Entry
from meritorder.units import PICOUSD_PER_USD

_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0)
_KEY: Final = ("lane", "model", "venue")

Gauge = tuple[str, str, tuple[str, ...], list[tuple[tuple[str, ...], float]]]
"""Name, meaning, names of labels, and values by labels."""


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        names = [*(f"{bound:g}" for bound in _BUCKETS_S), "+Inf"]
        return [(name, float(sum(self.counts[: at + 1]))) for at, name in enumerate(names)]


class Metrics(Collector):
    """Counts what goes by.

    Args:
        gauges: Asked for what there is now.
    """

    def __init__(self, gauges: Callable[[], Iterable[Gauge]]) -> None:
        self._gauges = gauges
        self._requests: Counter[tuple[str, str, str, str]] = Counter()
        self._tokens: Counter[tuple[str, str, str, str]] = Counter()
        self._cost_picousd: Counter[tuple[str, str, str]] = Counter()
        self._ttft: defaultdict[tuple[str, str, str], _Histogram] = defaultdict(_Histogram)
        self._e2e: defaultdict[tuple[str, str, str], _Histogram] = defaultdict(_Histogram)

    def see(self, entry: Entry) -> None:
        """Count a request."""
        key = (entry.lane, entry.model, entry.venue or "")
        self._requests[(*key, str(entry.status_code or "none"))] += 1
        self._tokens[(*key, "input")] += entry.input_tokens
        self._tokens[(*key, "output")] += entry.output_tokens
        if entry.lost_tokens:
            self._tokens[(*key, "lost")] += entry.lost_tokens
        if entry.cost_picousd:
            self._cost_picousd[key] += entry.cost_picousd
        if entry.ttft_s is not None:
            self._ttft[key].add(entry.ttft_s)
        self._e2e[key].add(entry.ended_s - (entry.started_s or entry.arrived_s))

    def collect(self) -> Iterable[Metric]:
        """Return everything, in Prometheus' form."""
        yield _counter("meritorder_requests", "Requests that ended.", (*_KEY, "status"), self._requests)
        yield _counter("meritorder_tokens", "Tokens, by kind.", (*_KEY, "kind"), self._tokens)
        usd = {key: cost / PICOUSD_PER_USD for key, cost in self._cost_picousd.items()}
        yield _counter("meritorder_cost_usd", "What requests cost at their venues.", _KEY, usd)
        for name, what, found in (
            ("meritorder_ttft_seconds", "Time to the first token of streamed real-time requests.", self._ttft),
            ("meritorder_request_seconds", "Time at the venue, from start to end.", self._e2e),
        ):
            family = HistogramMetricFamily(name, what, labels=_KEY)
            for key, histogram in found.items():
                family.add_metric(key, histogram.buckets(), histogram.total_s)
            yield family
        for name, what, labels, values in self._gauges():
            gauge = GaugeMetricFamily(name, what, labels=labels)
            for names, value in values:
                gauge.add_metric(names, value)
            yield gauge


def _counter(name: str, what: str, labels: tuple[str, ...], found: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name, what, labels=labels)
    for key, value in found.items():
        family.add_metric(key, value)
    return family
