"""Offers dropped before the search, and offers that must stay."""

import dataclasses

from tests.samples.planning import on_demand, pool, realtime, reserved, small

from meritorder.domain import Access
from meritorder.planner.model.problem import Problem
from meritorder.planner.solve.dominance import drop_dominated_offers


def two_offers(**options: object) -> Problem:
    """The same machine for $10 and for $9 an hour in two places."""
    values: dict[str, object] = {
        "pools": (pool(), pool("gcp-h100")),
        "payments": (on_demand(10.0), on_demand(9.0, "gcp-h100")),
        **options,
    }
    return small([0.5], [0.0], 1, **values)  # type: ignore[arg-type]


def names(problem: Problem) -> list[str]:
    return [machine_pool.name for machine_pool in drop_dominated_offers(problem).pools]


def test_more_expensive_offer_is_dropped() -> None:
    assert names(two_offers()) == ["gcp-h100"]


def test_quota_dominates_nothing() -> None:
    payments = (on_demand(10.0), on_demand(9.0, "gcp-h100", max_machines=3))
    assert names(two_offers(payments=payments)) == ["aws-h100", "gcp-h100"]


def test_commitment_keeps_its_offer() -> None:
    payments = (on_demand(10.0), on_demand(9.0, "gcp-h100"), reserved(6.0))
    assert names(two_offers(payments=payments)) == ["aws-h100", "gcp-h100"]


def test_restricted_workload_keeps_its_offer() -> None:
    problem = two_offers()
    online = realtime([0.5], access=Access(deny_provider=frozenset({"gcp"})))
    restricted = dataclasses.replace(problem, workloads=(online, problem.workloads[1]))
    assert names(restricted) == ["aws-h100", "gcp-h100"]


def test_smaller_safe_load_dominates_nothing() -> None:
    pools = (pool(), pool("gcp-h100", safe=[0.0, 0.4, 1.3, 2.2, 3.1, 4.0]))
    assert names(two_offers(pools=pools)) == ["aws-h100", "gcp-h100"]
