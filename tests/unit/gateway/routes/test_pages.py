"""The pages of the web application behind the gateway."""

import re
from pathlib import Path

import pytest
from starlette.routing import Mount, Route
from tests.samples.service import call, open_service

from meritorder.gateway.routes.pages import PATHS
from meritorder.web.app import create_app


def _matches(path: str) -> bool:
    return any(re.fullmatch(re.sub(r"\{\w+:path\}", ".+", known), path) for known in PATHS)


def test_every_page_is_passed_on() -> None:
    routes = create_app()._application.routes  # type: ignore[attr-defined]
    paths = [f"{route.path}/app.js" if isinstance(route, Mount) else route.path for route in routes]
    assert {path for path in paths if not _matches(path)} == {"/health"}  # which is the gateway's own
    assert all(isinstance(route, Route | Mount) for route in routes)


@pytest.mark.parametrize("path", ["/", "/ledger?by=day", "/api/live", "/batches/batch_1/receipt"])
def test_pages_that_start_are_said(tmp_path: Path, path: str) -> None:
    with open_service(tmp_path, ui={"enabled": True}) as service:
        reply = call(service, "GET", path)
        assert service.pages is not None
        assert (reply.status, b"The pages are starting." in reply.body) == (503, True)
        assert call(service, "GET", "/health").status == 200
        assert call(service, "GET", "/v1/nothing").status == 404
        assert call(service, "DELETE", "/v1/batches").status == 405


def test_gateway_without_pages_has_none(tmp_path: Path) -> None:
    with open_service(tmp_path) as service:
        assert (service.pages, call(service, "GET", "/").status) == (None, 404)
