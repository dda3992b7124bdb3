"""A floor by slot below the autoscaler: its two limits are the autoscaler alone and the schedule alone."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples.fleets import LIMITS, backfill, profile, requests

from meritorder.policy.replicas import machines_above_floor
from meritorder.sim.pools import Autoscaled, Requests, Scaling, Scheduled, SimPool, SimResult
from meritorder.sim.run import simulate

SLOT_S = 300.0
SPAN_S = 6 * SLOT_S
# No load that is drawn asks for a machine at this target.
NEVER = 1e15

FLOORS = st.lists(st.integers(0, 4), min_size=6, max_size=6).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=60, deadline=None, derandomize=True)


def drawn_requests(rng: np.random.Generator) -> Requests:
    """Return up to 400 requests in a burst or over the span, some of which may wait."""
    count = int(rng.integers(1, 400))
    arrived_s = np.sort(rng.uniform(0, SPAN_S * rng.choice([0.1, 1.0]), count))
    latest_start_s = np.where(rng.random(count) < 0.3, arrived_s + 600.0, np.inf)
    return requests(arrived_s, 400, 60, latest_start_s=latest_start_s)


def serve(scaling: Scaling, asked: Requests, **options: float) -> SimResult:
    pool = SimPool(profile=profile(), scaling=scaling, limits=LIMITS, backfill=backfill(8), **options)  # type: ignore[arg-type]
    return simulate(asked, (pool,), horizon_s=SPAN_S, bin_s=SLOT_S)


def drawn_scaling(rng: np.random.Generator, floor: tuple[int, ...]) -> Autoscaled:
    maximum = int(rng.integers(1, 6))
    return Autoscaled(
        target_in_flight=float(rng.uniform(1.0, 16.0)),
        minimum=int(rng.integers(0, maximum + 1)),
        maximum=maximum,
        initial=int(rng.integers(0, maximum + 1)),
        floor=floor,
        slot_s=SLOT_S,
        ahead_s=float(rng.choice([0.0, 300.0])),
    )


def assert_same(first: SimResult, second: SimResult) -> None:
    np.testing.assert_array_equal(first.finished_s, second.finished_s)
    np.testing.assert_array_equal(first.replica, second.replica)
    np.testing.assert_array_equal(first.capacity_bins_s, second.capacity_bins_s)
    assert first.pools == second.pools


@given(SEEDS)
@MANY
def test_zero_floor_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked, scaling = drawn_requests(rng), drawn_scaling(rng, (0,) * 6)
    assert_same(serve(scaling, asked), serve(replace(scaling, floor=(), slot_s=0.0, ahead_s=0.0), asked))


@given(SEEDS, FLOORS.filter(lambda floor: max(floor) > 0))
@MANY
def test_floor_without_load_is_schedule(seed: int, floor: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    asked, ahead_s = drawn_requests(rng), float(rng.choice([0.0, 300.0]))
    never = Autoscaled(
        target_in_flight=NEVER, minimum=0, maximum=max(floor), initial=0, floor=floor, slot_s=SLOT_S, ahead_s=ahead_s
    )
    assert_same(serve(never, asked), serve(Scheduled(instances=floor, slot_s=SLOT_S, ahead_s=ahead_s), asked))


@given(SEEDS, FLOORS)
@MANY
def test_paid_between_floor_and_maximum(seed: int, floor: tuple[int, ...]) -> None:
    """Without a start-up and a minimum bill, what is paid in a slot is what ran in it."""
    rng = np.random.default_rng(seed)
    asked, scaling = drawn_requests(rng), replace(drawn_scaling(rng, floor), ahead_s=0.0)
    result = serve(scaling, asked, startup_s=0.0, startup_paid_s=0.0, minimum_billing_s=0.0)
    least = np.minimum(np.maximum(floor, scaling.minimum), scaling.maximum) * SLOT_S
    # At time 0 the initial instances are on; the minimum holds from the first tick.
    assert (result.capacity_bins_s[0, 1:6] >= least[1:] - 1e-6).all()
    assert (result.capacity_bins_s[0] <= scaling.maximum * SLOT_S + 1e-6).all()
    assert result.pools[0].peak_instances <= scaling.maximum


@given(*(st.integers(0, 50) for _ in range(4)))
def test_wanted_between_floor_and_maximum(reactive: int, minimum: int, floor: int, maximum: int) -> None:
    wanted = machines_above_floor(reactive, minimum, floor, maximum)
    assert min(max(minimum, floor), maximum) <= wanted <= maximum
    assert machines_above_floor(reactive + 1, minimum, floor, maximum) >= wanted


@given(SEEDS, FLOORS, st.booleans())
@MANY
def test_slots_may_begin_before_time_zero(seed: int, floor: tuple[int, ...], by_load: bool) -> None:  # noqa: FBT001
    """A schedule that began two slots before is the rest of it, whatever the first two slots asked for."""
    rng = np.random.default_rng(seed)
    asked = drawn_requests(rng)
    scaling: Autoscaled | Scheduled = drawn_scaling(rng, floor)
    earlier: Autoscaled | Scheduled = replace(scaling, floor=(5, 0, *floor), first_slot_s=-2 * SLOT_S)
    if not by_load:
        scaling = Scheduled(instances=(*floor, 1), slot_s=SLOT_S, ahead_s=300.0)
        earlier = replace(scaling, instances=(5, 0, *floor, 1), first_slot_s=-2 * SLOT_S)
    first, second = serve(scaling, asked), serve(earlier, asked)
    np.testing.assert_array_equal(first.finished_s, second.finished_s)
    np.testing.assert_array_equal(first.capacity_bins_s, second.capacity_bins_s)
    assert [account.paid_s for account in first.pools] == [account.paid_s for account in second.pools]
