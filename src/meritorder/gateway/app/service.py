"""The service: an ASGI application that serves model calls directly and everything else by Starlette's routes."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.routing import Route, Router

from meritorder.gateway import decoding
from meritorder.gateway.app.alerts import Alerts
from meritorder.gateway.app.connections import Connections
from meritorder.gateway.app.errors import api_error, stopping
from meritorder.gateway.config import DEFERRABLE, Settings, duration_s
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.lanes.background import BackgroundResponses
from meritorder.gateway.lanes.classify import HEADER, LaneClassifier, no_capacity
from meritorder.gateway.lanes.deferred import DeferredCalls
from meritorder.gateway.lanes.history import EarlierTurns
from meritorder.gateway.lanes.realtime import RealTime
from meritorder.gateway.peers import Peers
from meritorder.gateway.routes.batches import Batches
from meritorder.gateway.routes.billing.quotes import Quotes
from meritorder.gateway.routes.billing.receipts import ReceiptRoutes
from meritorder.gateway.routes.completions import Completions
from meritorder.gateway.routes.conversations import Conversations
from meritorder.gateway.routes.files import Files
from meritorder.gateway.routes.messages.routes import Messages
from meritorder.gateway.routes.models import Models
from meritorder.gateway.routes.openapi.document import OpenApi
from meritorder.gateway.routes.operations import Operations
from meritorder.gateway.routes.pages import Pages
from meritorder.gateway.routes.responses import Responses
from meritorder.gateway.routes.venues import VenueRoutes
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.queue.backlog import QueuedRequests, queued_work
from meritorder.gateway.store.quotas.admission import Demand
from meritorder.gateway.venues.drains import Drains
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.plans.in_force import NO_PLAN, PlanInForce
from meritorder.gateway.venues.plans.reload import PlanReloader
from meritorder.gateway.venues.venues import Venues
from meritorder.gateway.wire import asgi, calls
from meritorder.gateway.wire.asgi import Client, Receive, Scope, Send
from meritorder.gateway.wire.errors import ApiError, internal_error, unknown_model
from meritorder.gateway.wire.exchange import Exchange
from meritorder.gateway.workers.capacity_meter import CapacityMeter
from meritorder.gateway.workers.dispatch import Dispatcher
from meritorder.gateway.workers.maintenance import Maintenance
from meritorder.gateway.workers.provider_batches import ProviderBatches
from meritorder.gateway.workers.quoting import Quoting
from meritorder.gateway.workers.receipts import Receipts
from meritorder.gateway.workers.retention import Retention

_CALLS: Final = frozenset((*calls.ENDPOINTS, *calls.REALTIME_ENDPOINTS))
_BATCHES: Final = "/v1/batches"
_RESPONSES: Final = "/v1/responses"
_MAX_BACKLOG: Final = 10_000
_BODIES_IN_MEMORY: Final = 16  # of the largest size


async def _queued_work(context: Context) -> Sequence[QueuedRequests]:
    """Return the queued work, the most urgent first, as far as a policy looks ahead."""
    now_s = context.now_s()
    return await context.database.read(lambda connection: queued_work(connection, now_s=now_s, limit=_MAX_BACKLOG))


class Service:
    """The gateway.

    Args:
        context: The shared state.
        venues: The venues that serve requests.
        plan: The plan to execute.
        peers: The processes of this gateway; None for one alone.
    """

    def __init__(
        self, context: Context, venues: Venues, plan: PlanInForce = NO_PLAN, *, peers: Peers | None = None
    ) -> None:
        self.context = context
        self.venues = venues
        settings: Settings = context.settings
        self.headroom = Headroom(venues, settings.lanes, context.supervisor)
        self.plan_executor = PlanExecutor(plan, venues, context.now_s, partial(_queued_work, context))
        self.plan_reloader = PlanReloader(settings, self.plan_executor)
        self.dispatcher = Dispatcher(context, venues, self.headroom, self.plan_executor)
        self.provider_batches = ProviderBatches(context, venues, self.dispatcher, self.plan_executor)
        self.realtime = RealTime(context, venues, self.plan_executor, self.dispatcher.capacity_freed)
        self.maintenance = Maintenance(context, self.dispatcher)
        self._capacity_meter = CapacityMeter(context, venues, self.headroom)
        self._deferred = DeferredCalls(context, self.dispatcher)
        self._background = BackgroundResponses(context, self.dispatcher)
        self._earlier_turns = EarlierTurns(context, venues)
        self._classifier = LaneClassifier(settings, self.plan_executor.deferral)
        self._default_model = settings.server.default_model or next(iter(sorted(venues.models())), None)
        self._bodies = asgi.Bodies(settings.limits.body_bytes, _BODIES_IN_MEMORY * settings.limits.body_bytes)
        limit = settings.limits.connections
        self.connections = Connections(
            duration_s(settings.limits.client_time),
            limit if limit is None or peers is None else peers.share.of(limit),
            self.begin_stop,
        )
        self._operations = Operations(
            context,
            venues,
            self.headroom,
            self.plan_executor,
            self.plan_reloader,
            capacity_meter=self._capacity_meter,
        )
        context.ledger_writer.observers.append(self._operations.metrics.observe)
        context.quotas.unblocked.append(self.dispatcher.wake)
        if context.telemetry is not None:
            context.ledger_writer.observers.append(context.telemetry.observe)
        self.pages = Pages(None if peers is None else peers.folder) if settings.ui.enabled else None
        self._alerts = Alerts(context=context, gauges=self._gauges, fault=lambda: self.plan_reloader.fault)
        self._drains = Drains(venues, peers)
        self._receipts = Receipts(context, venues, self._capacity_meter)
        self._routes = Router(
            routes=[
                # Calls bypass these routes; they answer 405 to other methods.
                *(Route(path, self, methods=["POST"]) for path in sorted(_CALLS)),
                *Files(context).routes(),
                *Batches(context).routes(),
                *ReceiptRoutes(context, self._receipts).routes(),
                *Quotes(context, Quoting(context, venues, self.dispatcher)).routes(),
                *Completions(context).routes(),
                *Responses(context, self.dispatcher).routes(),
                *Conversations(context).routes(),
                *Messages(context, self).routes(),
                *Models(context, venues, context.now_s()).routes(),
                *self._operations.routes(),
                *VenueRoutes(context, venues, self.plan_executor, self._drains).routes(),
                *OpenApi(requires_keys=settings.server.require_keys).routes(),
                *(self.pages.routes() if self.pages is not None else ()),
            ],
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            path = scope["path"] if scope["method"] == "POST" else ""
            if self.context.telemetry is not None and (path in _CALLS or path == _BATCHES):
                await self.context.telemetry.serve(scope, receive, send, self._answer)
            else:
                await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        exchange = Exchange(scope["path"], send)
        try:
            if scope["path"] in _CALLS and scope["method"] == "POST":
                await self._answer_call(exchange, scope, receive)
            else:
                _check_head(scope)
                scope["app"] = self  # so that unknown paths and methods are exceptions
                await self._routes(scope, receive, exchange.send)
        except (asgi.ClientDisconnectedError, ClientDisconnect):
            return
        except asyncio.CancelledError:  # by the server: a client that disconnects is handled where it is watched
            await exchange.fail(stopping())
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - every request is answered; a panic of Rust is no Exception
            answer = api_error(error, scope, self._routes.routes)
            if answer is None:
                self.context.supervisor.record("requests", error)
            await exchange.fail(answer or internal_error())

    def _gauges(self) -> list[Gauge]:
        sources = (self.plan_executor, self.plan_reloader, self.headroom, self._capacity_meter)
        return [gauge for source in sources for gauge in source.gauges()]

    async def start(self) -> None:
        """Claim the store and start the background tasks."""
        context = self.context
        await context.blobs.start()
        await context.authenticator.refresh()
        await self.maintenance.take_over()
        await self.maintenance.heartbeat()
        tasks = self.maintenance.tasks() | {
            "dispatch": self.dispatcher.run,
            "headroom": self.headroom.run,
            "provider_batches": self.provider_batches.run,
            "plan": self.plan_executor.run,
            "plan_reload": self.plan_reloader.run,
            "ledger": context.ledger_writer.run,
            "capacity": self._capacity_meter.run,
            "drains": self._drains.run,
            "receipts": self._receipts.run,
            "retention": Retention(context, self._receipts).run,
            "live_cost": self._operations.live_cost.run,
            "webhooks": partial(context.webhooks.run, context.database),
            "alerts": self._alerts.run,
            "connections": self.connections.run,
        }
        for name, run in tasks.items():
            context.supervisor.start(name, run)

    def begin_stop(self) -> None:
        """Let requests that wait know that the gateway stops, before it waits for them."""
        self.context.supervisor.is_stopping = True

    async def stop(self) -> None:
        """Release all leases, write what is pending, and close; a step that fails does not stop the others."""
        context = self.context
        steps: list[Callable[[], Awaitable[None]]] = [
            self.dispatcher.stop,
            context.supervisor.stop,
            self.venues.close,  # what still runs ends, with its ledger entry
            self._capacity_meter.close,
            context.ledger_writer.close,
            partial(context.database.write, partial(heartbeats.stop, owner=context.instance_id)),
            partial(asyncio.to_thread, context.database.close),
        ]
        if self.pages is not None:
            steps.insert(0, self.pages.close)
        if context.telemetry is not None:
            steps.append(partial(asyncio.to_thread, context.telemetry.close))
        for step in steps:
            with contextlib.suppress(StoreUnavailableError):  # the database has logged it
                await context.supervisor.run_each("stop", [step], lambda step: step())

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer_call(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        started_s, context = time.monotonic(), self.context
        authorization = deadline = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == HEADER:
                deadline = value
            elif name == b"content-encoding":
                _check_encoding(value)
        key = await context.authenticator.authenticate(authorization, scope["method"])
        with self._bodies.reader(receive) as reader:
            request = await self._parse(exchange.id, key, scope["path"], await reader.read(), started_s)
            deferral = None
            if request.endpoint not in calls.REALTIME_ENDPOINTS:
                deferral = self._classifier.classify(request.call, key, request.endpoint, deadline, request.arrived_s)
            if deferral is None:
                self._check_size(request)
            if key.budgets or deferral:
                request.expected_picousd = context.expected_picousd(request.endpoint, request.call, len(request.body))
            if context.telemetry is not None:
                context.telemetry.describe(request, deferral)
            await self._serve_within_quotas(request, deferral, asgi.client_of(scope), exchange)

    def _check_size(self, request: Request) -> None:
        most = self.context.settings.limits.realtime_body_bytes
        if len(request.body) > most:
            raise asgi.too_large(most, ", the limit of real-time requests")

    async def _parse(self, request_id: str, key: Key, endpoint: str, body: bytes, started_s: float) -> Request:
        """Return the call in a body, complete with the defaults and the history that it refers to."""
        default = self._default_model if endpoint.startswith(_RESPONSES) else None
        read = await decoding.run(calls.read_call, body, endpoint, default)
        body, original = read.completed or body, None
        if read.has_earlier and (whole := await self._earlier_turns.expanded(key.tenant, body)) is not body:
            body, original = whole, body
        return Request(
            id=request_id,
            key=key,
            endpoint=endpoint,
            call=read.fields,
            body=body,
            original=original,
            arrived_s=self.context.now_s(),
            started_s=started_s,
        )

    async def _serve_within_quotas(
        self, request: Request, deferral: Deferral | None, client: Client, exchange: Exchange
    ) -> None:
        """Serve a request when the quotas of its key permit it."""
        key, quotas = request.key, self.context.quotas
        demand = Demand(
            tokens=calls.estimate_tokens(len(request.body)) + request.call.output_tokens,
            cost_picousd=request.expected_picousd if deferral is None else 0,  # a queued call reserves in its row
        )
        with await quotas.admit(key, demand):
            if key.rates:
                exchange.headers = quotas.rate_headers(key)
            if deferral is None and not request.call.stream:
                # Engines finish an answer that is not streamed even if the client disconnects: no need to watch it.
                await self.realtime.serve(request, exchange.send)
            else:
                await self._serve_watched(request, deferral, client, exchange.send)

    async def _serve_watched(self, request: Request, deferral: Deferral | None, client: Client, send: Send) -> None:
        """Serve a request, and cancel it when its client disconnects."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        client.on_leaving = task.cancel
        try:
            if client.is_gone:
                return
            if deferral is None:
                await self.realtime.serve(request, send)
                return
            self._check_deferral(request)
            if request.call.background:
                await self._background.serve(request, deferral, send)
            else:
                await self._deferred.serve(request, deferral, send)
        except asyncio.CancelledError:
            if not client.is_gone:
                raise  # the gateway is stopping
        finally:
            client.on_leaving = None

    def _check_deferral(self, request: Request) -> None:
        model = request.call.model or ""
        venues = self.venues.serving(model, DEFERRABLE)
        if not venues:
            raise unknown_model(model, request.endpoint)
        refused = self._classifier.refuses_flex and request.call.service_tier == "flex"
        if refused and not any(self.headroom.backfill(venue) for venue in venues):
            raise no_capacity()


def _check_head(scope: Scope) -> None:
    """Refuse what no route can serve."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        # No database accepts it, and no id contains it.
        raise ApiError(404, "A URL cannot contain a NUL character.")
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            _check_encoding(value)


def _check_encoding(value: bytes) -> None:
    if value.strip().lower() not in {b"", b"identity"}:
        raise ApiError(415, "The body is compressed. Send it without Content-Encoding.", code="unsupported_encoding")
