"""OpenAI's objects as they go out: every field that the `openai` package knows, null where there is nothing."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from meritorder.gateway.store.batches import Batch
from meritorder.gateway.store.files import File
from meritorder.gateway.store.kept import Kept


def file_object(file: File) -> dict[str, Any]:
    """Return a file as `openai.types.FileObject`."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_s),
        "expires_at": _whole(file.expires_s),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_object(batch: Batch) -> dict[str, Any]:
    """Return a batch as `openai.types.Batch`; `paused_at` is ours."""
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
        "in_progress_at": _whole(batch.in_progress_s),
        "expires_at": _whole(batch.expires_s),
        "finalizing_at": _whole(batch.finalizing_s),
        "completed_at": _whole(batch.completed_s),
        "failed_at": _whole(batch.failed_s),
        "expired_at": _whole(batch.expired_s),
        "cancelling_at": _whole(batch.cancelling_s),
        "cancelled_at": _whole(batch.cancelled_s),
        "paused_at": _whole(batch.paused_s),
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


def response_object(item: Kept, status: str) -> dict[str, Any]:
    """Return a response: as the venue answered it under our id, or as far as it is known before."""
    answer = msgspec.json.decode(item.answer) if item.answer else {}
    if status == "completed":
        return {**answer, "id": item.id, **({"background": True} if item.request_seq is not None else {})}
    asked = msgspec.json.decode(item.request)
    error = answer.get("error") if status == "failed" else None
    if error is not None:
        error = {"code": "server_error", "message": error.get("message") or "The request failed."}
    return {
        **asked_of_response(asked),
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


def asked_of_response(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a response that say what was asked, and those that are null for want of anything to say."""
    return {
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata") or {},
        "model": asked.get("model"),
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "service_tier": asked.get("service_tier"),
        "temperature": asked.get("temperature"),
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p"),
    }


def list_object(items: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page of a list."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def batch_line(
    line_id: str,
    custom_id: str,
    *,
    status_code: int | None,
    request_id: str | None,
    body: bytes | None,
    error_code: str | None,
    error_message: str | None,
) -> bytes:
    """Return a line of an output or error file; an HTTP error keeps its `response`, `error` is for no answer."""
    response = None
    if status_code is not None:
        response = {"status_code": status_code, "request_id": request_id, "body": _json(body or b"null")}
    error = None if status_code is not None else {"code": error_code, "message": error_message}
    line = {"id": line_id, "custom_id": custom_id, "response": response, "error": error}
    return msgspec.json.encode(line) + b"\n"


def _json(body: bytes) -> Any:  # noqa: ANN401 - goes out as it is
    try:
        return msgspec.Raw(msgspec.json.format(body, indent=-1))  # on one line
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace")


def _whole(time_s: float | None) -> int | None:
    return None if time_s is None else int(time_s)
