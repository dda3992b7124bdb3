"""Live cost by hand: a dollar a second is 3600 USD an hour; an output token weighs as much as four input tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.state.metrics import Metrics
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.upstreams.upstream import EngineLoad
from meritorder.gateway.workers.capacity_meter import CapacityMeter
from meritorder.gateway.workers.live_cost import WINDOW_S, LiveCost
from meritorder.records.accounting import Use

_USD_PER_HOUR = 3600 * 10**12


class Meter(CapacityMeter):
    """A meter of one machine, whose use the test states."""

    def __init__(self) -> None:
        self.use: Use | None = None

    def venues(self) -> Iterator[str]:
        yield "gpu"

    def paid_now(self) -> Iterator[tuple[str, Use, int]]:
        if self.use is not None:
            yield "gpu", self.use, _USD_PER_HOUR


class Live:
    """Live cost at a time that the test states."""

    def __init__(self) -> None:
        self.meter, self.metrics, self.now_s = Meter(), Metrics(list), 1000.0
        self.cost = LiveCost(self.meter, self.metrics, lambda: self.now_s)

    def run(self, use: Use | None, seconds: int) -> None:
        self.meter.use = use
        for _ in range(seconds):
            self.now_s += 1.0
            self.cost.sample()

    def answer(self, venue: str, inputs: int, outputs: int, *, model: str = "m", cost_usd: int = 0) -> None:
        times = {"arrived_s": self.now_s, "started_s": self.now_s, "ended_s": self.now_s, "ttft_s": None}
        names = {"request_id": "r", "lane": "realtime", "tenant": "t", "key_id": None, "endpoint": "/v1/completions"}
        counts: dict[str, Any] = {"input_tokens": inputs, "output_tokens": outputs, "counted": True, "status_code": 200}
        entry = {**times, **names, **counts, "model": model, "venue": venue, "cost_picousd": cost_usd * 10**12}
        self.metrics.observe(LedgerEntry(**entry))

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        samples = (sample for family in self.cost.collect() for sample in family.samples if sample.name == name)
        return {tuple(sample.labels[label] for label in labels): sample.value for sample in samples}


@pytest.fixture
def live() -> Live:
    return Live()


def test_idle_is_apart_from_busy(live: Live) -> None:
    """Ten seconds starting, twenty busy, thirty idle, for half a million tokens."""
    live.run(Use.STARTING, 10)
    live.run(Use.BUSY, 20)
    live.answer("gpu", 400_000, 100_000)
    live.run(Use.IDLE, 30)
    paid = live.values("meritorder_paid_usd_total", "venue", "use")
    assert paid == {("gpu", "starting"): 10, ("gpu", "busy"): 20, ("gpu", "idle"): 30}
    cost = live.values("llm_cost_per_million_tokens", "model", "venue", "use")
    assert cost == {("m", "gpu", "starting"): 20, ("m", "gpu", "busy"): 40, ("m", "gpu", "idle"): 60}
    assert live.values("llm_total_hourly_cost", "venue", "basis") == {("gpu", "machine"): 3600}


def test_models_share_a_machine_by_weight(live: Live) -> None:
    """Model a weighs 100 + 4 * 50 = 300, b 100: they pay 30 and 10 of 40 dollars."""
    live.run(Use.BUSY, 40)
    live.answer("gpu", 100, 50, model="a")
    live.answer("gpu", 100, 0, model="b")
    cost = live.values("llm_cost_per_million_tokens", "model")
    assert cost == {("a",): pytest.approx(30 / 150 * 1e6), ("b",): pytest.approx(10 / 100 * 1e6)}


def test_tokens_cost_their_price(live: Live) -> None:
    live.run(None, 60)
    live.answer("api", 1_000_000, 1_000_000, cost_usd=5)
    assert live.values("llm_cost_per_million_tokens", "venue", "use") == {("api", "tokens"): 2.5}
    # Five dollars in a minute are 300 an hour; the machine is not rented.
    assert live.values("llm_total_hourly_cost", "venue", "basis") == {("gpu", "machine"): 0, ("api", "tokens"): 300}


def test_price_of_tokens_at_a_machine_is_not_paid(live: Live) -> None:
    live.run(Use.BUSY, 10)
    live.answer("gpu", 1_000_000, 0, cost_usd=7)
    assert live.values("llm_cost_per_million_tokens", "use") == {("busy",): 10}


def test_old_cost_leaves_the_window(live: Live) -> None:
    live.run(Use.BUSY, 10)
    live.answer("gpu", 1_000_000, 0)
    live.run(Use.IDLE, int(WINDOW_S) + 10)
    assert live.values("llm_cost_per_million_tokens", "use") == {}
    assert live.values("meritorder_paid_usd_total", "use")["busy",] == 10


def test_clock_that_goes_back_pays_nothing(live: Live) -> None:
    live.run(Use.BUSY, 5)
    live.now_s -= 3600
    live.cost.sample()
    assert live.values("meritorder_paid_usd_total", "use") == {("busy",): 5}


@pytest.mark.parametrize(
    ("venue", "price"),
    [
        ({"kind": "vllm", "usd_per_hour": 2.5}, 2.5),
        ({"kind": "vllm", "usd_per_hour": 2.5, "pricing_model": "reserved"}, 2.5),
    ],
)
def test_gateway_serves_them(tmp_path: Path, venue: dict[str, Any], price: float) -> None:
    table = {"name": "gpu", "url": "http://127.0.0.1:1/v1", "models": ["m"], **venue}
    with open_service(tmp_path, venue=[table]) as service:
        service.venues.all[0].load = EngineLoad(running=0, waiting=0)
        assert (
            'llm_total_hourly_cost{basis="machine",venue="gpu"} 0.0' in call(service, "GET", "/metrics").body.decode()
        )
        service._capacity_meter._beat()
        text = call(service, "GET", "/metrics").body.decode()
    assert f'llm_total_hourly_cost{{basis="machine",venue="gpu"}} {price}' in text


def test_machine_of_several_processes_is_paid_once(live: Live) -> None:
    """Each process sees its whole price; the one that has run longest has seen most of it."""
    longest = Live()
    longest.run(Use.BUSY, 50)
    live.run(Use.BUSY, 20)
    live.metrics.others = lambda: [longest.cost.report()]
    assert live.values("meritorder_paid_usd_total", "venue", "use") == {("gpu", "busy"): 50}
    successor = Live()
    successor.cost.resume(longest.cost.report())
    successor.run(Use.BUSY, 5)
    assert successor.values("meritorder_paid_usd_total", "venue", "use") == {("gpu", "busy"): 55}
