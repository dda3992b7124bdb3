import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meritorder.gateway.state.auth import ANONYMOUS, Authenticator
from meritorder.gateway.store import keys, migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.ledger import LedgerEntry
from meritorder.gateway.wire.errors import ApiError


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/gateway.db")
    migrations.upgrade(database)
    yield database
    database.close()


def created(database: Database, secret: str, **limits: Any) -> Key:  # noqa: ANN401
    key = Key(id=f"key_{secret}", name=secret, tenant="t", **limits)
    database.submit(lambda connection: keys.add(connection, key, secret, now_s=0.0)).result()
    return key


def refusal(authenticator: Authenticator, key: Key, tokens: int = 0) -> ApiError | None:
    try:
        authenticator.admit(key, tokens)
    except ApiError as error:
        return error
    return None


def test_new_key_is_looked_up(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret")
    for header in (b"Bearer secret", b"bearer secret", b"secret"):
        assert asyncio.run(authenticator.authenticate(header)) == key


def test_unknown_keys_are_refused(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    for header in (None, b"Bearer wrong", b""):
        with pytest.raises(ApiError) as caught:
            asyncio.run(authenticator.authenticate(header))
        assert caught.value.status == 401


def test_lookups_are_rate_limited(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(b"Bearer secret"))
    created(database, "secret")
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(b"Bearer secret"))
    clock.now_s += 0.3
    assert asyncio.run(authenticator.authenticate(b"Bearer secret")).name == "secret"


def test_revoked_key_is_refused(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret")
    asyncio.run(authenticator.authenticate(b"Bearer secret"))
    database.submit(lambda connection: keys.revoke(connection, key.id, now_s=1.0)).result()
    asyncio.run(authenticator.refresh())
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(b"Bearer secret"))


def test_keys_are_optional_without_requirement(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=False, now_s=clock)
    assert asyncio.run(authenticator.authenticate(None)) is ANONYMOUS
    assert asyncio.run(authenticator.authenticate(b"Bearer any")) is ANONYMOUS


def test_rates_refill_over_a_minute(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret", requests_per_minute=2, tokens_per_minute=100)
    assert refusal(authenticator, key, 60) is None
    tokens = refusal(authenticator, key, 60)
    assert tokens is not None
    assert (tokens.status, tokens.headers) == (429, (("retry-after", "12"),))  # 20 of 100 tokens: 12 s
    clock.now_s += 12
    assert refusal(authenticator, key, 60) is None
    clock.now_s += 60
    assert refusal(authenticator, key, 1000) is None, "one call may use a whole minute"
    clock.now_s += 3600
    assert [refusal(authenticator, key) is None for _ in range(3)] == [True, True, False]


def test_budget_counts_ledger_and_new_entries(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret", budget_picousd=100)
    asyncio.run(authenticator.refresh())
    asyncio.run(authenticator.load_spending())
    assert refusal(authenticator, key) is None
    authenticator.observe(entry(key, 99))
    assert refusal(authenticator, key) is None
    authenticator.observe(entry(key, 1))
    exhausted = refusal(authenticator, key)
    assert exhausted is not None
    assert exhausted.code == "insufficient_quota"


def entry(key: Key, cost_picousd: int) -> LedgerEntry:
    return LedgerEntry(
        request_id="req_1",
        arrived_s=0.0,
        started_s=0.0,
        ended_s=1.0,
        ttft_s=None,
        lane="realtime",
        tenant=key.tenant,
        key_id=key.id,
        model="m",
        endpoint="/v1/completions",
        venue="v",
        status_code=200,
        input_tokens=1,
        output_tokens=1,
        counted=True,
        cost_picousd=cost_picousd,
    )
