"""Instances that are taken back: what happens to what they held, and who pays for it, each in a sum done by hand.

A step takes 0.1 s here, whatever is in it: a request of `n` output tokens that is alone takes n / 10 s.
"""

import math

import numpy as np
import pytest
from tests.samples.fleets import backfill
from tests.unit.sim.test_corners import STEADY, finished, memory, requests

from meritorder.errors import InfeasibleError
from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, Interruptions, SimPool, SimResult
from meritorder.sim.run import simulate

NOW = math.inf  # latest start of a real-time request


def pool(*, instances: int = 1, interruptions: Interruptions | None = None, **options: object) -> SimPool:
    defaults = {"profile": STEADY, "scaling": Fixed(instances=instances), "startup_s": 0.0, "minimum_billing_s": 0.0}
    return SimPool(interruptions=interruptions, **(defaults | options))


def run(wanted: object, *pools: SimPool, **options: object) -> SimResult:
    """Simulate, and hold it against the step-by-step simulator."""
    options = {"horizon_s": 10.0, "tick_s": 1.0, **options}
    finished(wanted, *pools, **options)
    return simulate(wanted, pools, **options)


def test_what_ran_is_lost_and_starts_again() -> None:
    """It began at 0.5 s and was to end at 2.5 s; at 2 s the instance is taken back and another rented."""
    lives = Interruptions(lifetimes_s=(2.0, 1e6), notice_s=0.0)
    result = run(requests((0.5, 5, 20, NOW)), pool(interruptions=lives))
    assert result.finished_s[0] == pytest.approx(4.0)
    assert result.first_token_s[0] == pytest.approx(2.1)
    assert result.admitted_s[0] == pytest.approx(0.5)
    assert result.attempts[0] == 1
    account = result.pools[0]
    assert (account.interruptions, account.lost_s, account.realtime_s) == (1, pytest.approx(1.5), pytest.approx(2.0))
    assert account.idle_s == pytest.approx(10.0 - 3.5)


def test_an_instance_under_notice_takes_nothing_new() -> None:
    """The first instance ends at 4 s with 2 s of notice: what comes at 2.5 s goes to the other."""
    lives = Interruptions(lifetimes_s=(4.0, 1e6), notice_s=2.0)
    result = run(requests((0.5, 5, 30, NOW), (2.5, 5, 5, NOW)), pool(instances=2, interruptions=lives))
    assert result.replica.tolist() == [0, 1]
    assert result.attempts.tolist() == [0, 0]


def test_an_empty_instance_under_notice_is_given_back_and_not_counted() -> None:
    lives = Interruptions(lifetimes_s=(4.0, 1e6), notice_s=2.0)
    account = run(requests((5.0, 5, 5, NOW)), pool(interruptions=lives)).pools[0]
    assert account.interruptions == 0
    assert account.lost_s == 0


def test_what_ran_goes_before_what_waited() -> None:
    """One seat: the first runs, the other two wait; after the interruption at 2 s they are served as they came."""
    lives = Interruptions(lifetimes_s=(2.0, 1e6), notice_s=0.0)
    one_seat = pool(interruptions=lives, limits=EngineLimits(max_num_seqs=1))
    result = run(requests((0.5, 5, 20, NOW), (0.6, 5, 10, NOW), (0.7, 5, 10, NOW)), one_seat)
    np.testing.assert_allclose(result.finished_s, [4.0, 5.0, 6.0])
    assert result.attempts.tolist() == [1, 0, 0]


def test_a_preempted_request_that_waits_loses_its_tokens_too() -> None:
    """Memory for 14 tokens holds two of 8 for a while; the second is sent back, and waits when the instance ends."""
    lives = Interruptions(lifetimes_s=(1.0, 1e6), notice_s=0.0)
    wanted = requests((0.05, 4, 10, NOW), (0.1, 4, 10, NOW))
    result = run(wanted, pool(interruptions=lives, **memory(14)))
    assert result.preemptions > 0
    assert result.attempts.tolist() == [1, 1]
    assert (result.first_token_s > 1.0).all()
    assert result.pools[0].lost_s == pytest.approx(0.95)


def test_the_provider_leaves_fewer() -> None:
    """Of three instances one is left from 2 s and two from 4 s: the highest numbers are taken back."""
    ceilings = Interruptions(ceiling_from_s=(2.0, 4.0), ceiling=(1, 2))
    result = run(requests((0.5, 5, 5, NOW)), pool(instances=3, interruptions=ceilings), horizon_s=10.0)
    account = result.pools[0]
    assert account.paid_s == pytest.approx(10.0 + (2.0 + 6.0) + 2.0)
    assert account.interruptions == 2
    assert account.peak_instances == 3


def test_no_more_are_rented_than_the_provider_leaves() -> None:
    """One under notice is still one of the two that are left, so that no third is rented for it."""
    both = Interruptions(lifetimes_s=(6.0, 1e6), notice_s=5.0, ceiling_from_s=(0.0,), ceiling=(2,))
    scaling = Autoscaled(target_in_flight=1, minimum=2, maximum=3, initial=2, stabilization_s=1.0)
    account = run(requests((0.5, 5, 80, NOW)), pool(scaling=scaling, interruptions=both)).pools[0]
    assert account.peak_instances == 2
    assert account.interruptions == 1


def test_requests_wait_while_the_provider_leaves_none() -> None:
    none = Interruptions(ceiling_from_s=(2.0, 6.0), ceiling=(0, 1))
    result = run(requests((0.5, 5, 20, NOW), (3.5, 5, 10, NOW)), pool(interruptions=none))
    np.testing.assert_allclose(result.finished_s, [8.0, 7.0])
    assert result.pools[0].paid_s == pytest.approx(2.0 + 4.0)
    assert result.pools[0].interruptions == 1


def test_an_instance_that_was_given_back_as_it_came_up_does_not_serve() -> None:
    """It is up at 3 s, under notice already, and given back; urgent work has another started, which takes 2 s again."""
    lives = Interruptions(lifetimes_s=(1.0, 3.0, 1e6), notice_s=2.0)
    result = run(requests((2.5, 5, 5, 3.5)), pool(interruptions=lives, startup_s=2.0, startup_paid_s=2.0))
    assert result.admitted_s[0] == pytest.approx(5.0)


def test_deferrable_work_returns_to_the_backlog() -> None:
    lives = Interruptions(lifetimes_s=(2.0, 1e6), notice_s=0.0)
    options = {"scaling": DeadlineScaled(maximum=1, margin_s=0.0), "realtime": False, "backfill": backfill(2)}
    result = run(requests((0.5, 5, 30, 20.0), (0.5, 5, 30, 20.0)), pool(interruptions=lives, **options), horizon_s=30.0)
    assert result.attempts.tolist() == [1, 1]
    assert result.pools[0].deferrable_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lifetimes_s": (5.0, 0.0)}, "lifetime"),
        ({"ceiling": (1,)}, "one for each"),
        ({"ceiling_from_s": (2.0, 2.0), "ceiling": (1, 2)}, "increase"),
    ],
)
def test_interruptions_that_make_no_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interruptions(**fields)


def test_more_lives_than_the_simulator_holds_are_refused() -> None:
    with pytest.raises(InfeasibleError, match="lifetimes"):
        run(requests((0.5, 5, 5, NOW)), pool(interruptions=Interruptions(lifetimes_s=(1.0,) * 2000)))
