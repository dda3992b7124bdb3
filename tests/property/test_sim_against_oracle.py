"""The compiled simulator against the step-by-step one, on fleets and requests drawn at random."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.oracle.stepwise import simulate_stepwise
from tests.property.fleets import Case, cases

from meritorder.sim.pools import SimResult
from meritorder.sim.run import simulate

TOLERANCE = 1e-6

QUICK = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=6000, deadline=None, suppress_health_check=list(HealthCheck))


def assert_equal_to_oracle(case: Case) -> None:
    found = simulate(case.requests, case.pools, **case.options)
    fleet, end_s = simulate_stepwise(case.requests, case.pools, **case.options)

    def near(values: object, expected: object, what: str) -> None:
        np.testing.assert_allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)

    near(found.admitted_s, [r.admitted_s for r in fleet.requests], "admitted")
    near(found.first_token_s, [r.first_token_s for r in fleet.requests], "first token")
    near(found.finished_s, [r.finished_s for r in fleet.requests], "finished")
    np.testing.assert_array_equal(found.replica, [r.replica for r in fleet.requests])
    np.testing.assert_array_equal(found.attempts, [r.attempts for r in fleet.requests])
    assert found.preemptions == fleet.preemptions
    near(found.end_s, end_s, "end")
    for p, (account, group) in enumerate(zip(found.pools, fleet.groups, strict=True)):
        expected = group.account
        near(account.paid_s, expected.paid_s, "paid")
        near(account.realtime_s, expected.realtime_s, "real-time work")
        near(account.deferrable_s, expected.deferrable_s, "deferrable work")
        near(account.startup_s, expected.startup_s, "start-up")
        near(account.lost_s, expected.lost_s, "lost")
        assert account.interruptions == expected.interruptions
        assert account.peak_instances == expected.peak_instances
        near(found.realtime_bins_s[p], expected.realtime_bins_s, "real-time bins")
        near(found.deferrable_bins_s[p], expected.deferrable_bins_s, "deferrable bins")
        near(found.capacity_bins_s[p], expected.capacity_bins_s, "capacity bins")


@given(cases())
@QUICK
def test_equals_step_by_step_oracle(case: Case) -> None:
    assert_equal_to_oracle(case)


@given(cases(ties=True))
@QUICK
def test_equals_oracle_with_ties(case: Case) -> None:
    assert_equal_to_oracle(case)


@given(st.booleans().flatmap(lambda ties: cases(ties=ties, interrupted=True)))
@QUICK
def test_equals_oracle_with_interruptions(case: Case) -> None:
    assert_equal_to_oracle(case)


@pytest.mark.nightly
@given(st.tuples(st.booleans(), st.booleans()).flatmap(lambda drawn: cases(ties=drawn[0], interrupted=drawn[1])))
@LONG
def test_equals_oracle_on_many_cases(case: Case) -> None:
    assert_equal_to_oracle(case)


def assert_lost_only_by_interruptions(case: Case, result: SimResult) -> None:
    for pool, account in zip(case.pools, result.pools, strict=True):
        assert account.interruptions == 0 or pool.interruptions is not None
        assert account.lost_s == 0 or account.interruptions > 0
    lost_s = sum(account.lost_s for account in result.pools)
    assert (lost_s > 0) <= (result.attempts.sum() > 0)


def assert_ran_where_permitted(case: Case, result: SimResult) -> None:
    replicas = [pool.max_instances * pool.replicas_per_instance for pool in case.pools]
    pool_of = np.repeat(np.arange(len(case.pools)), replicas)[result.replica]
    if case.requests.access is not None:
        for p, access in zip(pool_of.tolist(), case.requests.access.tolist(), strict=True):
            assert access in case.pools[p].permitted


@given(st.booleans().flatmap(lambda interrupted: cases(interrupted=interrupted)))
@QUICK
def test_time_and_tokens_conserved(case: Case) -> None:
    """All finish once and in order, no time or token is lost, and the parts of the paid time are the bill."""
    requests, result = case.requests, simulate(case.requests, case.pools, **case.options)
    assert np.isfinite(result.finished_s).all()
    assert (result.admitted_s >= requests.arrived_s - 1e-9).all()
    assert (result.first_token_s > result.admitted_s).all()
    assert (result.finished_s >= result.first_token_s).all()
    assert ((result.finished_s > result.first_token_s) == (requests.output_tokens > 1)).all()
    assert (result.replica >= 0).all()
    assert_ran_where_permitted(case, result)
    assert_lost_only_by_interruptions(case, result)
    for p, account in enumerate(result.pools):
        parts_s = account.realtime_s, account.deferrable_s, account.startup_s, account.idle_s, account.lost_s
        assert math.isclose(sum(parts_s), account.paid_s, rel_tol=1e-9, abs_tol=1e-9)
        assert min(parts_s) >= -1e-9
        done_s = account.realtime_s + account.deferrable_s + account.lost_s  # bins hold what ran, lost or not
        ran_s = result.realtime_bins_s[p].sum() + result.deferrable_bins_s[p].sum()
        assert math.isclose(ran_s, done_s, rel_tol=1e-9, abs_tol=1e-9)
        if account.lost_s == 0:
            assert math.isclose(result.realtime_bins_s[p].sum(), account.realtime_s, rel_tol=1e-9, abs_tol=1e-9)
        assert math.isclose(result.capacity_bins_s[p].sum(), account.paid_s, rel_tol=1e-9, abs_tol=1e-9)


@given(st.booleans().flatmap(lambda interrupted: cases(interrupted=interrupted)))
@settings(QUICK, max_examples=50)
def test_simulation_is_deterministic(case: Case) -> None:
    """The same requests and fleet give the same answer, to the last bit."""
    first, second = (simulate(case.requests, case.pools, **case.options) for _ in range(2))
    for name in (
        "admitted_s",
        "first_token_s",
        "finished_s",
        "replica",
        "attempts",
        "capacity_bins_s",
        "realtime_bins_s",
    ):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.pools == second.pools
