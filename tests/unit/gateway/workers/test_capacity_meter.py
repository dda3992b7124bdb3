"""What the meter records: engines of others while they are seen, commitments always, and each end once."""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.service import open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.store.billing import capacity
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.upstreams.upstream import EngineLoad
from meritorder.gateway.venues.engines import EngineState
from meritorder.gateway.workers.capacity_meter import CapacityMeter
from meritorder.metering.words import COMMITMENT

_VENUE = {"url": "http://127.0.0.1:1/v1", "models": ["m"], "kind": "vllm", "usd_per_hour": 3.6}
_OWN = {"url": "http://127.0.0.1:{port}/v1", "command": ["engine", "{port}"]}
_LOAD = EngineLoad(running=0, waiting=0)


@dataclasses.dataclass
class _Metered:
    service: Service
    meter: CapacityMeter
    now_s: float = 1000.0

    def beat(self, after_s: float = 0.0) -> list[CapacityRecord]:
        """Let time pass, beat, and return what is stored."""
        self.now_s += after_s
        self.meter._beat()
        return self.stored()

    def stored(self) -> list[CapacityRecord]:
        asyncio.run(self.meter._save())
        return list(self.service.context.database.read_now(capacity.records))

    def see(self, load: EngineLoad | None) -> None:
        self.service.venues.all[0].load = load


@pytest.fixture
def metered(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[_Metered]:
    venue: dict[str, Any] = {"name": "v", **_VENUE, **getattr(request, "param", {})}
    with open_service(tmp_path, venue=[venue]) as service:
        made = _Metered(service, service._capacity_meter)
        made.meter._context = dataclasses.replace(service.context, now_s=lambda: made.now_s)
        yield made


def test_unseen_engine_is_not_paid(metered: _Metered) -> None:
    assert metered.beat() == []


def test_engine_is_paid_while_seen(metered: _Metered) -> None:
    metered.see(_LOAD)
    metered.beat()
    (record,) = metered.beat(after_s=30)
    assert (record.replica, record.started_s, record.ready_s, record.ended_s) == ("v", 1000.0, 1000.0, 1030.0)
    assert record.picousd_per_hour == 3_600_000_000_000


def test_short_gap_is_bridged(metered: _Metered) -> None:
    metered.see(_LOAD)
    metered.beat()
    metered.see(None)
    metered.beat(after_s=50)
    metered.see(_LOAD)
    (record,) = metered.beat(after_s=5)
    assert record.ended_s == 1055.0


def test_long_gap_ends_when_last_seen(metered: _Metered) -> None:
    metered.see(_LOAD)
    metered.beat()
    metered.see(None)
    metered.beat(after_s=61)
    metered.see(_LOAD)
    first, second = metered.beat(after_s=10)
    assert (first.stopped_s, second.started_s) == (1000.0, 1071.0)


@pytest.mark.parametrize("metered", [_OWN], indirect=True)
def test_each_start_is_a_replica(metered: _Metered) -> None:
    engine = metered.service.venues.all[0].engine
    assert engine is not None
    for replica in ("r1", "r2"):
        engine.replica = replica
        engine._set_state(EngineState.STARTING)
        metered.now_s += 10
        engine._set_state(EngineState.READY)
        metered.now_s += 20
        # The second start comes before the first process is known to have ended.
    engine._set_state(EngineState.STOPPED)
    first, second = metered.stored()
    assert (first.replica, first.started_s, first.ready_s, first.stopped_s) == ("r1", 1000.0, 1010.0, 1030.0)
    assert (second.replica, second.started_s, second.ready_s, second.stopped_s) == ("r2", 1030.0, 1040.0, 1060.0)


@pytest.mark.parametrize("metered", [{**_OWN, "pricing_model": "reserved"}], indirect=True)
def test_commitment_is_paid_though_stopped(metered: _Metered) -> None:
    metered.beat()
    (record,) = metered.beat(after_s=100)
    assert (record.kind, record.started_s, record.ended_s) == (COMMITMENT, 1000.0, 1100.0)


@pytest.mark.parametrize(
    "metered", [{**_OWN, "pricing_model": "reserved", "committed_until": "1970-01-01T00:17:30"}], indirect=True
)
def test_commitment_is_paid_until_its_end(metered: _Metered) -> None:
    """It ends 50 s after the first beat, at 1050 s; the meter sees that 30 s later."""
    metered.beat()
    ((_, _, _, days_left),) = metered.meter.gauges()
    assert days_left == [(("v",), pytest.approx(50 / 86_400))]
    metered.beat(after_s=40)
    metered.beat(after_s=40)
    (record,) = metered.beat(after_s=40)
    assert (record.started_s, record.ended_s) == (1000.0, 1050.0)
    assert metered.meter.gauges()[0][3] == []


def test_everything_ends_with_the_gateway(metered: _Metered) -> None:
    metered.see(_LOAD)
    metered.beat()
    metered.now_s += 7
    asyncio.run(metered.meter.close())
    (record,) = metered.stored()
    assert record.stopped_s == 1007.0
