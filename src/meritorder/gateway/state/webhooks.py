"""Tells of batches and background responses that ended, signed as OpenAI signs its webhooks.

Events are written in the transaction of what they tell of, and sent until they are taken: at least once. Only addresses
of the configuration are ever called.

Source: Standard Webhooks 1.0, https://www.standardwebhooks.com, which OpenAI's clients verify; 2026-10.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec
from sqlalchemy import Connection

from meritorder.errors import ConfigError
from meritorder.gateway.config import WebhookTable, read_secret
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.store import webhooks
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.webhooks import Event

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how secrets begin, not one of them
_LOOK_S: Final = 1.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_LEASE_S: Final = 60.0
_FIRST_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 3600.0
_ATTEMPTS: Final = 80  # about three days
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    url: str
    secret: bytes
    tenant: str | None


class Webhooks:
    """The addresses of a configuration.

    Args:
        tables: As configured.
        now_s: The clock.
        new_id: Makes ids.

    Raises:
        ConfigError: An address has no secret, or one that is none.
    """

    def __init__(
        self, tables: Sequence[WebhookTable], now_s: Callable[[], float], new_id: Callable[[str], str]
    ) -> None:
        self._addresses = [_address(table) for table in tables]
        self._now_s = now_s
        self._new_id = new_id

    def announce(self, connection: Connection, tenant: str, kind: str, item_id: str) -> None:
        """Note an event, such as `batch.completed`, for every address that wants the tenant's."""
        now_s = self._now_s()
        for address in self._addresses:
            if address.tenant in {None, tenant}:
                event_id = self._new_id("evt_")
                content = {
                    "id": event_id,
                    "object": "event",
                    "created_at": int(now_s),
                    "type": kind,
                    "data": {"id": item_id},
                }
                event = Event(id=event_id, url=address.url, body=msgspec.json.encode(content))
                webhooks.add(connection, event, now_s=now_s)

    async def keep_sending(self, database: Database) -> None:
        """Send what is due, until cancelled."""
        if not self._addresses:
            return
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                with contextlib.suppress(StoreUnavailableError):
                    await self._send_due(database, session)
                await asyncio.sleep(_LOOK_S)

    async def _send_due(self, database: Database, session: aiohttp.ClientSession) -> None:
        now_s = self._now_s()
        due = await database.write(lambda connection: webhooks.take(connection, now_s=now_s, again_s=now_s + _LEASE_S))
        await asyncio.gather(*(self._send(database, session, event) for event in due))

    async def _send(self, database: Database, session: aiohttp.ClientSession, event: Event) -> None:
        address = next((each for each in self._addresses if each.url == event.url), None)
        taken = address is not None and await self._post(session, event, address)
        if taken or address is None or event.attempt >= _ATTEMPTS:
            await database.write(lambda connection: webhooks.drop(connection, event.id))
            return
        wait_s = min(_FIRST_WAIT_S * 2.0 ** min(event.attempt - 1, 20), _LONGEST_WAIT_S)
        not_before_s = self._now_s() + wait_s
        await database.write(lambda connection: webhooks.postpone(connection, event.id, not_before_s=not_before_s))

    async def _post(self, session: aiohttp.ClientSession, event: Event, address: _Address) -> bool:
        headers = {"content-type": "application/json", **signed(event, address.secret, int(self._now_s()))}
        try:
            async with session.post(event.url, data=event.body, headers=headers, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return True
                _log.warning("webhook %s answered %d", event.url, answer.status)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("webhook %s: %s", event.url, type(error).__name__)
        return False


def signed(event: Event, key: bytes, at_s: int) -> dict[str, str]:
    """Return the headers that prove where an event comes from: `v1,base64(HMAC-SHA256(key, id.time.body))`."""
    digest = hmac.new(key, f"{event.id}.{at_s}.".encode() + event.body, hashlib.sha256).digest()
    return {
        "webhook-id": event.id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _address(table: WebhookTable) -> _Address:
    where = f"webhook {table.url}"
    said = read_secret(table.secret_env, table.secret_file, where=where)
    if said is None:
        raise ConfigError("has no secret", where=where, fix="name it with secret_env or secret_file")
    try:
        key = base64.b64decode(said.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigError("its secret is not whsec_ and base64", where=where)
    return _Address(url=table.url, secret=key, tenant=table.tenant)
