import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.stores import migrated_store

from meritorder.gateway.state.auth import ANONYMOUS, Authenticator, new_id, new_secret
from meritorder.gateway.store import keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.errors import ApiError


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with migrated_store("sqlite", tmp_path) as store:
        yield store


def created(database: Database, secret: str, **limits: Any) -> Key:  # noqa: ANN401
    key = Key(id=f"key_{secret}", name=secret, tenant="t", **limits)
    database.submit(lambda connection: keys.add(connection, key, secret, now_s=0.0)).result()
    return key


def test_new_key_is_looked_up(database: Database) -> None:
    authenticator = Authenticator(database, required=True)
    key = created(database, "secret")
    for header in (b"Bearer secret", b"bearer secret", b"secret"):
        assert asyncio.run(authenticator.authenticate(header, "POST")) == key


def test_unknown_keys_are_refused(database: Database) -> None:
    authenticator = Authenticator(database, required=True)
    for header in (None, b"Bearer wrong", b""):
        with pytest.raises(ApiError) as caught:
            asyncio.run(authenticator.authenticate(header, "POST"))
        assert caught.value.status == 401


def test_unknown_keys_share_lookups(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls have unknown keys at one time, the store is read for all of them together."""
    authenticator = Authenticator(database, required=True)
    reads = _count_reads(monkeypatch)

    async def call_all() -> list[object]:
        calls = (authenticator.authenticate(f"Bearer wrong {number}".encode(), "POST") for number in range(50))
        return await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(outcome, ApiError) for outcome in asyncio.run(call_all()))
    assert len(reads) <= 2


def test_parallel_calls_with_a_new_key_are_accepted(database: Database) -> None:
    authenticator = Authenticator(database, required=True)
    created(database, "secret")

    async def call_all() -> set[str]:
        return {
            key.name
            for key in await asyncio.gather(*(authenticator.authenticate(b"Bearer secret", "POST") for _ in "12345"))
        }

    assert asyncio.run(call_all()) == {"secret"}


def test_key_created_after_a_lookup_is_accepted(database: Database) -> None:
    """It is looked up again, a moment later."""
    authenticator = Authenticator(database, required=True)
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(b"Bearer secret", "POST"))
    created(database, "secret")
    assert asyncio.run(authenticator.authenticate(b"Bearer secret", "POST")).name == "secret"


def test_key_created_during_a_lookup_is_accepted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = Authenticator(database, required=True)
    refresh, has_read = Authenticator.refresh, asyncio.Event()

    async def read_slowly(self: Authenticator) -> None:
        await refresh(self)
        has_read.set()
        await asyncio.sleep(0.05)

    monkeypatch.setattr(Authenticator, "refresh", read_slowly)

    async def call_twice() -> str:
        early = asyncio.create_task(authenticator.authenticate(b"Bearer other", "POST"))
        await has_read.wait()
        await asyncio.to_thread(created, database, "secret")
        late = await authenticator.authenticate(b"Bearer secret", "POST")
        with pytest.raises(ApiError):
            await early
        return late.name

    assert asyncio.run(call_twice()) == "secret"


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    reads: list[None] = []
    refresh = Authenticator.refresh

    async def count(self: Authenticator) -> None:
        reads.append(None)
        await refresh(self)

    monkeypatch.setattr(Authenticator, "refresh", count)
    return reads


def test_missing_keys_cause_no_lookups(database: Database) -> None:
    """A call without a header does not use up the lookup of the next call."""
    authenticator = Authenticator(database, required=True)
    created(database, "secret")
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(None, "POST"))
    assert asyncio.run(authenticator.authenticate(b"Bearer secret", "POST")).name == "secret"


def test_known_keys_are_hashed_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = Authenticator(database, required=True)
    key = created(database, "secret")
    asyncio.run(authenticator.authenticate(b"Bearer secret", "POST"))
    monkeypatch.setattr(keys, "digest", None)
    assert asyncio.run(authenticator.authenticate(b"Bearer secret", "POST")) == key


def test_revoked_key_is_refused(database: Database) -> None:
    authenticator = Authenticator(database, required=True)
    key = created(database, "secret")
    asyncio.run(authenticator.authenticate(b"Bearer secret", "POST"))
    database.submit(lambda connection: keys.revoke(connection, key.id, now_s=1.0)).result()
    asyncio.run(authenticator.refresh())
    with pytest.raises(ApiError):
        asyncio.run(authenticator.authenticate(b"Bearer secret", "POST"))


def test_keys_are_optional_without_requirement(database: Database) -> None:
    authenticator = Authenticator(database, required=False)
    assert asyncio.run(authenticator.authenticate(None, "POST")) is ANONYMOUS
    assert asyncio.run(authenticator.authenticate(b"Bearer any", "POST")) is ANONYMOUS
    assert ANONYMOUS.admin, "without keys anyone may see metrics and status"


def test_ids_and_secrets_are_long() -> None:
    """128 random bits are 32 hexadecimal digits; 256 bits are 43 characters of base 64."""
    first, second = new_id("key_"), new_id("key_")
    assert first != second
    assert len(first) == len("key_") + 32
    assert len(new_secret()) == len("sk-mo-") + 43


def test_read_only_keys_only_read(database: Database) -> None:
    authenticator = Authenticator(database, required=True)
    key = created(database, "secret", read_only=True)
    assert asyncio.run(authenticator.authenticate(b"Bearer secret", "GET")) == key
    for method in ("POST", "DELETE", "PUT"):
        with pytest.raises(ApiError) as caught:
            asyncio.run(authenticator.authenticate(b"Bearer secret", method))
        assert (caught.value.status, caught.value.code) == (403, "read_only_key")
