"""Webhooks: events of finished batches and background responses, and alerts, signed as OpenAI signs them.

Events are stored in the transaction that they report and delivered at least once. Only URLs of the configuration are
called.

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
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from sqlalchemy import Connection

from meritorder.errors import ConfigError
from meritorder.gateway.config import WebhookTable, read_secret
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.store import webhooks
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.store.webhooks import Event
from meritorder.gateway.wire import slack
from meritorder.gateway.wire.quotas import event_fields

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, not a secret
_POLL_S: Final = 1.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_LEASE_S: Final = 60.0
_MIN_BACKOFF_S: Final = 5.0
_MAX_BACKOFF_S: Final = 3600.0
_MAX_ATTEMPTS: Final = 80  # about three days
_AT_ONCE: Final = 8  # deliveries to one receiver
_MAX_PAUSE_S: Final = 60.0  # of a receiver that fails
_QUIET_S: Final = 600.0  # an alert that was not seen for so long is news
_AGAIN_S: Final = 86_400.0  # an alert that goes on is sent again
_MAX_SUBJECT: Final = 256
_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Line:
    """The deliveries to one receiver: a slow or failing one delays no other.

    Args:
        secret: What its events are signed with; empty if they are not.
        running: Deliveries that have not ended.
        failures: How many have failed since the last that succeeded.
        paused_until_s: When the next may begin, by the clock of the event loop.
    """

    secret: bytes
    running: int = 0
    failures: int = 0
    paused_until_s: float = float("-inf")

    def free(self, now_s: float) -> int:
        """Return how many deliveries may begin: of a receiver that failed, one at a time."""
        return 0 if now_s < self.paused_until_s else max(0, (1 if self.failures else _AT_ONCE) - self.running)

    def end(self, now_s: float, *, delivered: bool) -> None:
        """Record how a delivery has ended."""
        self.running -= 1
        self.failures = 0 if delivered else self.failures + 1
        if self.failures:
            pause_s = min(_POLL_S * 2.0 ** min(self.failures, 20), _MAX_PAUSE_S)
            self.paused_until_s = now_s + pause_s


class Outbox:
    """Queues events for the receivers of a configuration; a gateway delivers them.

    Args:
        tables: The `[[webhook]]` tables.
        now_s: Returns the current epoch seconds.
        new_id: Returns a random id with the given prefix.
    """

    def __init__(
        self, tables: Sequence[WebhookTable], now_s: Callable[[], float], new_id: Callable[[str], str]
    ) -> None:
        self._tables = [table for table in tables if table.target]
        self._now_s = now_s
        self._new_id = new_id

    @property
    def has_receivers(self) -> bool:
        """Whether events go anywhere."""
        return bool(self._tables)

    def announce(
        self, connection: Connection, tenant: str | None, kind: str, item_id: str, /, **content: object
    ) -> None:
        """Queue an event, such as `batch.completed`, for every receiver of the tenant's events, or of all if None."""
        self._queue(connection, self._of_tenant(tenant), kind, {"id": item_id, **content})

    def announce_budget(self, connection: Connection, state: BudgetState) -> None:
        """Queue the event that the soft limit of a budget is reached, for its receiver or those of its tenant."""
        budget = state.budget
        receivers = self._of_tenant(budget.tenant)
        if budget.webhook:
            receivers = [table for table in self._tables if table.target == budget.webhook]
        self._queue(connection, receivers, "budget.soft_limit_reached", {"id": budget.id, **event_fields(state)})
        _log.warning("the budget of %s has reached its soft limit", budget.id)

    def alert(self, connection: Connection, tenant: str | None, kind: str, subject: str, /, **content: object) -> None:
        """Queue an alert unless it is still on since it was sent: it was seen within minutes, and sent within a day."""
        is_news = webhooks.is_news(
            connection, kind, subject[:_MAX_SUBJECT], now_s=self._now_s(), quiet_s=_QUIET_S, again_s=_AGAIN_S
        )
        if is_news:
            self.announce(connection, tenant, kind, subject, **content)

    def _of_tenant(self, tenant: str | None) -> list[WebhookTable]:
        return [table for table in self._tables if table.tenant in {None, tenant}]

    def _queue(
        self, connection: Connection, receivers: Sequence[WebhookTable], kind: str, content: dict[str, Any]
    ) -> None:
        now_s = self._now_s()
        for table in receivers:
            if table.events and not any(fnmatchcase(kind, pattern) for pattern in table.events):
                continue
            event_id = self._new_id("evt_")
            event = {
                "id": event_id,
                "object": "event",
                "created_at": int(now_s),
                "type": kind,
                "data": content,
            }
            body = slack.body(kind, content) if table.format == "slack" else msgspec.json.encode(event)
            webhooks.add(connection, Event(id=event_id, url=table.target, body=body), now_s=now_s)


class Webhooks(Outbox):
    """The outbox of a gateway, which also delivers its events.

    Args:
        tables: The `[[webhook]]` tables.
        now_s: Returns the current epoch seconds.
        new_id: Returns a random id with the given prefix.

    Raises:
        ConfigError: A receiver has no URL, or no valid secret.
    """

    def __init__(
        self, tables: Sequence[WebhookTable], now_s: Callable[[], float], new_id: Callable[[str], str]
    ) -> None:
        super().__init__(tables, now_s, new_id)
        self._lines = {table.target: _Line(_secret(table)) for table in tables}

    async def run(self, database: Database) -> None:
        """Deliver due events until cancelled."""
        if not self._lines:
            return
        with contextlib.suppress(StoreUnavailableError):  # they stay, undelivered, until the next start
            await database.write(lambda connection: webhooks.drop_others(connection, self._lines))
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, asyncio.TaskGroup() as deliveries:
            while True:
                with contextlib.suppress(StoreUnavailableError):  # the next round takes them
                    for event in await self._take_due(database):
                        deliveries.create_task(self._send(database, session, event))
                await asyncio.sleep(_POLL_S)

    async def _take_due(self, database: Database) -> Sequence[Event]:
        """Return the due events of the receivers that may get more now."""
        loop_s, now_s = asyncio.get_running_loop().time(), self._now_s()
        free = {url: count for url, line in self._lines.items() if (count := line.free(loop_s))}
        if not free:
            return []
        due = await database.write(
            lambda connection: webhooks.take(connection, free, now_s=now_s, again_s=now_s + _LEASE_S)
        )
        for event in due:
            self._lines[event.url].running += 1
        return due

    async def _send(self, database: Database, session: aiohttp.ClientSession, event: Event) -> None:
        line, delivered = self._lines[event.url], False
        try:
            delivered = await self._post(session, event, line.secret)
        finally:
            line.end(asyncio.get_running_loop().time(), delivered=delivered)
        with contextlib.suppress(StoreUnavailableError):  # it is sent again after its lease
            await self._settle(database, event, delivered=delivered)

    async def _settle(self, database: Database, event: Event, *, delivered: bool) -> None:
        if delivered or event.attempt >= _MAX_ATTEMPTS:
            await database.write(lambda connection: webhooks.drop(connection, event.id))
            return
        wait_s = min(_MIN_BACKOFF_S * 2.0 ** min(event.attempt - 1, 20), _MAX_BACKOFF_S)
        not_before_s = self._now_s() + wait_s
        await database.write(lambda connection: webhooks.postpone(connection, event.id, not_before_s=not_before_s))

    async def _post(self, session: aiohttp.ClientSession, event: Event, secret: bytes) -> bool:
        headers = {"content-type": "application/json"}
        if secret:
            headers |= signature_headers(event, secret, int(self._now_s()))
        try:
            async with session.post(event.url, data=event.body, headers=headers, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return True
                _log.warning("webhook %s answered %d", _host(event.url), answer.status)
        except Exception as error:  # noqa: BLE001 - an event fails alone: it is sent again, and dropped in the end
            _log.warning("webhook %s: %s", _host(event.url), type(error).__name__)
        return False


def signature_headers(event: Event, key: bytes, at_s: int) -> dict[str, str]:
    """Return the signature headers of an event: `v1,base64(HMAC-SHA256(key, id.time.body))`."""
    digest = hmac.new(key, f"{event.id}.{at_s}.".encode() + event.body, hashlib.sha256).digest()
    return {
        "webhook-id": event.id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _host(url: str) -> str:
    """Return what a log may say of a URL, whose path may be a secret."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _secret(table: WebhookTable) -> bytes:
    """Return what the events of a receiver are signed with; empty if it is Slack and has no secret."""
    where = f"webhook {table.url or table.url_env}"
    if not table.target:
        raise ConfigError(f"the environment variable {table.url_env} is not set", where=where, fix="set it to the URL")
    text = read_secret(table.secret_env, table.secret_file, where=where)
    if text is None and table.format == "slack":
        return b""
    if text is None:
        raise ConfigError("has no secret", where=where, fix="name it with secret_env or secret_file")
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigError("its secret is not whsec_ followed by base64", where=where)
    return key
