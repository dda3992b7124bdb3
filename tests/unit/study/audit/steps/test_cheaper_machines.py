"""List price, region, spot and newer generation, on bills whose answer is plain arithmetic."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import pytest
from tests.samples import audits as samples
from tests.samples.audits import OFFER
from tests.samples.charges import machine
from tests.unit.study.audit.conftest import DEFERRABLE, MONTH, WEEKS, Audited, kinds, only

from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.offers import Offer
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.shipped import shipped_profiles
from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, StepResult
from meritorder.study.audit.pools import BilledMachine, PaidRates
from meritorder.study.audit.steps.cheaper_machines import (
    _productive_share,
    _tokens_per_s,
    find_cheaper_regions,
    find_newer_generations,
    find_prices_above_list,
    find_work_for_spot,
    gpu_speedup,
)

Step = Callable[[Ledger, AuditContext], StepResult]


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


def two_pools(**first: object) -> Ledger:
    """Return a pool that differs in some respect, and a plain one after it."""
    return samples.ledger(samples.pool([1.0], **first), samples.pool([1.0]))


OTHER = replace(samples.MACHINE, region="eu-west-1", instance="g5.2xlarge")
NEW = replace(OFFER, hardware="h200", instance="p5en.48xlarge", usd_per_hour=9.0)


@pytest.mark.parametrize(
    ("find", "offers", "skipped", "usd"),
    [
        (find_prices_above_list, [replace(OFFER, usd_per_hour=6.0)], {"machine": OTHER}, 4.0),
        (find_cheaper_regions, [replace(OFFER, region="us-west-2", usd_per_hour=6.0)], {"on_spot": True}, 4.0),
        (find_newer_generations, [OFFER, NEW], {"on_spot": True}, 1.0),
        (find_newer_generations, [OFFER, NEW], {"machine": OTHER}, 1.0),
    ],
)
def test_pools_after_a_skipped_one(find: Step, offers: list[Offer], skipped: dict[str, object], usd: float) -> None:
    left, found = find(two_pools(**skipped), samples.context(*offers))
    assert [finding.usd for finding in found] == [pytest.approx(usd)]
    assert [pool.usd for pool in left.pools] == pytest.approx([10.0, 10.0 - usd])


def test_spot_after_skipped_pools() -> None:
    paid = samples.ledger(samples.pool([1.0]), samples.pool([1.0], may_wait=True))
    left, found = find_work_for_spot(paid, samples.context(rates=PaidRates(spot={samples.MACHINE: 4.0})))
    assert [finding.usd for finding in found] == [pytest.approx(6.0, rel=1e-3)]
    assert [pool.on_spot for pool in left.pools] == [False, True]
    assert "and <0.1 % of it lost to interruptions" in found[0].evidence


def test_rarely_lost_more_than_half() -> None:
    """Without a rate of the offer the catalog's highest counts; a share close to 1 is a rate of 20.7 a month."""
    spot = replace(OFFER, pricing_model=PricingModel.SPOT, interruptions_per_month=1.0)
    share, basis = _productive_share(samples.pool([1.0]), None, samples.context(spot))
    assert share == pytest.approx(1 - -math.log(1e-9) / 730 / 6)
    assert basis == "100 % of machines interrupted a month"


def test_free_machines_stay() -> None:
    free = samples.ledger(samples.pool([0.0]))
    assert find_cheaper_regions(free, samples.context(replace(OFFER, region="us-west-2", usd_per_hour=1.0)))[1] == []
    assert find_newer_generations(free, samples.context(OFFER, NEW))[1] == []


def test_cheapest_region_is_named() -> None:
    offers = [
        replace(OFFER, region="us-west-2", usd_per_hour=7.0),
        replace(OFFER, region="us-east-2", usd_per_hour=6.0),
    ]
    _, (finding,) = find_cheaper_regions(samples.ledger(samples.pool([1.0])), samples.context(*offers))
    assert (finding.usd, finding.title) == (pytest.approx(4.0), "p5.48xlarge in us-east-1 costs less in us-east-2")


def test_cheapest_successor_is_chosen() -> None:
    cheaper = replace(NEW, instance="p5e.48xlarge", usd_per_hour=8.0)
    _, (finding,) = find_newer_generations(samples.ledger(samples.pool([1.0])), samples.context(NEW, cheaper, OFFER))
    assert finding.usd == pytest.approx(2.0)
    assert "p5e.48xlarge at $8.00" in finding.evidence


@pytest.mark.parametrize(
    ("offer", "machine", "found"),
    [
        (replace(NEW, usd_per_hour=9.49), samples.MACHINE, 1),
        (replace(NEW, usd_per_hour=9.5), samples.MACHINE, 0),
        (replace(NEW, region="us-west-2"), samples.MACHINE, 0),
        (replace(NEW, pricing_model=PricingModel.SPOT), samples.MACHINE, 0),
        (replace(NEW, hardware="h100", usd_per_hour=1.0), samples.MACHINE, 0),
        (NEW, replace(samples.MACHINE, instance="ml.p5.48xlarge"), 0),
    ],
)
def test_what_a_successor_is(offer: Offer, machine: BilledMachine, found: int) -> None:
    """On demand in the same region, of better hardware, and 5 % cheaper; endpoints have none."""
    paid = samples.ledger(samples.pool([1.0], machine=machine))
    assert len(find_newer_generations(paid, samples.context(OFFER, offer))[1]) == found


@pytest.mark.parametrize(("gpus", "found"), [(8, 1), (4, 0)])
def test_successor_holds_as_much(gpus: int, found: int) -> None:
    """Eight GPUs of 80 GiB hold what eight older ones of the same size hold; four do not, at any price."""
    old = replace(OFFER, hardware="a100", instance="p4de.24xlarge")
    new = replace(OFFER, hardware="h100", gpus=gpus, usd_per_hour=1.0)
    paid = samples.ledger(samples.pool([1.0], machine=replace(samples.MACHINE, instance=old.instance)))
    assert len(find_newer_generations(paid, samples.context(old, new))[1]) == found


def test_speedup_is_that_of_the_slowest_model() -> None:
    hardware = facts.load(()).hardware
    models = {profile.model for profile in shipped_profiles()}
    by_model = {model: gpu_speedup(hardware["h100"], hardware["h200"], model) for model in models}
    measured = [times for times, confidence, _ in by_model.values() if confidence == "medium"]
    assert gpu_speedup(hardware["h100"], hardware["h200"])[0] == min(measured)
    assert len(set(measured)) > 1


def profile_of(kv_capacity_tokens: int, sequences: int, limits: EngineLimits | None) -> Profile:
    """Return a profile: a decode step of all sequences takes 0.4 s, a prefill of a whole step 0.5 s, any other 99 s."""
    full = (limits or EngineLimits()).max_num_batched_tokens

    def step_time_s(prompt: float, decodes: float, context: float) -> float:
        if (prompt, decodes, context) == (full, 0.0, 0.0):
            return 0.5
        return 0.4 if (prompt, decodes, context) == (0.0, sequences, 2000.0 * sequences) else 99.0

    fields = {"kv_capacity_tokens": kv_capacity_tokens, "state_tokens": 0, "limits": limits}
    fields |= {"engine": "vllm", "hardware": "h100"}
    return SimpleNamespace(**fields, step_time_s=step_time_s)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("kv_capacity_tokens", "sequences"), [(16_000, 8), (15_999, 7), (100_000, 10), (20_000, 10), (100, 1)]
)
def test_rate_of_a_saturated_replica(kv_capacity_tokens: int, sequences: int) -> None:
    """A token takes its share of a decode step, and the prefill of four prompt tokens at 1,000 a step."""
    limits = EngineLimits(max_num_seqs=10, max_num_batched_tokens=1000)
    rate = _tokens_per_s(profile_of(kv_capacity_tokens, sequences, limits))
    assert rate == pytest.approx(1 / (0.4 / sequences + 4 * 0.5 / 1000))


def test_profile_without_limits_has_defaults() -> None:
    full = EngineLimits().max_num_batched_tokens
    assert _tokens_per_s(profile_of(4000, 2, None)) == pytest.approx(1 / (0.4 / 2 + 4 * 0.5 / full))
