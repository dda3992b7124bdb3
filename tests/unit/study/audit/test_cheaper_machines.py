"""List price, region, spot and newer generation, on bills whose answer is plain arithmetic."""

import math
from dataclasses import replace
from itertools import chain

import pytest
from tests.samples import audits as samples
from tests.samples.audits import OFFER
from tests.samples.charges import machine
from tests.unit.study.audit.conftest import DEFERRABLE, MONTH, WEEKS, Audited, kinds, only

from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.study.audit.cheaper_machines import (
    find_cheaper_regions,
    find_newer_generations,
    find_prices_above_list,
    find_work_for_spot,
    gpu_speedup,
)
from meritorder.study.audit.pools import PaidRates


def test_spot_at_the_bills_own_price(audited: Audited) -> None:
    answer = audited(
        chain(
            machine(MONTH, instance="g6e.12xlarge", usd=10.0, tags=DEFERRABLE),
            machine(range(100), instance="g6e.12xlarge", usd=4.0, spot=True, tags=DEFERRABLE, name="i-2"),
        )
    )
    found = only(answer, "spot_for_deferrable")
    # One machine in four is interrupted in a month, which costs ten minutes: a little less than 6 an hour is saved.
    assert WEEKS * 5.99 < found.usd < WEEKS * 6
    assert "commitment_for_on_demand" not in kinds(answer)


def test_price_above_the_list(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    found = only(audited(machine(daytime, usd=60.0)), "above_list_price")
    assert found.usd == pytest.approx(len(daytime) * (60 - 55.04))


def test_cheaper_region_has_low_confidence(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = machine(daytime, instance="p4de.24xlarge", usd=37.6223, region="ap-northeast-1")
    found = only(audited(rows), "cheaper_region")
    assert found.confidence == "low"
    assert "ap-southeast-1" in found.title
    assert found.usd == pytest.approx(len(daytime) * (37.6223 - 32.93646))


def test_fewer_whole_successors_cost_less(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = machine(daytime, instance="p4de.24xlarge", usd=27.44705, count=8)
    answer = audited(rows)
    found = only(answer, "old_generation")
    new = next(price for price in answer.prices if price.used_for == "a newer generation")
    # A whole number of successors in each hour, fewer than the eight that they replace.
    machines = (8 * 27.44705 - found.usd / len(daytime)) / new.usd
    assert machines == pytest.approx(round(machines))
    assert 1 <= machines < 8
    assert "step times" in found.evidence


def test_price_within_a_percent_is_rounding() -> None:
    found = find_prices_above_list(samples.ledger(samples.pool([1, 1], 10.1)), samples.context(OFFER))[1]
    assert found == []
    left, (finding,) = find_prices_above_list(samples.ledger(samples.pool([1, 1], 10.2)), samples.context(OFFER))
    assert finding.usd == pytest.approx(2 * 0.2)
    assert left.pools[0].usd_per_hour == 10.0
    assert finding.confidence == "medium"


def test_interruptions_raise_the_spot_price() -> None:
    """Half of the machines interrupted a month, ln 2 / 730 an hour, each time a sixth of an hour: 0.0158 % is lost."""
    spot = replace(OFFER, pricing_model=PricingModel.SPOT, usd_per_hour=4.0, interruptions_per_month=0.5)
    pool = samples.pool([1.0] * 10, may_wait=True)
    left, (finding,) = find_work_for_spot(samples.ledger(pool), samples.context(spot))
    lost = math.log(2) / 730 / 6
    assert finding.usd == pytest.approx(100 - 10 * 4.0 / (1 - lost), rel=1e-9)
    assert left.pools[0].on_spot
    assert "50 % of machines interrupted a month" in finding.evidence


def test_spot_without_rate_assumes_the_highest() -> None:
    """A quarter of the machines a month: -ln 0.75 / 730 an hour, each time a sixth of an hour."""
    rates = PaidRates(spot={samples.MACHINE: 4.0})
    pool = samples.pool([1.0] * 10, may_wait=True)
    _, (finding,) = find_work_for_spot(samples.ledger(pool), samples.context(rates=rates))
    assert finding.usd == pytest.approx(100 - 40 / (1 - -math.log(0.75) / 730 / 6), rel=1e-9)
    assert "rate assumed" in finding.evidence


def test_only_deferrable_work_moves_to_spot() -> None:
    spot = replace(OFFER, pricing_model=PricingModel.SPOT, usd_per_hour=4.0)
    paid = samples.ledger(samples.pool([1.0]))
    assert find_work_for_spot(paid, samples.context(spot)) == (paid, [])
    expensive = replace(spot, usd_per_hour=10.0)
    assert find_work_for_spot(samples.ledger(samples.pool([1.0], may_wait=True)), samples.context(expensive))[1] == []


def test_region_must_be_three_percent_cheaper() -> None:
    near = replace(OFFER, region="us-west-2", usd_per_hour=9.7)
    assert find_cheaper_regions(samples.ledger(samples.pool([1.0])), samples.context(near))[1] == []
    cheaper = replace(near, usd_per_hour=9.6)
    left, (finding,) = find_cheaper_regions(samples.ledger(samples.pool([1.0, 2.0])), samples.context(cheaper))
    assert finding.usd == pytest.approx(3 * 0.4)
    assert left.pools[0].machine.region == "us-west-2"
    on_spot = samples.ledger(samples.pool([1.0], on_spot=True))
    assert find_cheaper_regions(on_spot, samples.context(cheaper)) == (on_spot, [])


def test_speedup_from_data_sheets() -> None:
    """Nothing was measured: three times the bandwidth and twice the compute are a speedup of two."""
    catalog = facts.load(())
    old = replace(catalog.hardware["h100"], id="old")
    new = replace(
        old,
        id="new",
        memory_bandwidth_bytes_per_s=3 * old.memory_bandwidth_bytes_per_s,
        bf16_flops=2 * old.bf16_flops,
    )
    assert gpu_speedup(old, new)[:2] == (pytest.approx(2.0), "low")


def test_measured_speedup_is_the_smallest() -> None:
    catalog = facts.load(())
    times, confidence, basis = gpu_speedup(catalog.hardware["h100"], catalog.hardware["h200"])
    assert confidence == "medium"
    assert times >= 1
    assert "minimum of" in basis
    assert gpu_speedup(catalog.hardware["h100"], catalog.hardware["h200"], "no such model")[0] == times


def test_successors_are_whole_machines() -> None:
    """Two successors of 8 GPUs, each at least as fast, do the work of three machines in the busy hour, and one else."""
    new = replace(OFFER, hardware="h200", instance="p5en.48xlarge", usd_per_hour=9.0)
    per_gpu = gpu_speedup(facts.load(()).hardware["h100"], facts.load(()).hardware["h200"])[0]
    pool = samples.pool([3.0, 1.0, 0.0])
    left, (finding,) = find_newer_generations(samples.ledger(pool), samples.context(OFFER, new))
    machines = math.ceil(3 / per_gpu) + 1
    assert finding.usd == pytest.approx(40 - machines * 9.0)
    assert left.pools[0].usd == pytest.approx(machines * 9.0)
    assert left.pools[0].machine.instance == "p5en.48xlarge"


def test_successor_must_save_five_percent() -> None:
    new = replace(OFFER, hardware="h200", instance="p5en.48xlarge", usd_per_hour=9.6)
    assert find_newer_generations(samples.ledger(samples.pool([1.0])), samples.context(OFFER, new))[1] == []
    small = replace(new, gpus=1, usd_per_hour=1.0)
    assert find_newer_generations(samples.ledger(samples.pool([1.0])), samples.context(OFFER, small))[1] == []
    older = replace(new, hardware="a100", usd_per_hour=1.0)
    assert find_newer_generations(samples.ledger(samples.pool([1.0])), samples.context(OFFER, older))[1] == []
