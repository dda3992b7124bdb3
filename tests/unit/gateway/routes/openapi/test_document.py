import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.routing import Route
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.routes.openapi.document import document


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


def test_document_is_valid_openapi() -> None:
    validate(document())


def test_every_route_is_described(service: Service) -> None:
    routed = {
        (re.sub(r":\w+}", "}", route.path), method)
        for route in service._routes.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(path, method.upper()) for path, methods in document()["paths"].items() for method in methods}
    assert described == routed


def test_document_needs_no_key(tmp_path: Path) -> None:
    with open_service(tmp_path, server={"require_keys": True}) as service:
        paths = call(service, "GET", "/openapi.json").json["paths"]
    assert paths["/v1/files"]["get"]["security"] == [{"key": []}]
    assert {"key": []} in paths["/v1/messages"]["post"]["security"]
    assert "401" in paths["/v1/files"]["get"]["responses"]
    assert "security" not in paths["/health"]["get"]


def test_keyless_gateway_needs_none(service: Service) -> None:
    operation: dict[str, Any] = call(service, "GET", "/openapi.json").json["paths"]["/v1/files"]["get"]
    assert "security" not in operation
    assert "401" not in operation["responses"]


def test_other_methods_name_allowed_ones(service: Service) -> None:
    allowed = {path: call(service, "PUT", path).headers[b"allow"] for path in ("/v1/files", "/v1/responses/compact")}
    assert allowed == {"/v1/files": b"GET, HEAD, POST", "/v1/responses/compact": b"POST"}
