import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.stores import migrated_store

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state import quotas as module
from meritorder.gateway.state.quotas import Quotas
from meritorder.gateway.state.reservations import UNLIMITED, Reservation, Spending
from meritorder.gateway.store import heartbeats, keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Budget, Key
from meritorder.gateway.store.queue import backlog, requests
from meritorder.gateway.store.quotas import admission, budgets
from meritorder.gateway.store.quotas.admission import Demand
from meritorder.gateway.wire.errors import ApiError

pytestmark = pytest.mark.anyio
NOW_S = 1_000_000.0
KEYS: dict[str | None, Key] = {}


class Clock:
    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with migrated_store("sqlite", tmp_path) as store:
        yield store


@pytest.fixture
def quotas(database: Database, clock: Clock) -> Quotas:
    return opened(database, clock, "me")


def opened(database: Database, clock: Clock, holder: str) -> Quotas:
    database.submit(lambda connection: heartbeats.beat(connection, holder, lease_s=60.0)).result()

    async def store_ledger() -> None:
        return

    return Quotas(database, holder, clock, Spending(KEYS.get), store_ledger)


def created(database: Database, name: str, amount: int | None = None, **limits: Any) -> Key:  # noqa: ANN401
    key = Key(id=name, name=name, tenant="t", **limits)

    def add(connection):  # noqa: ANN001, ANN202
        keys.add(connection, key, name, now_s=0.0)
        if amount is not None:
            budgets.set_budget(connection, Budget(id=name, amount_picousd=amount), now_s=NOW_S)

    database.submit(add).result()
    KEYS[name] = database.read_now(keys.read).by_id[name]
    return KEYS[name]


def reserved(database: Database, name: str = "a") -> int:
    (state,) = database.read_now(lambda connection: budgets.states(connection, [name], now_s=NOW_S))
    return state.reserved_picousd


def costing(cost: int) -> Demand:
    return Demand(cost_picousd=cost)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the calls that each admission in the store was asked for."""
    counts: list[int] = []
    admit = admission.admit

    def counted(connection: Any, holder: str, key: Key, demands: Any, **more: Any) -> Any:  # noqa: ANN401
        counts.append(len(demands))
        return admit(connection, holder, key, demands, **more)

    monkeypatch.setattr(module.admission, "admit", counted)
    return counts


async def refusal(quotas: Quotas, key: Key, demand: Demand) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await quotas.admit(key, demand)
    return refused.value


async def test_keys_without_limits_ask_nothing(database: Database, quotas: Quotas, asked: list[int]) -> None:
    assert await quotas.admit(created(database, "a"), costing(10**15)) is UNLIMITED
    assert asked == []


async def test_spare_calls_ask_nothing(database: Database, quotas: Quotas, asked: list[int]) -> None:
    """With a large budget, the first of 1,001 calls leases for all of them."""
    key = created(database, "a", 10**6)
    taken = [await quotas.admit(key, costing(1)) for _ in range(1001)]
    assert asked == [1]
    assert reserved(database) == 1001
    for reservation in taken:
        reservation.close()
    await quotas.give_back()
    assert reserved(database) == 0


async def test_waiting_calls_ask_together(database: Database, quotas: Quotas, asked: list[int]) -> None:
    key = created(database, "a", 20)
    outcomes = [asyncio.create_task(quotas.admit(key, costing(1))) for _ in range(20)]
    await asyncio.gather(*outcomes)
    assert asked in ([20], [1, 19])


async def test_call_waits_for_others_to_end(database: Database, quotas: Quotas) -> None:
    key = created(database, "a", 10)
    first = await quotas.admit(key, costing(8))
    second = asyncio.create_task(quotas.admit(key, costing(8)))
    third = asyncio.create_task(quotas.admit(key, costing(1)))
    await asyncio.sleep(0.05)
    assert not second.done()
    assert not third.done(), "calls are admitted in order of arrival"
    first.close()
    (await second).close()
    (await third).close()


async def test_call_waits_for_other_gateway(database: Database, quotas: Quotas, clock: Clock) -> None:
    key, other = created(database, "a", 10), opened(database, clock, "other")
    first = await other.admit(key, costing(8))
    second = asyncio.create_task(quotas.admit(key, costing(8)))
    await asyncio.sleep(0.05)
    first.close()
    await other.give_back()
    (await second).close()


async def test_patience_ends(database: Database, quotas: Quotas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.3)
    key = created(database, "a", 10)
    with await quotas.admit(key, costing(8)):
        refused = await refusal(quotas, key, costing(8))
    assert (refused.status, refused.code, refused.headers) == (429, "insufficient_quota", (("retry-after", "1"),))
    (await quotas.admit(key, costing(8))).close()


async def test_spent_budget_refuses_at_once(database: Database, quotas: Quotas) -> None:
    key = created(database, "a", 10)
    database.submit(lambda connection: budgets.charge(connection, [Cost()])).result()
    refused = await refusal(quotas, key, costing(1))
    assert (refused.status, refused.code, refused.headers) == (
        429,
        "insufficient_quota",
        (("x-should-retry", "false"),),
    )
    with pytest.raises(ApiError):
        await quotas.check_spent(key)
    with pytest.raises(ApiError):
        await quotas.queue(key, 1, lambda _: None)


class Cost:
    key_id, ended_s, cost_picousd = "a", NOW_S, 10


async def test_disconnected_client_reserves_nothing(database: Database, quotas: Quotas) -> None:
    key = created(database, "a", 10)
    first = await quotas.admit(key, costing(8))
    gone = asyncio.create_task(quotas.admit(key, costing(8)))
    waiting = asyncio.create_task(quotas.admit(key, costing(9)))
    await asyncio.sleep(0.05)
    gone.cancel()
    first.close()
    (await waiting).close()
    await quotas.give_back()
    assert reserved(database) == 0


async def test_too_many_waiting_are_refused(
    database: Database, quotas: Quotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 1)
    key = created(database, "a", 10)
    first = await quotas.admit(key, costing(8))
    second = asyncio.create_task(quotas.admit(key, costing(8)))
    await asyncio.sleep(0.05)
    assert (await refusal(quotas, key, costing(8))).code == "rate_limit_exceeded"
    first.close()
    (await second).close()


async def test_rate_refuses_with_headers(database: Database, quotas: Quotas, clock: Clock) -> None:
    key = created(database, "a", requests_per_minute=2, tokens_per_minute=100)
    for _ in range(2):
        await quotas.admit(key, Demand(tokens=30))
    assert dict(quotas.rate_headers(key))["x-ratelimit-remaining-tokens"] == "40"
    refused = await refusal(quotas, key, Demand(tokens=30))
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert dict(refused.headers) == {
        "retry-after": "61",
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60.2s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "40",
        "x-ratelimit-reset-tokens": "60.2s",
    }
    clock.now_s += 60.25
    await quotas.admit(key, Demand(tokens=30))


async def test_team_shares_its_rate(database: Database, quotas: Quotas, clock: Clock) -> None:
    """Among its keys, and with another gateway."""
    database.submit(lambda connection: keys.change_team_rates(connection, "t", {"requests_per_minute": 300})).result()
    first, second = created(database, "a", team="t"), created(database, "b", team="t")
    other = opened(database, clock, "other")
    for key, gateway in ((first, quotas), (second, quotas), (second, other)):
        for _ in range(99):
            await gateway.admit(key, Demand())
    await quotas.give_back()
    await other.give_back()
    clock.now_s += 0.25
    await quotas.give_back()
    await other.give_back()
    admitted = await asyncio.gather(*(quotas.admit(first, Demand()) for _ in range(9)), return_exceptions=True)
    assert sum(not isinstance(outcome, ApiError) for outcome in admitted) == 3
    refused = await refusal(other, second, Demand())
    assert "the team 't' on requests: 300 a minute" in refused.message
    assert dict(refused.headers)["retry-after"] == "60"  # a quarter of a second has passed


async def test_unused_rate_returns(database: Database, quotas: Quotas, clock: Clock, asked: list[int]) -> None:
    """Of 6,399 left of 6,400 a minute a thirty-second part, 199, is spare for a quarter of a second."""
    key = created(database, "a", requests_per_minute=6400)
    for _ in range(200):
        await quotas.admit(key, Demand())
    assert asked == [1]
    assert dict(quotas.rate_headers(key))["x-ratelimit-remaining-requests"] == "6200"
    await quotas.admit(key, Demand())
    assert asked == [1, 1]
    clock.now_s += 0.25
    await quotas.give_back()
    await asyncio.gather(*(quotas.admit(key, Demand()) for _ in range(6400 - 201)))
    assert (await refusal(quotas, key, Demand())).code == "rate_limit_exceeded"


async def test_lost_store_refuses_limited_keys(
    database: Database, quotas: Quotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call fits into what is leased; for more the store is needed. What it may have granted is given back later."""
    key = created(database, "a", 10**6)
    write_soon = database.write_soon

    async def lost(change: Callable[..., Any], *_: object) -> Any:  # noqa: ANN401
        await write_soon(change)
        raise StoreUnavailableError("gone")

    (await quotas.admit(key, costing(1))).close()
    monkeypatch.setattr(database, "write_soon", lost)
    (await quotas.admit(key, costing(1))).close()
    with pytest.raises(StoreUnavailableError):
        await quotas.admit(key, costing(2000))
    assert reserved(database) >= 2000
    await quotas.give_back()
    assert reserved(database) == 0


async def test_queued_call_waits_for_room(database: Database, quotas: Quotas) -> None:
    key = created(database, "a", 10)
    first = await quotas.admit(key, costing(8))
    queued = asyncio.create_task(quotas.queue(key, 8, lambda _: "added"))
    await asyncio.sleep(0.05)
    assert not queued.done()
    first.close()
    await quotas.give_back()
    assert await queued == "added"


def add_lines(database: Database, key: Key, count: int, **columns: Any) -> None:  # noqa: ANN401
    row = {"tenant": "t", "key_id": key.id, "endpoint": "/v1/completions", "model": "m", "body_bytes": 2, "line": 0}
    row |= {"input_tokens": 10, "output_tokens": 20, "prefix": 0, "arrived_s": 0.0, "deadline_s": 2 * NOW_S}
    row |= {"state": "queued", "expected_picousd": 4, **columns}
    database.submit(lambda connection: requests.add(connection, [row] * count)).result()


async def claim(quotas: Quotas, key: Key) -> list[Reservation]:
    """Claim up to five queued calls."""

    def all_queued(connection: Any) -> list[requests.ClaimedRequest]:  # noqa: ANN401
        work = backlog.queued_work(connection, now_s=NOW_S)
        return [
            request for item in work[:5] for request in requests.claim(connection, "me", item, limit=1, now_s=NOW_S)
        ]

    return [reservation for _, reservation in await quotas.claim(key.id, all_queued)]


async def test_claim_stops_at_the_budget(database: Database, quotas: Quotas) -> None:
    """Of calls that may cost 4 each, two fit into 10; when one ends, another may start."""
    key = created(database, "a", 10)
    add_lines(database, key, 3)
    woken: list[int] = []
    quotas.unblocked.append(lambda: woken.append(1))
    first, second = await claim(quotas, key)
    assert quotas.blocked() == {"a"}
    first.close()
    assert (quotas.blocked(), woken) == (frozenset(), [1])
    (third,) = await claim(quotas, key)
    second.close()
    third.close()
    assert await claim(quotas, key) == []


async def test_claim_without_limits_reserves_nothing(database: Database, quotas: Quotas) -> None:
    key = created(database, "a")
    add_lines(database, key, 2)
    assert await claim(quotas, key) == [UNLIMITED, UNLIMITED]


async def test_unclaimed_requests_keep_their_attempts(database: Database, quotas: Quotas) -> None:
    key = created(database, "a", 10)
    add_lines(database, key, 5)
    held = await claim(quotas, key)
    assert len(held) == 2
    work = database.read_now(lambda connection: backlog.queued_work(connection, now_s=NOW_S))
    assert len(work) == 3
    again = database.submit(lambda connection: requests.claim(connection, "me", work[0], limit=1, now_s=NOW_S))
    assert [request.attempt for request in again.result()] == [1]


async def test_provider_batch_leases_for_itself(database: Database, quotas: Quotas) -> None:
    key = created(database, "a", 10)
    add_lines(database, key, 3)

    def take(connection: Any) -> int:  # noqa: ANN401
        work = backlog.queued_work(connection, now_s=NOW_S)
        claimed = [request for item in work for request in requests.claim(connection, "c1", item, limit=1, now_s=NOW_S)]
        return quotas.claim_for_provider(connection, "c1", claimed)

    assert database.submit(take).result() == 2
    (state,) = database.read_now(lambda connection: budgets.states(connection, ["a"], now_s=NOW_S, holder="c1"))
    assert state.mine_picousd == 8
