"""The service of a proxy: calls with a deadline wait in batches of this gateway, as those of `meritorder.client` do.

A call is written down before it is sent: after a crash of its program, or of the proxy, the same call attaches to its
answer, or to its running work.
"""

import asyncio
import signal
import time
from typing import Final

import httpx2
from sqlalchemy import Connection

from meritorder.client.calls import DEADLINE_HEADER, KEY_HEADER, MAX_USD_HEADER
from meritorder.client.transport import AsyncBatchTransport
from meritorder.gateway.app.errors import stopping
from meritorder.gateway.app.service import Service
from meritorder.gateway.config import read_secret
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import keys
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.queue import batches
from meritorder.gateway.venues.plans.in_force import NO_PLAN, PlanInForce
from meritorder.gateway.venues.venues import Venues
from meritorder.gateway.wire import asgi
from meritorder.gateway.wire.asgi import Receive, Scope
from meritorder.gateway.wire.exchange import Exchange

_HEADERS: Final = frozenset(
    name.encode() for name in ("authorization", "content-type", DEADLINE_HEADER, KEY_HEADER, MAX_USD_HEADER)
)
_MIN_CHECK_S: Final = 0.1
_MAX_CHECK_S: Final = 5.0


class Proxy(Service):
    """A proxy, whose callers use the key of the provider.

    Args:
        context: The shared state.
        venues: The models of the provider.
        plan: None.
        collect_s: How long a call waits for others of its batch.
        idle_s: How long it goes on without clients and unfinished batches; None forever.
    """

    def __init__(
        self,
        context: Context,
        venues: Venues,
        plan: PlanInForce = NO_PLAN,
        *,
        collect_s: float,
        idle_s: float | None = None,
    ) -> None:
        super().__init__(context, venues, plan)
        self._idle_s = idle_s
        journal = context.settings.data_folder / "calls.db"
        inner = httpx2.ASGITransport(self)
        self._closing: asyncio.Task[None] | None = None
        self._waiting_calls = AsyncBatchTransport(journal=journal, collect_s=collect_s, proxy=False, inner=inner)

    async def start(self) -> None:
        """Accept the provider's key as that of callers, and start the background tasks."""
        await self.context.database.write(self._accept_key)
        await super().start()
        if self._idle_s is not None:
            self.context.supervisor.start("idle", self._stop_when_idle)

    def begin_stop(self) -> None:
        """Answer the calls that wait: they attach when they are made again."""
        if self._closing is None:
            super().begin_stop()
            self._closing = asyncio.create_task(self._waiting_calls.aclose())

    async def stop(self) -> None:
        """Stop, once the calls that wait are answered."""
        self.begin_stop()
        if self._closing is not None:
            await self._closing
        await super().stop()

    async def _answer_call(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        headers = {name: value for name, value in scope["headers"] if name in _HEADERS}
        if DEADLINE_HEADER.encode() not in headers:
            await super()._answer_call(exchange, scope, receive)
            return
        await self.context.authenticator.authenticate(headers.get(b"authorization"), scope["method"])
        with self._bodies.reader(receive) as reader:
            body = await reader.read()
        request = httpx2.Request("POST", f"http://proxy{scope['path']}", headers=list(headers.items()), content=body)
        if self.context.supervisor.is_stopping:
            raise stopping()
        try:
            # A client that goes away may have crashed: its call goes on, and is found again.
            answer = await asyncio.shield(self._waiting_calls.handle_async_request(request))
        except httpx2.TransportError:
            raise stopping() from None
        await asgi.respond(
            exchange.send,
            answer.status_code,
            [(b"content-type", asgi.JSON), (b"x-should-retry", b"false")],
            answer.content,
        )

    def _accept_key(self, connection: Connection) -> None:
        """Let the provider's key, and no other, be the key of callers."""
        table = self.context.settings.venue[0]
        secret = read_secret(table.api_key_env, None, where=table.name) or ""
        caller = Key(id=f"key_{keys.digest(secret).hex()[:16]}", name="provider", tenant="default", admin=True)
        keys.replace_all(connection, caller, secret, now_s=self.context.now_s())

    async def _stop_when_idle(self) -> None:
        """Stop this process once there was nothing to do for long enough."""
        idle_s = self._idle_s or 0.0
        busy_s = time.monotonic()
        while True:
            await asyncio.sleep(min(_MAX_CHECK_S, max(_MIN_CHECK_S, idle_s / 4)))
            has_work = await self.context.database.read(batches.any_open)
            if self.connections.open or has_work:
                busy_s = time.monotonic()
            elif time.monotonic() - busy_s >= idle_s:
                signal.raise_signal(signal.SIGTERM)
                return
