"""Authentication of calls by API key, with rate limits and budgets."""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from meritorder.gateway.store import keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.ledger import LedgerEntry
from meritorder.gateway.wire.errors import ApiError
from meritorder.units import SECONDS_PER_MINUTE

ANONYMOUS: Final = Key(id="anyone", name="no key needed", tenant="default", admin=True)
_BEARER: Final = b"bearer "
_KEY_PREFIX: Final = "sk-mo-"
_ID_BYTES: Final = 16
_MIN_REFRESH_S: Final = 0.2  # between refreshes for unknown keys


@dataclass(slots=True)
class _KeyUsage:
    """The usage of a key: two token buckets that refill over a minute, and its spending."""

    requests: float
    tokens: float
    refilled_s: float
    spent_picousd: int = 0


@dataclass(slots=True)
class Authenticator:
    """The valid keys, refreshed from the store, and the usage of each.

    Args:
        database: The store.
        required: Whether calls need a key.
        now_s: The clock.
    """

    database: Database
    required: bool
    now_s: Callable[[], float]
    _refreshed_s: float = float("-inf")
    _by_digest: dict[bytes, Key] = field(default_factory=dict)
    _by_header: dict[bytes, Key] = field(default_factory=dict)
    _usages: dict[str, _KeyUsage] = field(default_factory=dict)

    async def refresh(self) -> None:
        """Read the keys from the store."""
        self._by_digest = await self.database.read_soon(keys.valid)
        self._by_header.clear()

    async def load_spending(self) -> None:
        """Load the spending of each key from the ledger."""
        spent = await self.database.read(keys.spent_picousd)
        for key in self._by_digest.values():
            self._usage_of(key).spent_picousd = spent.get(key.id, 0)

    async def authenticate(self, authorization: bytes | None) -> Key:
        """Return the key in an Authorization header; an unknown key may be new, and is looked up in the store.

        Raises:
            ApiError: The header is missing, or its key is not valid.
            StoreUnavailableError: The key is unknown, and the store cannot be read.
        """
        key = self._by_header.get(authorization or b"")
        if key is not None:
            return key
        try:
            return self._check(authorization)
        except ApiError:
            now_s = self.now_s()
            if authorization is None or 0 <= now_s - self._refreshed_s < _MIN_REFRESH_S:
                raise
            self._refreshed_s = now_s
        await self.refresh()
        return self._check(authorization)

    def _check(self, authorization: bytes | None) -> Key:
        if authorization is None:
            if not self.required:
                return ANONYMOUS
            raise ApiError(
                401,
                "You didn't provide an API key. Provide it in an Authorization header using Bearer auth "
                "(i.e. Authorization: Bearer YOUR_KEY).",
            )
        return self._look_up(authorization)

    def admit(self, key: Key, tokens: int) -> None:
        """Count a call against the rate limits and the budget of its key.

        Raises:
            ApiError: A limit is reached; tells when to retry.
        """
        if key.requests_per_minute is None and key.tokens_per_minute is None and key.budget_picousd is None:
            return
        usage = self._usage_of(key)
        if key.budget_picousd is not None and usage.spent_picousd >= key.budget_picousd:
            raise ApiError(
                429, "The budget of this key is exhausted.", kind="insufficient_quota", code="insufficient_quota"
            )
        self._refill(key, usage)
        for limit, available, needed in (
            (key.requests_per_minute, usage.requests, 1),
            (key.tokens_per_minute, usage.tokens, min(tokens, _bucket_size(key.tokens_per_minute))),
        ):
            if limit is not None and available < needed:
                wait_s = (needed - available) / limit * SECONDS_PER_MINUTE
                raise ApiError(
                    429,
                    f"Rate limit reached for this key: {limit} a minute. Please try again in {wait_s:.3g}s.",
                    code="rate_limit_exceeded",
                    headers=(("retry-after", str(max(1, round(wait_s)))),),
                )
        usage.requests -= 1
        usage.tokens -= tokens

    def observe(self, entry: LedgerEntry) -> None:
        """Count the cost of a request as spending of its key."""
        usage = self._usages.get(entry.key_id or "")
        if usage is not None and entry.cost_picousd:
            usage.spent_picousd += entry.cost_picousd

    def _look_up(self, authorization: bytes) -> Key:
        secret = authorization[len(_BEARER) :] if authorization[: len(_BEARER)].lower() == _BEARER else authorization
        key = self._by_digest.get(keys.digest(secret.decode("latin-1")))
        if key is None:
            if not self.required:
                return ANONYMOUS
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        self._by_header[authorization] = key  # only valid keys, so that it stays small
        return key

    def _usage_of(self, key: Key) -> _KeyUsage:
        usage = self._usages.get(key.id)
        if usage is None:
            usage = _KeyUsage(
                requests=_bucket_size(key.requests_per_minute),
                tokens=_bucket_size(key.tokens_per_minute),
                refilled_s=self.now_s(),
            )
            self._usages[key.id] = usage
        return usage

    def _refill(self, key: Key, usage: _KeyUsage) -> None:
        now_s = self.now_s()
        share = max(0.0, now_s - usage.refilled_s) / SECONDS_PER_MINUTE
        usage.refilled_s = now_s
        if key.requests_per_minute is not None:
            usage.requests = min(key.requests_per_minute, usage.requests + share * key.requests_per_minute)
        if key.tokens_per_minute is not None:
            usage.tokens = min(key.tokens_per_minute, usage.tokens + share * key.tokens_per_minute)


def _bucket_size(per_minute: int | None) -> float:
    return math.inf if per_minute is None else per_minute


def new_id(prefix: str) -> str:
    """Return a random id that cannot be guessed."""
    return prefix + secrets.token_hex(_ID_BYTES)


def new_secret() -> str:
    """Return the secret of a new key."""
    return _KEY_PREFIX + secrets.token_urlsafe(32)
