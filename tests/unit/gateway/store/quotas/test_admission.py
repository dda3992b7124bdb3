from dataclasses import replace

import pytest

from meritorder.gateway.store import heartbeats, keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Budget, Key, Rates
from meritorder.gateway.store.quotas import admission, budgets
from meritorder.gateway.store.quotas.admission import AdmittedCalls, Demand, Refusal, Unused
from meritorder.policy.rates import RateBucket, RateRefusal, bucket_number

NOW_S = 1000.0


def created(database: Database, name: str, amount: int | None = None, **limits: int) -> Key:
    budget = None if amount is None else Budget(id=name, amount_picousd=amount)
    key = Key(id=name, name=name, tenant="t", budgets=() if budget is None else (budget,), **limits)  # type: ignore[arg-type]

    def add(connection):  # noqa: ANN001, ANN202
        keys.add(connection, key, name, now_s=0.0)
        for holder in ("x", "y"):
            heartbeats.beat(connection, holder, lease_s=60.0)
        if budget is not None:
            budgets.set_budget(connection, budget, now_s=NOW_S)

    database.submit(add).result()
    return key


def admit(
    database: Database, holder: str, key: Key, *demands: Demand, now_s: float = NOW_S, **more: object
) -> AdmittedCalls:
    return database.submit(
        lambda connection: admission.admit(connection, holder, key, demands, now_s=now_s, **more)  # type: ignore[arg-type]
    ).result()


def costing(*costs: int) -> list[Demand]:
    return [Demand(cost_picousd=cost) for cost in costs]


def test_gateways_share_a_budget(database: Database) -> None:
    key = created(database, "a", 100)
    first = admit(database, "x", key, *costing(30, 30))
    assert (first.accepted, first.leased, first.refusal) == (2, {"a": 60}, None)
    second = admit(database, "y", key, *costing(30, 30))
    assert (second.accepted, second.leased) == (1, {"a": 30})
    assert second.refusal is not None
    assert second.refusal.budget is not None
    assert (second.refusal.budget.is_spent, second.refusal.budget.reserved_picousd) == (False, 60)
    back = admit(database, "x", key, *costing(40), unused=Unused(leases={"a": 60}))
    assert (back.accepted, back.leased) == (1, {"a": 40})


def test_last_call_may_exceed_the_budget(database: Database) -> None:
    key = created(database, "a", 100)
    assert admit(database, "x", key, *costing(500, 1)).accepted == 1
    assert admit(database, "y", key, *costing(1)).accepted == 0


def test_more_is_leased_to_spare(database: Database) -> None:
    """A thirty-second part of what is left, and no more than a thousand calls need."""
    key = created(database, "a", 320_100)
    assert admit(database, "x", key, *costing(100), to_spare=True).leased == {"a": 100 + 10_000}
    assert admit(database, "y", key, *costing(1), to_spare=True).leased == {"a": 1 + 1000}
    near = created(database, "b", 120)
    assert admit(database, "x", near, *costing(100), to_spare=True).leased == {"b": 100}


def test_gateways_share_a_rate(database: Database) -> None:
    key = created(database, "a", requests_per_minute=5)
    assert admit(database, "x", key, *[Demand()] * 3).accepted == 3
    second = admit(database, "y", key, *[Demand()] * 3)
    assert second.accepted == 2
    assert second.refusal is not None
    assert second.refusal.rate is not None
    assert (second.refusal.rate.limit, second.refusal.rate.wait_s) == ("requests", 60.25)
    assert admit(database, "y", key, Demand(requests=0)).accepted == 1
    assert admit(database, "x", key, *[Demand()] * 9, now_s=NOW_S + 60.25).accepted == 5


def test_unused_rate_is_given_back(database: Database) -> None:
    """Of 320 that are left, a thirty-second part is spare."""
    key = created(database, "a", requests_per_minute=321)
    taken = admit(database, "x", key, Demand(), to_spare=True)
    assert (taken.rates["a"].spare.requests, taken.rates["a"].window.requests) == (10, 11)
    unused = Unused(rates={"a": RateBucket(bucket_number(NOW_S), 10, 0)})
    database.submit(lambda connection: admission.give_back_rates(connection, unused, now_s=NOW_S)).result()
    again = admit(database, "y", key, *[Demand()] * 400)
    assert again.accepted == 320


def test_spare_rate_stays_within_limit(database: Database) -> None:
    key = created(database, "a", requests_per_minute=100)
    taken = admit(database, "x", key, *[Demand()] * 100, to_spare=True)
    assert (taken.accepted, taken.rates["a"].spare.requests) == (100, 0)


def test_keys_share_the_rate_of_their_team(database: Database) -> None:
    """Each of two keys may start three of its team's four calls, at whichever gateway."""
    team = Rates(id="team:t", requests_per_minute=4)
    first = replace(created(database, "a", requests_per_minute=3), team_rates=team)
    second = replace(created(database, "b", requests_per_minute=3), team_rates=team)
    assert admit(database, "x", first, *[Demand()] * 3).accepted == 3
    admitted = admit(database, "y", second, *[Demand()] * 3)
    refusal = Refusal(rate=RateRefusal(limit="requests", wait_s=60.25), rates=team)
    assert (admitted.accepted, admitted.refusal) == (1, refusal)
    assert admit(database, "y", second, *[Demand()] * 9, now_s=NOW_S + 60.25).accepted == 3


def test_longest_wait_is_told(database: Database) -> None:
    """The key could call again in half a minute, its team in a whole one."""
    team = Rates(id="team:t", requests_per_minute=1)
    key = replace(created(database, "a", requests_per_minute=1), team_rates=team)
    admit(database, "x", replace(key, team_rates=None), Demand())
    admit(database, "x", replace(key, requests_per_minute=None), Demand(), now_s=NOW_S + 30)
    refusal = admit(database, "y", key, Demand(), now_s=NOW_S + 31).refusal
    assert refusal == Refusal(rate=RateRefusal(limit="requests", wait_s=59.25), rates=team)


def test_rates_and_budgets_apply_together(database: Database) -> None:
    key = created(database, "a", 100, requests_per_minute=2)
    both = admit(database, "x", key, *costing(10, 10, 10))
    assert (both.accepted, both.leased) == (2, {"a": 20})
    assert both.refusal is not None
    assert both.refusal.rate is not None


@pytest.mark.parametrize(("cost", "refused"), [(70, False), (71, True), (0, False)])
def test_queued_call_needs_room(database: Database, cost: int, *, refused: bool) -> None:
    key = created(database, "a", 100)
    admit(database, "x", key, *costing(30))
    refusal = database.submit(lambda connection: admission.refuse_queued(connection, key, cost, now_s=NOW_S)).result()
    assert (refusal is not None) == refused
