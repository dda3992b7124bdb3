"""Who calls, and how much they may."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from meritorder.gateway.store import keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.errors import ApiError
from meritorder.units import SECONDS_PER_MINUTE

ANYONE: Final = Key(id="anyone", name="no key needed", tenant="default", admin=True)
_BEARER: Final = b"bearer "
_KEY_PREFIX: Final = "sk-mo-"
_ID_BYTES: Final = 16
_LOOK_AGAIN_S: Final = 0.2  # at most so often because of keys that nobody knows


@dataclass(slots=True)
class _Meter:
    """What a key has used: two buckets that fill again by the minute, and its budget."""

    requests: float
    tokens: float
    filled_s: float
    spent_picousd: int = 0


@dataclass(slots=True)
class Authenticator:
    """The keys that are valid, read from the store again and again, and what each has used.

    Args:
        database: Where they are kept.
        required: Whether a call needs a key.
        now_s: The clock.
    """

    database: Database
    required: bool
    now_s: Callable[[], float]
    _looked_s: float = float("-inf")
    _by_digest: dict[bytes, Key] = field(default_factory=dict)
    _seen: dict[bytes, Key] = field(default_factory=dict)
    _meters: dict[str, _Meter] = field(default_factory=dict)

    async def refresh(self) -> None:
        """Read the keys from the store."""
        self._by_digest = await self.database.read_soon(keys.valid)
        self._seen.clear()

    async def read_spending(self) -> None:
        """Read from the ledger what each key has spent."""
        spent = await self.database.read(keys.spent_picousd)
        for key in self._by_digest.values():
            self._meter(key).spent_picousd = spent.get(key.id, 0)

    async def whose(self, authorization: bytes | None) -> Key:
        """Return the key of a call, by its Authorization header. A key that was just made is looked up in the store.

        Raises:
            ApiError: It has none, or one that is not valid.
            StoreUnavailableError: It is not known, and cannot be looked up.
        """
        key = self._seen.get(authorization or b"")
        if key is not None:
            return key
        try:
            return self._known(authorization)
        except ApiError:
            now_s = self.now_s()
            if authorization is None or 0 <= now_s - self._looked_s < _LOOK_AGAIN_S:
                raise
            self._looked_s = now_s
        await self.refresh()
        return self._known(authorization)

    def _known(self, authorization: bytes | None) -> Key:
        if authorization is None:
            if not self.required:
                return ANYONE
            raise ApiError(
                401,
                "You didn't provide an API key. Provide it in an Authorization header using Bearer auth "
                "(i.e. Authorization: Bearer YOUR_KEY).",
            )
        return self._look_up(authorization)

    def admit(self, key: Key, tokens: int) -> None:
        """Count a call against the rates and the budget of its key.

        Raises:
            ApiError: One of them is used up; says when to come back.
        """
        if key.requests_per_minute is None and key.tokens_per_minute is None and key.budget_picousd is None:
            return
        meter = self._meter(key)
        if key.budget_picousd is not None and meter.spent_picousd >= key.budget_picousd:
            raise ApiError(
                429, "The budget of this key is used up.", kind="insufficient_quota", code="insufficient_quota"
            )
        self._fill(key, meter)
        for limit, left, wanted in (
            (key.requests_per_minute, meter.requests, 1),
            (key.tokens_per_minute, meter.tokens, min(tokens, key.tokens_per_minute or 0)),
        ):
            if limit is not None and left < wanted:
                wait_s = (wanted - left) / limit * SECONDS_PER_MINUTE
                raise ApiError(
                    429,
                    f"Rate limit reached for this key: {limit} a minute. Please try again in {wait_s:.3g}s.",
                    code="rate_limit_exceeded",
                    headers=(("retry-after", str(max(1, round(wait_s)))),),
                )
        meter.requests -= 1
        meter.tokens -= tokens

    def spend(self, key_id: str | None, picousd: int | None) -> None:
        """Count what a call has cost."""
        meter = self._meters.get(key_id or "")
        if meter is not None and picousd:
            meter.spent_picousd += picousd

    def by_id(self, key_id: str | None) -> Key | None:
        """Return a valid key by its public name."""
        return next((key for key in self._by_digest.values() if key.id == key_id), None)

    def _look_up(self, authorization: bytes) -> Key:
        secret = authorization[len(_BEARER) :] if authorization[: len(_BEARER)].lower() == _BEARER else authorization
        key = self._by_digest.get(keys.digest_of(secret.decode("latin-1")))
        if key is None:
            if not self.required:
                return ANYONE
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        self._seen[authorization] = key  # only valid keys: there are few
        return key

    def _meter(self, key: Key) -> _Meter:
        meter = self._meters.get(key.id)
        if meter is None:
            meter = _Meter(
                requests=float(key.requests_per_minute or 0),
                tokens=float(key.tokens_per_minute or 0),
                filled_s=self.now_s(),
            )
            self._meters[key.id] = meter
        return meter

    def _fill(self, key: Key, meter: _Meter) -> None:
        now_s = self.now_s()
        share = max(0.0, now_s - meter.filled_s) / SECONDS_PER_MINUTE
        meter.filled_s = now_s
        if key.requests_per_minute is not None:
            meter.requests = min(key.requests_per_minute, meter.requests + share * key.requests_per_minute)
        if key.tokens_per_minute is not None:
            meter.tokens = min(key.tokens_per_minute, meter.tokens + share * key.tokens_per_minute)


def new_id(prefix: str) -> str:
    """Return an id that cannot be guessed."""
    return prefix + secrets.token_hex(_ID_BYTES)


def new_secret() -> str:
    """Return a new key, to be shown once."""
    return _KEY_PREFIX + secrets.token_urlsafe(32)
