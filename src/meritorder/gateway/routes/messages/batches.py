"""Anthropic's batches of messages, converted to the gateway's own batches and back."""

import datetime as dt
import re
from typing import Any, Final

import msgspec

from meritorder.gateway.errors import UnsupportedError
from meritorder.gateway.routes.messages import answer
from meritorder.gateway.routes.messages.request import to_chat
from meritorder.gateway.routes.messages.schema import CUSTOM_ID
from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import anthropic_error, invalid_request

CHAT: Final = "/v1/chat/completions"
ENDED: Final = ("completed", "failed", "expired", "cancelled")
_ENDINGS: Final = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_NOT_RUN: Final = {"batch_expired": "expired", "batch_cancelled": "canceled"}
_BOUNDARY: Final = b"meritorder-batch"
FORM_TYPE: Final = f"multipart/form-data; boundary={_BOUNDARY.decode()}"
_FORM_START: Final = (
    b'--%b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--%b\r\nContent-Disposition: form-data; name="file"; filename="messages.jsonl"\r\n\r\n' % (_BOUNDARY, _BOUNDARY)
)
_FORM_END: Final = b"\r\n--%b--\r\n" % _BOUNDARY


def to_form(body: bytes) -> tuple[bytes, int]:
    """Return a form that uploads the requests of a batch as lines of the gateway's own batches, and their number."""
    requests = checks.json_object(body).get("requests")
    if not isinstance(requests, list) or not requests:
        raise invalid_request("requests: Field required", param="requests")
    lines = (_line(number, item) for number, item in enumerate(requests))
    return b"".join((_FORM_START, *lines, _FORM_END)), len(requests)


def _line(number: int, item: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a request of a batch as a line of the gateway's own batches."""
    custom_id, params = (item.get("custom_id"), item.get("params")) if isinstance(item, dict) else (None, None)
    if not isinstance(custom_id, str) or not isinstance(params, dict):
        raise invalid_request(f"requests.{number}: needs a custom_id and params", param=f"requests.{number}")
    if not re.fullmatch(CUSTOM_ID, custom_id):
        message = f"requests.{number}.custom_id: needs 1 to 64 letters, digits, '_' and '-'"
        raise invalid_request(message, param=f"requests.{number}.custom_id")
    try:
        chat = to_chat(params)
    except UnsupportedError as error:
        raise invalid_request(f"requests.{number}.params.{error.what}", param=f"requests.{number}") from None
    chat.pop("stream", None)
    chat.pop("stream_options", None)
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": chat}
    return msgspec.json.encode(line) + b"\n"


def own_id(batch_id: str) -> str:
    """Return the id of the gateway's own batch."""
    return "batch_" + batch_id.removeprefix("msgbatch_")


def to_batch(batch: Json, batches_url: str, *, total: int | None = None) -> Json:
    """Return a batch as `anthropic.types.messages.MessageBatch`.

    Args:
        batch: One of the gateway's own.
        batches_url: The address of batches of messages.
        total: Number of its requests, where the batch does not have it yet.
    """
    batch_id = "msgbatch_" + batch["id"].removeprefix("batch_")
    counts, has_ended = batch["request_counts"], batch["status"] in ENDED
    known = counts["total"] if total is None else total
    left = known - counts["completed"] - counts["failed"]
    ended_at = next((batch[name] for name in _ENDINGS if batch.get(name)), None)
    is_cancelled = batch["status"] in {"cancelling", "cancelled"}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "ended" if has_ended else "canceling" if is_cancelled else "in_progress",
        "request_counts": {
            "processing": 0 if has_ended else left,
            "succeeded": counts["completed"],
            "errored": counts["failed"],
            "canceled": left if has_ended and batch["status"] == "cancelled" else 0,
            "expired": left if batch["status"] == "expired" else 0,
        },
        "created_at": _time(batch["created_at"]),
        "expires_at": _time(batch["expires_at"]),
        "ended_at": _time(ended_at),
        "archived_at": None,
        "cancel_initiated_at": _time(batch.get("cancelling_at")),
        "results_url": f"{batches_url}/{batch_id}/results" if has_ended else None,
    }


def _time(epoch_s: int | None) -> str | None:
    return None if epoch_s is None else dt.datetime.fromtimestamp(epoch_s, dt.UTC).isoformat().replace("+00:00", "Z")


def to_result(line: bytes) -> bytes:
    """Return a line of a result file as a result of Anthropic's batches."""
    if not line:
        return b""
    given = msgspec.json.decode(line)
    response, code = given.get("response"), (given.get("error") or {}).get("code")
    result: Json
    if response is None:
        kind = _NOT_RUN.get(str(code))
        result = (
            {"type": kind} if kind else {"type": "errored", "error": anthropic_error(500, given["error"]["message"])}
        )
    elif response["status_code"] == 200:
        result = {"type": "succeeded", "message": answer.to_message(response["body"])}
    else:
        body = msgspec.json.encode(response["body"])
        result = {"type": "errored", "error": answer.to_error(response["status_code"], body)}
    return msgspec.json.encode({"custom_id": given["custom_id"], "result": result}) + b"\n"
