"""Conversations: made, changed, listed and deleted, each tenant its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai.types.conversations import Conversation, ConversationItem
from pydantic import TypeAdapter
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service

HELLO = {"role": "user", "content": "hello"}
ITEM: TypeAdapter[ConversationItem] = TypeAdapter(ConversationItem)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


def test_conversation_from_creation_to_deletion(service: Service) -> None:
    made = call(service, "POST", "/v1/conversations", {"items": [HELLO], "metadata": {"a": "b"}}).json
    assert Conversation.model_validate(made).metadata == {"a": "b"}
    path = f"/v1/conversations/{made['id']}"
    assert call(service, "POST", path, {"metadata": {"c": "d"}}).json["metadata"] == {"c": "d"}
    assert call(service, "DELETE", path).json == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    assert call(service, "GET", path).status == 404


def test_items_are_added_listed_and_deleted(service: Service) -> None:
    made = call(service, "POST", "/v1/conversations", {}).json
    path = f"/v1/conversations/{made['id']}/items"
    answer = {"role": "assistant", "content": "yes"}
    added = call(service, "POST", path, {"items": [HELLO, answer]}).json["data"]
    assert [ITEM.validate_python(item).type for item in added] == ["message", "message"]
    listed = call(service, "GET", path).json
    assert [item["id"] for item in listed["data"]] == [item["id"] for item in reversed(added)]
    assert call(service, "GET", f"{path}/{added[0]['id']}").json == added[0]
    assert call(service, "DELETE", f"{path}/{added[0]['id']}").json["id"] == made["id"]
    assert call(service, "GET", path).json["data"] == added[1:]
    assert call(service, "GET", f"{path}/{added[0]['id']}").status == 404


@pytest.mark.parametrize("items", ["hello", [7], [HELLO] * 21])
def test_invalid_items_are_refused(service: Service, items: object) -> None:
    reply = call(service, "POST", "/v1/conversations", {"items": items})
    assert (reply.status, reply.json["error"]["param"]) == (400, "items")


@pytest.mark.parametrize("kind", [{"a": 1}, [[]], 7])
def test_item_of_no_type_is_refused(service: Service, kind: object) -> None:
    reply = call(service, "POST", "/v1/conversations", {"items": [HELLO, {**HELLO, "type": kind}]})
    assert (reply.status, reply.json["error"]["param"]) == (400, "items[1].type")
