"""Authentication of calls by API key."""

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from meritorder.gateway.store import keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key, Keys
from meritorder.gateway.wire.errors import ApiError

ANONYMOUS: Final = Key(id="anyone", name="no key needed", tenant="default", admin=True)
_BEARER: Final = b"bearer "
_KEY_PREFIX: Final = "sk-mo-"
_ID_BYTES: Final = 16
_READING: Final = frozenset({"GET", "HEAD"})
_MIN_REFRESH_S: Final = 0.2  # between refreshes for unknown keys


@dataclass(slots=True)
class Authenticator:
    """The keys, refreshed from the store.

    Args:
        database: The store.
        required: Whether calls need a key.
    """

    database: Database
    required: bool
    _lookup: "asyncio.Task[None] | None" = None
    _looked_up_s: float = float("-inf")
    _keys: Keys = field(default_factory=lambda: Keys(by_digest={}, by_id={}))
    _by_header: dict[bytes, Key] = field(default_factory=dict)

    async def refresh(self) -> None:
        """Read the keys from the store."""
        self._keys = await self.database.read_soon(keys.read)
        self._by_header.clear()

    def find(self, key_id: str | None) -> Key | None:
        """Return a key by its id, also a revoked one, of which work may be queued."""
        return None if key_id is None else self._keys.by_id.get(key_id)

    @property
    def has_soft_limits(self) -> bool:
        """Whether a budget of any key has a soft limit."""
        return any(budget.soft_share is not None for key in self._keys.by_id.values() for budget in key.budgets)

    async def authenticate(self, authorization: bytes | None, method: str) -> Key:
        """Return the key in an Authorization header, if it permits requests with the HTTP method.

        Raises:
            ApiError: The header is missing, or its key is not valid or only reads.
            StoreUnavailableError: The key is unknown, and the store cannot be read.
        """
        key = await self._find_key(authorization)
        if key.read_only and method not in _READING:
            raise ApiError(403, "This key is read-only.", code="read_only_key")
        return key

    async def _find_key(self, authorization: bytes | None) -> Key:
        """Return the key in an Authorization header; an unknown key may be new, and is looked up in the store."""
        key = self._by_header.get(authorization or b"")
        if key is not None:
            return key
        try:
            return self._check(authorization)
        except ApiError:
            if authorization is None:
                raise
        running = self._lookup
        if running is not None and not running.done():
            await asyncio.shield(running)
            with contextlib.suppress(ApiError):  # it may have begun before the key was created
                return self._check(authorization)
        lookup = self._lookup
        if lookup is None or lookup is running:
            lookup = self._lookup = asyncio.create_task(self._look_up_keys())
        await asyncio.shield(lookup)
        return self._check(authorization)

    async def _look_up_keys(self) -> None:
        """Read the keys from the store for all calls that wait for it, a few times a second at most."""
        await asyncio.sleep(max(0.0, self._looked_up_s + _MIN_REFRESH_S - time.monotonic()))
        self._looked_up_s = time.monotonic()
        await self.refresh()

    @property
    def has_keys(self) -> bool:
        """Whether there are keys that callers can use."""
        return bool(self._keys.by_digest)

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

    def _look_up(self, authorization: bytes) -> Key:
        secret = authorization[len(_BEARER) :] if authorization[: len(_BEARER)].lower() == _BEARER else authorization
        key = self._keys.by_digest.get(keys.digest(secret.decode("latin-1")))
        if key is None:
            if not self.required:
                return ANONYMOUS
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        self._by_header[authorization] = key  # only valid keys, so that it stays small
        return key


def new_id(prefix: str) -> str:
    """Return a random id that cannot be guessed."""
    return prefix + secrets.token_hex(_ID_BYTES)


def new_secret() -> str:
    """Return the secret of a new key."""
    return _KEY_PREFIX + secrets.token_urlsafe(32)
