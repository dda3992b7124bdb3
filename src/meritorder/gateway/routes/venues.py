"""`/v1/venues/{name}/drain`: a machine will be taken away; `/v1/scale/{pool}`: how many replicas the plan wants."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway.routes.answering import admin_caller, json_response, small_object
from meritorder.gateway.state.context import Context
from meritorder.gateway.venues.drains import Drains
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError, invalid_request

_DRAIN: Final = "/v1/venues/{name}/drain"
_NOTICE_S: Final = 120.0  # of a spot instance of AWS
_MAX_NOTICE_S: Final = 86_400.0
_COUNTS: Final = ("machines", "machines_next", "replicas", "replicas_next")


class VenueRoutes:
    """The routes of venues and of their scale.

    Args:
        context: The shared state.
        venues: The venues.
        plan_executor: Knows what the plan wants.
        drains: Drains venues.
    """

    def __init__(self, context: Context, venues: Venues, plan_executor: PlanExecutor, drains: Drains) -> None:
        self._context = context
        self._venues = venues
        self._plan_executor = plan_executor
        self._drains = drains

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(_DRAIN, self.drain, methods=["POST"]),
            Route(_DRAIN, self.resume, methods=["DELETE"]),
            Route("/v1/scale/{pool:path}", self.scale, methods=["GET"]),
        ]

    async def drain(self, request: Request) -> Response:
        """Admit nothing more at a venue, and finish there what fits into the notice."""
        await admin_caller(self._context, request)
        venue = self._venue(request)
        notice_s = (await small_object(self._context, request)).get("notice_s", _NOTICE_S)
        if isinstance(notice_s, bool) or not isinstance(notice_s, int | float):
            raise checks.wrong_type("notice_s", "a number", notice_s)
        if not 0 <= notice_s <= _MAX_NOTICE_S:
            what = f"Invalid value: 'notice_s' must be from 0 to {_MAX_NOTICE_S:,.0f} seconds."
            raise invalid_request(what, param="notice_s", code="invalid_value")
        self._drains.start(venue, float(notice_s))
        return _state(venue)

    async def resume(self, request: Request) -> Response:
        """Admit requests at a venue again."""
        await admin_caller(self._context, request)
        venue = self._venue(request)
        self._drains.end(venue)
        return _state(venue)

    async def scale(self, request: Request) -> Response:
        """Return how many machines and replicas of a pool, or of the pools of a venue, the plan wants now."""
        await admin_caller(self._context, request)
        name, status = request.path_params["pool"], self._plan_executor.status()
        rows = [row for row in (status or {"pools": []})["pools"] if name == row["pool"] or name in row["venues"]]
        if not rows:
            reason = "has no such pool or venue" if status else "is not in force"
            raise ApiError(404, f"The plan {reason}: '{name}'.", param="pool", code="pool_not_found")
        return json_response({"pool": name} | {count: sum(row[count] for row in rows) for count in _COUNTS})

    def _venue(self, request: Request) -> Venue:
        name = request.path_params["name"]
        venue = next((venue for venue in self._venues.all if venue.name == name), None)
        if venue is None:
            raise ApiError(404, f"No venue is named '{name}'.", param="name", code="venue_not_found")
        return venue


def _state(venue: Venue) -> Response:
    return json_response(
        {
            "name": venue.name,
            "draining": venue.is_draining,
            "realtime": venue.realtime,
            "deferrable": len(venue.deferrable),
        }
    )
