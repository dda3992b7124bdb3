"""The waterfalls: each part is what it says, and all add up."""

import numpy as np
import pytest
from tests.samples.fleets import backfill, load, machine, offer

from meritorder.study.compare import why
from meritorder.study.fleet.fleets import Trial, batch_fleet, fixed_fleet, mixed_fleet

ARRIVED_S = np.sort(np.random.default_rng(7).uniform(0, 900, 1500))
MIXED = load(ARRIVED_S, 300, 80, waits=np.arange(1500) % 2 == 0)
ONE = machine(MIXED)
REALTIME = fixed_fleet(ONE, MIXED.all_realtime(), 3)
BATCH = batch_fleet(ONE, MIXED.all_deferrable(7200.0))


def parts(waterfall: object) -> dict[str, float]:
    return {part.name: part.usd for part in waterfall.parts}  # type: ignore[attr-defined]


def test_waterfall_to_batch_adds_up() -> None:
    waterfall = why.to_batch(REALTIME, BATCH, 0.7)
    named = parts(waterfall)
    assert waterfall.from_usd + sum(named.values()) == pytest.approx(BATCH.usd, abs=1e-9)
    assert named["pricing_model"] == 0
    work_usd = ONE.price_work(MIXED)
    assert named["batch_size"] == pytest.approx(-work_usd * (1 / 0.7 - 1))
    assert named["idle_and_overprovisioned"] == pytest.approx(-(REALTIME.usd - work_usd / 0.7))
    assert named["deferral"] == pytest.approx(BATCH.usd - work_usd)


def test_cheaper_machine_shows_as_price() -> None:
    half = machine(MIXED, box=offer(usd_per_hour=1.0))
    named = parts(why.to_batch(REALTIME, batch_fleet(half, MIXED.all_deferrable(7200.0)), 0.7))
    assert named["pricing_model"] == pytest.approx(-ONE.price_work(MIXED) / 2)


@pytest.mark.parametrize("sequences", [None, 16])
def test_to_the_mix_adds_up(sequences: int | None) -> None:

    alone: Trial = fixed_fleet(ONE, MIXED.select(~MIXED.deferrable), 2)
    mixed = mixed_fleet(alone, ONE, MIXED, backfill(sequences, prefill_tokens=256, kv_share=0.9) if sequences else None)
    waterfall = why.to_mix(REALTIME, mixed, 0.7, alone)
    assert waterfall.from_usd + sum(parts(waterfall).values()) == pytest.approx(mixed.usd, abs=1e-9)
    assert (waterfall.start, waterfall.end) == ("realtime_fixed", "mix")
    assert parts(waterfall)["deferral"] < 0, "one machine fewer stands by for the peak"
