"""Batches of Anthropic's messages, which the gateway keeps as those of chat completions."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from meritorder.client.api import BatchApi, RefusedError
from meritorder.client.calls import Answer, failure
from meritorder.client.journal import Batch

_BATCHES: Final = "/messages/batches"
_CHAT: Final = "/v1/chat/completions"
_REFUSED: Final = re.compile(r"requests\.(\d+)\b[.:]?\s*(?:params\.)?(.*)", re.DOTALL)
_STATUS: Final = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_NOT_RUN: Final = {
    "expired": failure(504, "The deadline has passed.", code="batch_expired"),
    "canceled": failure(409, "Its batch was cancelled.", code="batch_cancelled"),
}


class MessageBatchApi(BatchApi):
    """The batches of messages of one caller at one gateway."""

    async def upload(self, batch: Batch) -> str:
        """Upload the messages of a batch; return the id of the file.

        Raises:
            RefusedError: A message cannot be a chat completion; it names the line.
        """
        lines = map(json.loads, batch.input.splitlines())
        requests = [{"custom_id": line["custom_id"], "params": line["body"]} for line in lines]
        try:
            return str(json.loads(await self._send("POST", f"{_BATCHES}/files", json={"requests": requests}))["id"])
        except RefusedError as refused:
            raise _named(refused) from None

    async def results(self, ended: Mapping[str, Any]) -> dict[str, Answer]:
        """Return the answers of a batch that has ended, by the ids of its lines."""
        batch_id = "msgbatch_" + str(ended["id"]).removeprefix("batch_")
        content = await self._send("GET", f"{_BATCHES}/{batch_id}/results")
        return {result["custom_id"]: _answer(result["result"]) for result in map(json.loads, content.splitlines())}

    def _endpoint(self, batch: Batch) -> str:  # noqa: ARG002 - whichever it was
        return _CHAT


def _answer(result: Mapping[str, Any]) -> Answer:
    if result["type"] == "succeeded":
        return Answer(200, json.dumps(result["message"]).encode())
    if result["type"] == "errored":
        return Answer(_STATUS.get(result["error"]["error"]["type"], 400), json.dumps(result["error"]).encode())
    return _NOT_RUN[result["type"]]


def _named(refused: RefusedError) -> RefusedError:
    """Return the refusal of the one line that its message names."""
    body = json.loads(refused.answer.body)
    found = _REFUSED.fullmatch(str(body.get("error", {}).get("message")))
    if found is None:
        return refused
    body["error"]["message"] = found[2]
    return RefusedError(Answer(refused.answer.status, json.dumps(body).encode()), int(found[1]))
