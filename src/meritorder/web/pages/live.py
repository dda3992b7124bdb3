"""Live: what a gateway does now, asked once for all who look."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from meritorder.errors import MeritorderError
from meritorder.gateway.app.client import FINAL_STATUSES, GatewayClient
from meritorder.report.wording import MISSING
from meritorder.units import format_duration, format_usd
from meritorder.web.access import Viewer
from meritorder.web.figures import PLOT_HEIGHT, Chart, Series, time_chart
from meritorder.web.render import fragment, html

_POLL_S: Final = 2.0
_IDLE_SHARE: Final = 0.9  # of the time in which a slow gateway is not asked
_SHOWN_S: Final = 900.0
_MIN_PACE_S: Final = 30.0
_MAX_VIEWS: Final = 100
_NO_STORE: Final = {"cache-control": "no-store"}

FindSaving = Callable[[], Awaitable[tuple[str, str]]]
"""Returns what was saved today, and how that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What ran and what waited at one time."""

    at_s: float
    realtime: int
    deferrable: int
    queued: int
    done: Mapping[str, int]
    ttft_s: float | None = None
    slo_ttft_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """An open batch: how much of it is done, and when it will be at its present pace."""

    id: str
    tenant: str
    status: str
    done: int
    failed: int
    total: int
    due_in_s: float
    ends_in_s: float | None

    @property
    def share(self) -> float:
        """The share of its requests that have an answer."""
        return (self.done + self.failed) / self.total if self.total else 0.0

    @property
    def is_at_risk(self) -> bool:
        """Whether it misses its deadline at its present pace."""
        return self.ends_in_s is not None and self.ends_in_s > self.due_in_s

    @property
    def outlook(self) -> str:
        """When it ends, and whether that is in time."""
        if self.due_in_s <= 0:
            return "its window is over"
        due = f"due in {format_duration(self.due_in_s)}"
        if self.ends_in_s is None:
            return due
        return f"{due}; at this pace done in {format_duration(self.ends_in_s)}{', too late' if self.is_at_risk else ''}"


@dataclass(slots=True)
class LiveGateway:
    """A gateway that is asked for its status while a page is open.

    Args:
        url: Its URL.
        fetch_status: Asks it for its status; raises a MeritorderError where it does not answer.
        find_saving: Returns what was saved today, and how that is known; None for those who may not know.
    """

    url: str
    fetch_status: Callable[[], dict[str, Any]]
    find_saving: FindSaving | None = None
    status: Mapping[str, Any] | None = None
    error: str = ""
    moments: deque[Moment] = field(default_factory=deque)
    saving: tuple[str, str] | None = None
    _version: int = 0
    _event: tuple[int, str] = (-1, "")
    _viewers: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _polling: asyncio.Task[None] | None = None

    @property
    def is_watched(self) -> bool:
        """Whether a page is open."""
        return self._viewers > 0

    async def look(self) -> None:
        """Ask once, if nobody else does."""
        if self._polling is None:
            await self._ask()

    async def events(self) -> AsyncIterator[str]:
        """Yield each state after the present one as a server-sent event, which is written once for all viewers."""
        self._viewers += 1
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        seen = self._version
        try:
            while True:
                async with self._changed:
                    while self._version == seen:
                        await self._changed.wait()
                seen = self._version
                yield self._write_event()
        finally:
            self._viewers -= 1

    def _write_event(self) -> str:
        if self._event[0] != self._version:
            lines = fragment("live_state.html.j2", self.view()).splitlines()
            self._event = (self._version, "".join(f"data: {line}\n" for line in lines) + "\n")
        return self._event[1]

    async def _poll(self) -> None:
        try:
            while self._viewers:
                started_s = time.monotonic()
                await self._ask()
                took_s = time.monotonic() - started_s
                await asyncio.sleep(max(_POLL_S - took_s, took_s * _IDLE_SHARE / (1 - _IDLE_SHARE)))
        finally:
            self._polling = None

    async def _ask(self) -> None:
        try:
            status = await asyncio.to_thread(self.fetch_status)
            moment = _moment(status, time.time())
        except MeritorderError as error:
            self.error = str(error)
        except (AttributeError, KeyError, TypeError):
            self.error = f"{self.url}: does not answer as a gateway of this version; start both with the same one"
        else:
            self.status, self.error = status, ""
            self._remember(moment)
        if self.find_saving is not None:
            self.saving = await self.find_saving()
        self._version += 1
        async with self._changed:
            self._changed.notify_all()

    def _remember(self, moment: Moment) -> None:
        self.moments.append(moment)
        while self.moments[0].at_s < moment.at_s - _SHOWN_S:
            self.moments.popleft()

    def batches(self, now_s: float) -> list[BatchProgress]:
        """Return the open batches, the first due first."""
        rows = self.status["batches"] if self.status else []
        return sorted((self._progress(row, now_s) for row in rows), key=lambda batch: batch.due_in_s)

    def _progress(self, row: Mapping[str, Any], now_s: float) -> BatchProgress:
        open_requests = row["total"] - row["done"] - row["failed"]
        known = [(moment.at_s, moment.done[row["id"]]) for moment in self.moments if row["id"] in moment.done]
        ends_in_s = None
        if len(known) > 1:
            (first_s, before), (last_s, after) = known[0], known[-1]
            if last_s - first_s >= _MIN_PACE_S and after > before:
                ends_in_s = open_requests * (last_s - first_s) / (after - before)
        return BatchProgress(
            id=row["id"],
            tenant=row["tenant"],
            status=row["status"],
            done=row["done"],
            failed=row["failed"],
            total=row["total"],
            due_in_s=row["expires_at"] - now_s,
            ends_in_s=ends_in_s,
        )

    def view(self) -> dict[str, Any]:
        """Return what the page shows."""
        status = self.status or {}
        now = self.moments[-1] if self.moments else None
        batches = self.batches(time.time())
        return {
            "url": self.url,
            "error": self.error,
            "now": now,
            "status": status,
            "prices": {venue["name"]: _price(venue) for venue in status.get("venues", ())},
            "realtime": status.get("realtime"),
            "saving": self.saving,
            "sequences": sum(venue["seats"] or 0 for venue in status.get("venues", ())),
            "batches": batches,
            "at_risk": [batch for batch in batches if batch.is_at_risk],
            "spent_usd": sum(row["cost_usd"] or 0.0 for row in status.get("ledger", ())),
            "unpriced": sum(row["requests"] for row in status.get("ledger", ()) if row["cost_usd"] is None),
            "charts": self._charts() if len(self.moments) > 1 else [],
            "plot_height": PLOT_HEIGHT,
        }

    def _charts(self) -> list[Chart]:
        """Return what is in flight, and the TTFT of real-time streams beside its SLO once some have begun."""
        at_s = [moment.at_s for moment in self.moments]
        in_flight: list[Series] = [
            ("realtime", "real-time in flight", [moment.realtime for moment in self.moments]),
            ("deferrable", "deferrable in flight", [moment.deferrable for moment in self.moments]),
        ]
        ttft: list[Series] = [
            ("realtime", "TTFT", [moment.ttft_s for moment in self.moments]),
            ("slo", "its SLO", [moment.slo_ttft_s for moment in self.moments]),
        ]
        charts = [time_chart("lately", "In flight", at_s, in_flight, _whole)]
        if any(moment.ttft_s is not None for moment in self.moments):
            charts.append(time_chart("latency", "Real-time TTFT against its SLO", at_s, ttft, _duration))
        return charts


class LiveViews:
    """What each key sees of a gateway; the viewers of one key share it.

    Args:
        watch: Begins to watch for a viewer; None without a gateway.
        find_saving: Returns what was saved today, for those who see the work of all; None without a ledger.
    """

    def __init__(self, watch: Callable[[Viewer], LiveGateway] | None, find_saving: FindSaving | None = None) -> None:
        self._watch = watch
        self._find_saving = find_saving
        self._views: dict[tuple[str, bool], LiveGateway] = {}

    def of(self, viewer: Viewer) -> LiveGateway | None:
        """Return what a viewer sees; None without a gateway."""
        if self._watch is None:
            return None
        key = (viewer.key, viewer.is_admin)
        if key not in self._views:
            for other, view in list(self._views.items())[: -_MAX_VIEWS + 1]:
                if not view.is_watched:
                    del self._views[other]
            self._views[key] = self._watch(viewer)
            if viewer.is_admin:
                self._views[key].find_saving = self._find_saving
        return self._views[key]


def watch(url: str, viewer: Viewer) -> LiveGateway:
    """Return a gateway as a viewer sees it: an admin key shows all of it, another key the batches of its tenant."""

    def fetch_status() -> dict[str, Any]:
        with GatewayClient(url, viewer.key) as client:
            return client.status() if viewer.is_admin else _own_status(client, viewer.tenant)

    return LiveGateway(url, fetch_status)


def _own_status(client: GatewayClient, tenant: str) -> dict[str, Any]:
    """Return a status that has only the open batches of one tenant."""
    batches, _ = client.batches()
    shown = [
        {
            "id": batch["id"],
            "tenant": tenant,
            "status": "paused" if batch["paused_at"] else batch["status"],
            "total": batch["request_counts"]["total"],
            "done": batch["request_counts"]["completed"],
            "failed": batch["request_counts"]["failed"],
            "expires_at": batch["expires_at"],
        }
        for batch in batches
        if batch["status"] not in FINAL_STATUSES
    ]
    queued = {"": sum(batch["total"] - batch["done"] - batch["failed"] for batch in shown)}
    return {"plan": None, "venues": [], "queued": queued, "batches": shown, "ledger": []}


async def show_page(request: Request) -> Response:
    """Return the present state, which the page then follows."""
    gateway = _find(request)
    if gateway is None:
        return html(request, "live.html.j2", {"gateway": None})
    await gateway.look()
    return html(request, "live.html.j2", {"gateway": gateway, **gateway.view()})


async def show_states(request: Request) -> Response:
    """Stream the state, as HTML, as a server-sent event whenever it changes."""
    return StreamingResponse(_gateway(request).events(), media_type="text/event-stream", headers=_NO_STORE)


async def api_live(request: Request) -> Response:
    """Return the gateway's status as JSON."""
    gateway = _gateway(request)
    await gateway.look()
    if gateway.error:
        return JSONResponse({"error": gateway.error}, 502, headers=_NO_STORE)
    return JSONResponse(gateway.status, headers=_NO_STORE)


def _gateway(request: Request) -> LiveGateway:
    gateway = _find(request)
    if gateway is None:
        raise HTTPException(404)
    return gateway


def _find(request: Request) -> LiveGateway | None:
    views: LiveViews = request.app.state.live
    return views.of(request.state.viewer)


def _moment(status: Mapping[str, Any], at_s: float) -> Moment:
    latency = status.get("realtime") or {}
    return Moment(
        at_s=at_s,
        ttft_s=latency.get("ttft_s"),
        slo_ttft_s=latency.get("slo_ttft_s"),
        realtime=sum(venue["realtime"] for venue in status["venues"]),
        deferrable=sum(venue["deferrable"] for venue in status["venues"]),
        queued=sum(status["queued"].values()),
        done={batch["id"]: batch["done"] + batch["failed"] for batch in status["batches"]},
    )


def _whole(count: float) -> str:
    """Return a count; nothing for the level halfway to an odd one."""
    return f"{count:,.0f}" if count == round(count) else ""


def _duration(seconds: float) -> str:
    return format_duration(seconds) if seconds else "0"


def _price(venue: Mapping[str, Any]) -> str:
    """Return what a venue costs; a dash if it states nothing."""
    prices = []
    if venue.get("usd_per_hour") is not None:
        prices.append(f"{format_usd(venue['usd_per_hour'])} an hour")
    if venue.get("input_usd_per_mtok") is not None:
        read, written = format_usd(venue["input_usd_per_mtok"]), format_usd(venue["output_usd_per_mtok"])
        prices.append(f"{read} in, {written} out per million tokens")
    return "; ".join(prices) or MISSING
