"""`/health`, `/metrics`, `/meritorder/status`: for operators of the gateway."""

import contextlib
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway.config import duration_s
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.routes.answering import admin_caller, caller, json_response
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.metrics import ALLOWED, DEFERRABLE, REALTIME, Gauge, Metrics, StoreGauges
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.queue import backlog, batches
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.plans.reload import PlanReloader
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.workers.capacity_meter import CapacityMeter
from meritorder.gateway.workers.live_cost import LiveCost
from meritorder.units import PICOUSD_PER_USD


class Operations:
    """The routes of operations.

    Args:
        context: The shared state.
        venues: The venues.
        headroom: The backfill limits of the venues.
        plan_executor: Executes the plan.
        plan_reloader: Reloads the plan when its file changes.
        capacity_meter: Knows what is rented.
    """

    def __init__(
        self,
        context: Context,
        venues: Venues,
        headroom: Headroom,
        plan_executor: PlanExecutor,
        plan_reloader: PlanReloader,
        *,
        capacity_meter: CapacityMeter,
    ) -> None:
        self._context = context
        self._venues = venues
        self._headroom = headroom
        self._plan_executor = plan_executor
        self._plan_reloader = plan_reloader
        lanes = context.settings.lanes
        self._store_gauges = StoreGauges(context.database, duration_s(lanes.margin), context.now_s)
        self.metrics = Metrics(self._gauges)
        self._registry = CollectorRegistry()
        self._registry.register(self.metrics)
        self.live_cost = LiveCost(capacity_meter, self.metrics, context.now_s)
        self._registry.register(self.live_cost)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
            Route("/meritorder/status", self.status, methods=["GET"]),
            Route("/meritorder/key", self.key, methods=["GET"]),
        ]

    async def health(self, _request: Request) -> Response:
        """Return whether the gateway accepts requests, and what it cannot do now."""
        if self._context.supervisor.is_stopping:
            return json_response({"status": "stopping"}, 503)
        failing = self._context.supervisor.failing()
        if not self._context.database.is_up:
            failing.append("database")
        if not self._context.blobs.is_up:
            failing.append("blobs")
        if self._context.clock.has_stepped:
            failing.append("clock")
        return json_response({"status": "degraded", "failing": failing} if failing else {"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        """Return the metrics in Prometheus format."""
        await admin_caller(self._context, request)
        with contextlib.suppress(StoreUnavailableError):  # `meritorder_store_up` reports it
            await self._store_gauges.read()
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def status(self, request: Request) -> Response:
        """Return real-time latency, venues, plan, queues, open batches and spending."""
        await admin_caller(self._context, request)
        read = self._context.database.read
        open_batches, plan = await self._context.database.read_soon(batches.open_batches), self._plan_executor.status()
        return json_response(
            {
                "plan": plan and plan | self._plan_reloader.status(),
                "realtime": self._realtime(),
                "venues": [self._venue(venue) for venue in self._venues.all],
                "queued": await read(backlog.queued_by_model),
                "batches": [
                    {
                        "id": batch.id,
                        "tenant": batch.tenant,
                        "status": "paused" if batch.paused_s else batch.status,
                        "total": batch.total,
                        "done": batch.done,
                        "failed": batch.failed,
                        "expires_at": int(batch.expires_s),
                    }
                    for batch in open_batches
                ],
                "ledger": [_total(row) for row in await read(ledger.totals)],
            }
        )

    async def key(self, request: Request) -> Response:
        """Return whose key the request has, and what it permits."""
        key = await caller(self._context, request)
        return json_response({name: getattr(key, name) for name in ("id", "name", "tenant", "admin", "read_only")})

    def _realtime(self) -> dict[str, Any]:
        lanes, (streams, ttft_s) = self._context.settings.lanes, self._headroom.recent_ttft()
        return {
            "streams_last_minute": streams,
            "ttft_s": ttft_s,
            "slo_ttft_s": duration_s(lanes.ttft),
            "slo_attainment": lanes.attainment,
        }

    def _venue(self, venue: Venue) -> dict[str, Any]:
        rented, price = venue.rented, venue.table.price
        return {
            "name": venue.name,
            "models": sorted(venue.served),
            "up": self._headroom.is_up(venue),
            "draining": venue.is_draining,
            "engine": venue.engine.state if venue.engine is not None else None,
            "seats": venue.limit,
            "realtime": venue.realtime + venue.realtime_elsewhere,
            "deferrable": len(venue.deferrable) + venue.deferrable_elsewhere,
            "allowed": self._headroom.max_backfill(venue) + self.metrics.elsewhere(ALLOWED, venue.name),
            "alert": self._headroom.alerts().get(venue.name),
            "usd_per_hour": rented and rented.picousd_per_hour / PICOUSD_PER_USD,
            "input_usd_per_mtok": price and float(price.input_usd_per_mtok),
            "output_usd_per_mtok": price and float(price.output_usd_per_mtok),
        }

    def _gauges(self) -> list[Gauge]:
        lanes, alerts = self._context.settings.lanes, self._headroom.alerts()
        by_venue = [((venue.name,), venue) for venue in self._venues.all]
        return [
            *self._plan_executor.gauges(),
            *self._plan_reloader.gauges(),
            *self._store_gauges.gauges(),
            ("meritorder_slo_ttft_seconds", "Real-time SLO: time to first token.", (), [((), duration_s(lanes.ttft))]),
            ("meritorder_slo_attainment", "Share of requests that must meet it.", (), [((), lanes.attainment)]),
            (
                REALTIME,
                "Real-time requests in flight.",
                ("venue",),
                [(labels, venue.realtime) for labels, venue in by_venue],
            ),
            (
                DEFERRABLE,
                "Deferrable requests in flight.",
                ("venue",),
                [(labels, len(venue.deferrable)) for labels, venue in by_venue],
            ),
            (
                ALLOWED,
                "Limit on deferrable requests in flight.",
                ("venue",),
                [(labels, self._headroom.max_backfill(venue)) for labels, venue in by_venue],
            ),
            (
                "meritorder_alert",
                "1: its load cannot be read, so it gets no backfill.",
                ("venue",),
                [(labels, float(labels[0] in alerts)) for labels, _ in by_venue],
            ),
            (
                "meritorder_store_up",
                "0: the database is unreachable.",
                (),
                [((), float(self._context.database.is_up))],
            ),
            ("meritorder_blobs_up", "0: the blob store fails.", (), [((), float(self._context.blobs.is_up))]),
            (
                "meritorder_clock_step_seconds",
                "By how much the clock was set, while deadlines do not follow it.",
                (),
                [((), self._context.clock.step_s)],
            ),
            (
                "meritorder_task_failures",
                "Unexpected failures of a task or its work items; the log has the first of each kind.",
                ("task",),
                [((task,), count) for task, count in sorted(self._context.supervisor.failures.items())],
            ),
            (
                "meritorder_ledger_delay_seconds",
                "How far the ledger is behind the journal.",
                (),
                [((), self._context.ledger_writer.delay_s)],
            ),
            (
                "meritorder_ledger_dropped",
                "Ledger entries lost while neither the journal nor the store could be written.",
                (),
                [((), self._context.ledger_writer.dropped)],
            ),
            (
                "meritorder_ledger_set_aside",
                "Ledger entries that no row can hold, such as 10^18 tokens, kept in a table with the reason.",
                (),
                [((), self._context.ledger_writer.set_aside)],
            ),
        ]


def _total(row: dict[str, Any]) -> dict[str, Any]:
    cost = row.pop("cost_picousd")
    return row | {"cost_usd": None if cost is None else float(cost) / PICOUSD_PER_USD}
