import json
from typing import Any

import pytest
from starlette.requests import Request

from meritorder.gateway.errors import UnknownCursorError
from meritorder.gateway.routes.answering import is_ascending, page_object
from meritorder.gateway.wire.errors import ApiError

ITEMS = [{"id": f"msg_{number}"} for number in range(3)]


def request(query: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()})


def ids(query: str, *, ascending: bool = True) -> tuple[list[str], bool]:
    page: dict[str, Any] = page_object(ITEMS, request(query), ascending=ascending)
    assert json.dumps(page)
    return [item["id"] for item in page["data"]], page["has_more"]


def test_pages_follow_cursor() -> None:
    assert ids("limit=2") == (["msg_0", "msg_1"], True)
    assert ids("limit=2&after=msg_1") == (["msg_2"], False)
    assert ids("after=msg_1", ascending=False) == (["msg_0"], False)


def test_unknown_cursor_is_an_error() -> None:
    with pytest.raises(UnknownCursorError):
        ids("after=msg_9")


def test_order_of_lists() -> None:
    assert is_ascending(request(""), "asc")
    assert not is_ascending(request("order=desc"), "asc")
    with pytest.raises(ApiError):
        is_ascending(request("order=up"), "asc")
