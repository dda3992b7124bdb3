"""`/v1/models`: the public models."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway.routes.answering import caller, json_response
from meritorder.gateway.state.context import Context
from meritorder.gateway.venues.venues import Venues
from meritorder.gateway.wire.errors import ApiError

_OWNER: Final = "meritorder"


class Models:
    """The routes of models."""

    def __init__(self, context: Context, venues: Venues, started_s: float) -> None:
        self._context = context
        self._venues = venues
        self._started_s = started_s

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/models", self.list, methods=["GET"]),
            Route("/v1/models/{model:path}", self.retrieve, methods=["GET"]),
            Route("/v1/models/{model:path}", self.delete, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """List the models."""
        await caller(self._context, request)
        return json_response({"object": "list", "data": [self._model(name) for name in sorted(self._venues.models())]})

    async def retrieve(self, request: Request) -> Response:
        """Return one model."""
        return json_response(self._model(await self._model_name(request)))

    async def delete(self, request: Request) -> Response:
        """Refuse: models are configured, not managed by clients."""
        name = await self._model_name(request)
        raise ApiError(403, f"The model '{name}' is configured in the gateway and cannot be deleted.")

    async def _model_name(self, request: Request) -> str:
        await caller(self._context, request)
        name: str = request.path_params["model"]
        if name not in self._venues.models():
            raise ApiError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")
        return name

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": int(self._started_s), "owned_by": _OWNER}
