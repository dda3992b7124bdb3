import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meritorder.gateway.state.auth import ANONYMOUS, Authenticator, new_id, new_secret
from meritorder.gateway.store import keys, ledger, migrations
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


def test_missing_keys_cause_no_lookups(database: Database, clock: Clock) -> None:
    """A call without a header does not use up the lookup of the next call."""
    authenticator = Authenticator(database, required=True, now_s=clock)
    created(database, "secret")
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(None))
    assert asyncio.run(authenticator.authenticate(b"Bearer secret")).name == "secret"


@pytest.mark.parametrize(("later_s", "found"), [(0.1, False), (0.2, True), (-0.5, True)])
def test_lookups_are_fifth_of_second_apart(database: Database, clock: Clock, later_s: float, *, found: bool) -> None:
    """A clock that was set back must not block lookups until it has caught up."""
    authenticator = Authenticator(database, required=True, now_s=clock)
    clock.now_s = 0.0
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(b"Bearer secret"))
    created(database, "secret")
    clock.now_s = later_s
    if found:
        assert asyncio.run(authenticator.authenticate(b"Bearer secret")).name == "secret"
    else:
        with pytest.raises(ApiError):
            asyncio.run(authenticator.authenticate(b"Bearer secret"))


def test_known_keys_are_hashed_once(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret")
    asyncio.run(authenticator.authenticate(b"Bearer secret"))
    monkeypatch.setattr(keys, "digest", None)
    assert asyncio.run(authenticator.authenticate(b"Bearer secret")) == key


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
    assert ANONYMOUS.admin, "without keys anyone may see metrics and status"


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


def test_request_limit_without_token_limit(database: Database, clock: Clock) -> None:
    """At 120 a minute the next call is due after half a second, which the header rounds up to one."""
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret", requests_per_minute=120)
    assert [refusal(authenticator, key, 10**6) for _ in range(120)] == [None] * 120
    refused = refusal(authenticator, key)
    assert refused is not None
    assert refused.headers == (("retry-after", "1"),)
    assert "try again in 0.5s" in str(refused)
    clock.now_s += 0.5
    assert refusal(authenticator, key) is None
    assert refusal(authenticator, key) is not None


def test_token_limit_without_request_limit(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret", tokens_per_minute=60)
    assert [refusal(authenticator, key, 30) for _ in range(2)] == [None] * 2, "the last token may be used"
    refused = refusal(authenticator, key, 30)
    assert refused is not None
    assert refused.headers == (("retry-after", "30"),)
    clock.now_s -= 5
    refused = refusal(authenticator, key, 30)
    assert refused is not None
    assert refused.headers == (("retry-after", "30"),), "a clock that was set back takes no tokens away"


def test_limited_keys_do_not_share(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    first, second = (created(database, name, requests_per_minute=1) for name in ("first", "second"))
    assert refusal(authenticator, first) is None
    assert refusal(authenticator, second) is None
    assert refusal(authenticator, first) is not None


@pytest.mark.parametrize("loaded", [True, False])
def test_budget_of_one_picodollar(database: Database, clock: Clock, *, loaded: bool) -> None:
    """The smallest budget is open before anything is spent, and exhausted by the smallest cost."""
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret", budget_picousd=1)
    if loaded:
        asyncio.run(authenticator.refresh())
        asyncio.run(authenticator.load_spending())
    assert refusal(authenticator, key) is None
    other = dataclasses.replace(key, id="key_other")
    for free in (entry(key, 0), entry(key, None), entry(other, 5), msgspec.structs.replace(entry(key, 5), key_id=None)):
        authenticator.observe(free)
    assert refusal(authenticator, key) is None
    authenticator.observe(entry(key, 1))
    assert refusal(authenticator, key) is not None


def test_budget_includes_past_spending(database: Database, clock: Clock) -> None:
    authenticator = Authenticator(database, required=True, now_s=clock)
    key = created(database, "secret", budget_picousd=100)
    spent = [entry(key, 60), msgspec.structs.replace(entry(key, 39), request_id="req_2")]
    database.submit(lambda connection: ledger.add(connection, spent)).result()
    asyncio.run(authenticator.refresh())
    asyncio.run(authenticator.load_spending())
    assert refusal(authenticator, key) is None
    authenticator.observe(entry(key, 1))
    assert refusal(authenticator, key) is not None


def test_ids_and_secrets_are_long() -> None:
    """128 random bits are 32 hexadecimal digits; 256 bits are 43 characters of base 64."""
    first, second = new_id("key_"), new_id("key_")
    assert first != second
    assert len(first) == len("key_") + 32
    assert len(new_secret()) == len("sk-mo-") + 43


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
    assert (exhausted.status, exhausted.code) == (429, "insufficient_quota")


def entry(key: Key, cost_picousd: int | None) -> LedgerEntry:
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
