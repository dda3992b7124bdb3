from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


CHAT = {"model": "m", "messages": []}


def test_background_needs_stored_response(service: Service) -> None:
    chat = call(service, "POST", "/v1/chat/completions", CHAT | {"background": True})
    assert (chat.status, chat.json["error"]["param"]) == (400, "background")
    reply = call(service, "POST", "/v1/responses", {"model": "m", "input": "x", "background": True, "store": False})
    assert (reply.status, reply.json["error"]["param"]) == (400, "store")


def test_background_response_is_queued(service: Service) -> None:
    reply = call(service, "POST", "/v1/responses", {"input": "x", "background": True})
    assert (reply.json["status"], reply.json["model"]) == ("queued", "m")
    assert call(service, "GET", f"/v1/responses/{reply.json['id']}").json["status"] == "queued"
