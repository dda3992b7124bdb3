"""Lists that are in memory already, by the same cursors as those of the store."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from meritorder.gateway.wire import fields as checks
from meritorder.gateway.wire.objects import list_object
from meritorder.gateway.wire.problems import invalid


def order_of(request: Request, default: str) -> bool:
    """Return whether a list is to ascend.

    Raises:
        Problem: `order` is neither of the two.
    """
    order = request.query_params.get("order", default)
    if order not in {"asc", "desc"}:
        raise invalid(
            f"Invalid value: '{order}'. Supported values are: 'asc' and 'desc'.", param="order", code="invalid_value"
        )
    return order == "asc"


def cut(items: Sequence[dict[str, Any]], request: Request, *, ascending: bool) -> dict[str, Any]:
    """Return the page of a list that a request asks for.

    Raises:
        Problem: No item has the id `after`.
    """
    items = items if ascending else items[::-1]
    after = request.query_params.get("after")
    if after:
        at = next((number for number, item in enumerate(items) if item.get("id") == after), None)
        if at is None:
            raise invalid(f"No such object: {after!r}.", param="after")
        items = items[at + 1 :]
    limit = checks.limit(request.query_params.get("limit"), default=20, most=100)
    return list_object(items[:limit], has_more=len(items) > limit)
