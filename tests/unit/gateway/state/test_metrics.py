from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from meritorder.gateway.state.metrics import Metrics
from meritorder.gateway.store.billing.ledger import LedgerEntry


def entry(**changes: Any) -> LedgerEntry:  # noqa: ANN401
    fields = {
        "request_id": "req_1",
        "arrived_s": 100.0,
        "started_s": 101.0,
        "ended_s": 103.0,
        "ttft_s": 0.2,
        "lane": "realtime",
        "tenant": "t",
        "key_id": "k",
        "model": "m",
        "endpoint": "/v1/completions",
        "venue": "v",
        "status_code": 200,
        "input_tokens": 7,
        "output_tokens": 3,
        "counted": True,
        "cost_picousd": 2_000_000_000_000,
    }
    return LedgerEntry(**fields | changes)


def samples(*entries: LedgerEntry) -> Iterator[tuple[str, dict[str, str], float]]:
    registry = CollectorRegistry()
    metrics = Metrics(lambda: [("meritorder_queued", "Queued requests.", ("model",), [(("m",), 4.0)])])
    for seen in entries:
        metrics.observe(seen)
    registry.register(metrics)
    return ((sample.name, sample.labels, sample.value) for family in registry.collect() for sample in family.samples)


def test_requests_and_tokens_are_counted() -> None:
    found = {
        (name, labels.get("status") or labels.get("kind") or ""): value
        for name, labels, value in samples(entry(), entry(status_code=None, lost_tokens=5, ttft_s=None))
        if name.endswith("_total")
    }
    assert found == {
        ("meritorder_requests_total", "200"): 1.0,
        ("meritorder_requests_total", "none"): 1.0,
        ("meritorder_tokens_total", "input"): 14.0,
        ("meritorder_tokens_total", "output"): 6.0,
        ("meritorder_tokens_total", "lost"): 5.0,
        ("meritorder_cost_usd_total", ""): 4.0,
    }


def test_duration_is_time_at_venue() -> None:
    buckets = {
        labels["le"]: value for name, labels, value in samples(entry()) if name == "meritorder_request_seconds_bucket"
    }
    assert (buckets["1"], buckets["2.5"], buckets["+Inf"]) == (0.0, 1.0, 1.0)  # 2 s, not 3 s from arrival


def test_gauges_are_current() -> None:
    assert ("meritorder_queued", {"model": "m"}, 4.0) in list(samples())


def test_reports_of_other_processes_are_added() -> None:
    """Counters and gauges of what runs are added, what the store knows is not; a successor counts on."""
    own, other = (Metrics(lambda: [("meritorder_realtime", "", ("venue",), [(("v",), 2.0)])]) for _ in range(2))
    own.observe(entry())
    other.observe(entry(status_code=500))
    other.observe(entry())
    own.others = lambda: [other.report()]
    registry = CollectorRegistry()
    registry.register(own)
    assert registry.get_sample_value("meritorder_realtime", {"venue": "v"}) == 4.0
    key = {"lane": "realtime", "model": "m", "venue": "v"}
    assert registry.get_sample_value("meritorder_requests_total", {**key, "status": "200"}) == 2.0
    assert registry.get_sample_value("meritorder_requests_total", {**key, "status": "500"}) == 1.0
    assert registry.get_sample_value("meritorder_request_seconds_count", key) == 3.0
    assert registry.get_sample_value("meritorder_request_seconds_sum", key) == 6.0
    successor = Metrics(list)
    successor.resume(other.report())
    successor.observe(entry())
    (counts,) = successor.totals().values()
    assert counts.requests == {200: 2, 500: 1}
    assert own.elsewhere("meritorder_realtime", "v") == 2
