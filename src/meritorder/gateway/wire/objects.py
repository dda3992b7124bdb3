"""OpenAI's objects as sent to clients, with every field that the `openai` package knows."""

import json
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypedDict, TypeVar

import msgspec

from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.queue.batches import PAUSABLE, Batch
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.store.responses.stored_answers import StoredAnswer
from meritorder.gateway.wire.echo import echoed_fields, echoed_history
from meritorder.gateway.wire.quotas import PauseFields, pause_fields

JsonObject = dict[str, Any]
_Item = TypeVar("_Item")


class Page(TypedDict, Generic[_Item]):
    """One page of a list."""

    object: Literal["list"]
    data: list[_Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileObject(TypedDict):
    """An uploaded file, or the results of a batch."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: str | None


class RequestCounts(TypedDict):
    """The requests of a batch by their state."""

    total: int
    completed: int
    failed: int


class BatchObject(TypedDict):
    """A batch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: JsonObject | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    paused_at: int | None
    paused_reason: JsonObject | None
    request_counts: RequestCounts
    usage: JsonObject
    metadata: dict[str, str] | None


class ConversationObject(TypedDict):
    """A conversation, without its items."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


def file_object(file: StoredFile) -> FileObject:
    """Return a file as `openai.types.FileObject`."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_s),
        "expires_at": _epoch(file.expires_s),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_object(batch: Batch, spent: BudgetState | None = None) -> BatchObject:
    """Return a batch as `openai.types.Batch`, and `paused_at` and `paused_reason`.

    Args:
        batch: The batch.
        spent: A budget of its key of which nothing is left; until it is renewed or raised, the batch is paused.
    """
    paused: PauseFields = {"paused_at": _epoch(batch.paused_s), "paused_reason": None}
    if batch.paused_s is None and batch.status in PAUSABLE and spent is not None:
        paused = pause_fields(spent)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": json.loads(batch.errors) if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_s),
        "in_progress_at": _epoch(batch.in_progress_s),
        "expires_at": _epoch(batch.expires_s),
        "finalizing_at": _epoch(batch.finalizing_s),
        "completed_at": _epoch(batch.completed_s),
        "failed_at": _epoch(batch.failed_s),
        "expired_at": _epoch(batch.expired_s),
        "cancelling_at": _epoch(batch.cancelling_s),
        "cancelled_at": _epoch(batch.cancelled_s),
        **paused,
        "request_counts": {"total": batch.total, "completed": batch.done, "failed": batch.failed},
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "metadata": json.loads(batch.metadata) if batch.metadata else None,
    }


def response_object(item: StoredAnswer, status: str) -> JsonObject:
    """Return a response as the venue answered it, or without output while it has no answer."""
    answer = msgspec.json.decode(item.answer) if item.answer else {}
    if status == "completed":
        if item.request_seq is None:
            return {**answer, "id": item.id}
        return {**answer, "id": item.id, "background": True, **echoed_history(msgspec.json.decode(item.request))}
    request = msgspec.json.decode(item.request)
    error = answer.get("error") if status == "failed" else None
    if error is not None:
        error = {"code": "server_error", "message": error.get("message") or "The request failed."}
    return {
        **echoed_fields(request),
        "id": item.id,
        "object": "response",
        "created_at": int(item.created_s),
        "status": status,
        "background": True,
        "error": error,
        "model": item.model,
        "output": [],
        "usage": None,
    }


def response_body(item: StoredAnswer, status: str) -> bytes:
    """Return `response_object` as JSON."""
    return msgspec.json.encode(response_object(item, status))


def conversation_object(item: StoredAnswer) -> ConversationObject:
    """Return a conversation as `openai.types.conversations.Conversation`."""
    return {
        "id": item.id,
        "object": "conversation",
        "created_at": int(item.created_s),
        "metadata": json.loads(item.metadata) if item.metadata else {},
    }


def list_object(items: Sequence[Any], *, has_more: bool) -> Page[Any]:
    """Return a page as `openai.types` lists are sent."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more and bool(items),  # a page of none leads to no further page
    }


def batch_output_line(
    line_id: str,
    custom_id: str,
    *,
    status_code: int | None,
    request_id: str | None,
    body: bytes | None,
    error_code: str | None,
    error_message: str | None,
) -> bytes:
    """Return a line of an output or error file; `error` is set only if there was no HTTP answer."""
    response = None
    if status_code is not None:
        response = {"status_code": status_code, "request_id": request_id, "body": _json(body or b"null")}
    error = None if status_code is not None else {"code": error_code, "message": error_message}
    line = {"id": line_id, "custom_id": custom_id, "response": response, "error": error}
    return msgspec.json.encode(line) + b"\n"


def _json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return msgspec.Raw(msgspec.json.format(body, indent=-1))  # on one line
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace")


def _epoch(time_s: float | None) -> int | None:
    return None if time_s is None else int(time_s)
