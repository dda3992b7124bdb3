import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meritorder.gateway.state.auth import ANONYMOUS, Authenticator, new_id, new_secret
from meritorder.gateway.store import keys, migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
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


def test_ids_and_secrets_are_long() -> None:
    """128 random bits are 32 hexadecimal digits; 256 bits are 43 characters of base 64."""
    first, second = new_id("key_"), new_id("key_")
    assert first != second
    assert len(first) == len("key_") + 32
    assert len(new_secret()) == len("sk-mo-") + 43
