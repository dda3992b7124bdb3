"""Budgets in the store; times are of 2026-11-29, a Sunday."""

from dataclasses import dataclass

import pytest

from meritorder.gateway.store import heartbeats, keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Budget, Key
from meritorder.gateway.store.queue import batches, requests
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.quotas.budgets import BudgetState

NOON_S = 1_795_953_600.0  # 2026-11-29T12:00:00Z
DAY_S = 86_400.0
TEAM = keys.team_id("search")


@dataclass(frozen=True)
class Cost:
    key_id: str | None
    cost_picousd: int | None
    ended_s: float = NOON_S


def stored(database: Database, *wanted: Budget, now_s: float = NOON_S) -> None:
    for budget in wanted:
        database.submit(lambda connection, budget=budget: budgets.set_budget(connection, budget, now_s=now_s)).result()


def add_key(database: Database, name: str, team: str | None = None) -> None:
    key = Key(id=name, name=name, tenant="t", team=team)
    database.submit(lambda connection: keys.add(connection, key, name, now_s=0.0)).result()


def charge(database: Database, *costs: Cost) -> None:
    database.submit(lambda connection: budgets.charge(connection, costs)).result()


def state(database: Database, budget_id: str = "a", now_s: float = NOON_S, holder: str = "") -> BudgetState:
    (found,) = database.read_now(lambda connection: budgets.states(connection, [budget_id], now_s=now_s, holder=holder))
    return found


def test_costs_count_for_key_and_team(database: Database) -> None:
    add_key(database, "a", "search")
    add_key(database, "b", "search")
    add_key(database, "c")
    stored(database, Budget(id="a", amount_picousd=10), Budget(id=TEAM, amount_picousd=100))
    charge(database, Cost("a", 3), Cost("b", 4), Cost("c", 5), Cost(None, 6), Cost("a", None), Cost("a", 0))
    assert (state(database).spent_picousd, state(database, TEAM).spent_picousd) == (3, 7)
    by_key = database.read_now(lambda connection: budgets.states_by_key(connection, ["a", "b", "c"], now_s=NOON_S))
    assert {key: [found.budget.id for found in bounding] for key, bounding in by_key.items()} == {
        "a": ["a", TEAM],
        "b": [TEAM],
    }


def test_budget_renews_with_its_period(database: Database) -> None:
    add_key(database, "a")
    stored(database, Budget(id="a", amount_picousd=10, period="day"))
    charge(database, Cost("a", 10))
    today = state(database)
    assert (today.is_spent, today.exhausted_s, today.renews_s) == (True, NOON_S, NOON_S + DAY_S / 2)
    tomorrow = state(database, now_s=NOON_S + DAY_S / 2)
    assert (tomorrow.spent_picousd, tomorrow.exhausted_s) == (0, None)
    charge(database, Cost("a", 4, NOON_S + DAY_S))
    assert state(database, now_s=NOON_S + DAY_S).spent_picousd == 4
    charge(database, Cost("a", 9, NOON_S))  # its row came late: yesterday's budget is closed
    assert state(database, now_s=NOON_S + DAY_S).spent_picousd == 4
    assert state(database, now_s=NOON_S).spent_picousd == 4, "a clock that was set back renews nothing"


def test_time_zone_decides_when_a_day_begins(database: Database) -> None:
    """Noon in UTC is 21:00 in Tokyo: the day ends three hours later."""
    stored(database, Budget(id="a", amount_picousd=1, period="day", time_zone="Asia/Tokyo"))
    assert state(database).renews_s == NOON_S + 3 * 3600


def test_void_leases_do_not_count(database: Database) -> None:
    add_key(database, "a")
    stored(database, Budget(id="a", amount_picousd=100))

    def lease(connection):  # noqa: ANN001, ANN202
        heartbeats.beat(connection, "alive", lease_s=60.0)
        for holder, amount in (("alive", 10), ("late", 20), ("me", 40)):
            budgets.set_lease(connection, "a", holder, amount)

    database.submit(lease).result()
    mine = state(database, holder="me")
    assert (mine.mine_picousd, mine.others_picousd, mine.left_picousd) == (40, 10, 50)
    database.submit(budgets.drop_void_leases).result()
    assert state(database, holder="late").mine_picousd == 0
    database.submit(lambda connection: budgets.set_lease(connection, "a", "alive", 0)).result()
    assert state(database, holder="alive").reserved_picousd == 0


def test_queued_calls_are_reserved(database: Database) -> None:
    add_key(database, "a", "search")
    stored(database, Budget(id="a", amount_picousd=100), Budget(id=TEAM, amount_picousd=100))
    call = {"tenant": "t", "endpoint": "/v1/responses", "model": "m", "body": b"{}", "body_bytes": 2, "key_id": "a"}
    call |= {"input_tokens": 1, "output_tokens": 1, "prefix": 0, "arrived_s": 0.0, "deadline_s": 9.0}

    def add(connection):  # noqa: ANN001, ANN202
        batch = batches.add(
            connection,
            id="batch_1",
            tenant="t",
            endpoint="/v1/responses",
            completion_window="1h",
            input_file_id="file-1",
            created_s=0.0,
            expires_s=9.0,
        )
        requests.add(connection, [call | {"batch_seq": batch.seq, "state": "queued", "expected_picousd": 50}])
        return [requests.add_call(connection, **call, expected_picousd=cost) for cost in (7, 8)]

    first, _ = database.submit(add).result()
    assert [state(database, name).others_picousd for name in ("a", TEAM)] == [15, 15], "lines reserve when they start"
    database.submit(lambda connection: requests.end(connection, first)).result()
    assert state(database).others_picousd == 8


def test_soft_limit_is_announced_once(database: Database) -> None:
    add_key(database, "a")
    stored(database, Budget(id="a", amount_picousd=10, period="day", soft_share=0.8))

    def announced(now_s: float = NOON_S) -> list[int]:
        taken = database.submit(lambda connection: budgets.take_announcements(connection, now_s=now_s)).result()
        return [found.spent_picousd for found in taken]

    charge(database, Cost("a", 7))
    assert announced() == []
    charge(database, Cost("a", 1))
    assert [announced(), announced()] == [[8], []]
    charge(database, Cost("a", 9, NOON_S + DAY_S))
    assert [announced(NOON_S + DAY_S), announced(NOON_S + DAY_S)] == [[9], []]


def test_unlimited_budgets_stay_within_columns(database: Database) -> None:
    add_key(database, "a")
    stored(database, Budget(id="a", amount_picousd=10))
    charge(database, Cost("a", 2**62), Cost("a", 2**62), Cost("a", 2**62))
    assert state(database).spent_picousd == 2**63 - 1


@pytest.mark.parametrize(("key_id", "spent"), [("a", True), ("b", True), ("c", False), (None, False)])
def test_spent_budget_is_found(database: Database, key_id: str | None, *, spent: bool) -> None:
    """The team's budget is spent by `a`, and bounds `b` too."""
    for name, team in (("a", "search"), ("b", "search"), ("c", None)):
        add_key(database, name, team)
    stored(database, Budget(id="b", amount_picousd=100), Budget(id=TEAM, amount_picousd=10))
    charge(database, Cost("a", 10), Cost("c", 10))
    found = database.read_now(lambda connection: budgets.spent_budget(connection, key_id, now_s=NOON_S))
    assert (found is not None) == spent
