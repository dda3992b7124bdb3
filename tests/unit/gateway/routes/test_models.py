from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


def test_models_of_configuration(service: Service) -> None:
    assert [model["id"] for model in call(service, "GET", "/v1/models").json["data"]] == ["m"]
    assert call(service, "GET", "/v1/models/m").json["object"] == "model"


def test_unknown_model_is_404(service: Service) -> None:
    reply = call(service, "GET", "/v1/models/other")
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


def test_models_cannot_be_deleted(service: Service) -> None:
    assert call(service, "DELETE", "/v1/models/m").status == 403
    assert call(service, "DELETE", "/v1/models/other").status == 404
