"""Local servers that speak the batch APIs of three providers; `tests/unit/gateway/upstreams/test_contracts.py` drives
each with its official client. Batches end when a test says so; each server has a clock, which stands unless it is given
one that goes.
"""

import asyncio
import datetime as dt
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.samples.http_server import Asked, LocalServer, Wire

Json = dict[str, Any]
CREATED = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)
Clock = Callable[[], dt.datetime]


def route(asked: Asked) -> tuple[str, str, dict[str, str]]:
    """Return method, path and query."""
    parts = urlsplit(asked.path)
    return asked.method, parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}


def form_of(asked: Asked) -> dict[str, tuple[str | None, bytes]]:
    """Return the fields of a multipart form, each with its file name."""
    boundary = re.search(r'boundary="?([^";]+)', asked.headers["content-type"])[1].encode()
    fields = {}
    for part in asked.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)[1].decode()
        file = re.search(rb'filename="([^"]+)"', head)
        fields[name] = (file[1].decode() if file else None, content)
    return fields


def jsonl(lines: list[Json]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def page_after(items: list[Json], after: str | None, limit: int, key: str = "id") -> tuple[list[Json], bool]:
    """Return a page, latest first."""
    ordered = items[::-1]
    if after is not None:
        ordered = ordered[[item[key] for item in ordered].index(after) + 1 :]
    return ordered[:limit], len(ordered) > limit


@dataclass
class OpenAIBatchApi:
    """Files and batches. `end` decides what became of each line, by its custom_id."""

    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[Json] = field(default_factory=list)
    page: int = 2
    now: Clock = lambda: CREATED
    crash_after_create: bool = False
    refuses: bool = False
    hangs: bool = False
    forgotten: set[str] = field(default_factory=set)
    calls: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = LocalServer(self.answer)
        self._ids = itertools.count(1)

    async def answer(self, asked: Asked, wire: Wire) -> None:
        method, path, query = route(asked)
        if (method, path) == ("POST", "/v1/batches") and self.refuses:
            await wire.answer({"error": {"message": "not today", "type": "x", "param": None, "code": None}}, 400)
        elif (method, path) == ("POST", "/v1/files"):
            form = form_of(asked)
            name, content = form["file"]
            assert form["purpose"][1] == b"batch"
            await wire.answer(self.add_file(content, name or ""))
        elif (method, path) == ("POST", "/v1/batches"):
            batch = self.create(asked.json)
            if self.crash_after_create:
                self.crash_after_create = False
                await wire.reset()
            else:
                await wire.answer(batch)
        elif (method, path) == ("GET", "/v1/batches"):
            found, more = page_after(self.batches, query.get("after"), min(int(query.get("limit", 20)), self.page))
            ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]} if found else {}
            await wire.answer({"object": "list", "data": found, "has_more": more, **ends})
        elif match := re.fullmatch(r"/v1/batches/(\w+)(/cancel)?", path):
            if self.hangs:
                await asyncio.Event().wait()
            if match[1] in self.forgotten:
                await wire.answer({"error": {"message": "unknown", "type": "x", "param": None, "code": None}}, 404)
                return
            batch = self.batch(match[1])
            if match[2]:
                batch["status"] = "cancelling"
            await wire.answer(batch)
        elif match := re.fullmatch(r"/v1/files/([\w-]+)/content", path):
            await wire.answer(self.files[match[1]], kind="application/octet-stream")
        elif method == "DELETE" and (match := re.fullmatch(r"/v1/files/([\w-]+)", path)):
            del self.files[match[1]]
            await wire.answer({"id": match[1], "object": "file", "deleted": True})
        elif path == "/v1/models":
            await wire.answer({"object": "list", "data": [{"id": "m", "object": "model"}]})
        elif path == "/v1/chat/completions":
            self.calls.append(asked.json)
            await wire.answer(a_completion(asked.json))
        else:
            await wire.answer({"error": {"message": f"no {path}", "type": "x", "param": None, "code": None}}, 404)

    def add_file(self, content: bytes, name: str) -> Json:
        file_id = f"file-{next(self._ids)}"
        self.files[file_id] = content
        return {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": int(self.now().timestamp()),
            "filename": name,
            "purpose": "batch",
            "status": "processed",
        }

    def create(self, asked: Json) -> Json:
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        batch = {
            "id": f"batch_{next(self._ids)}",
            "object": "batch",
            "created_at": int(self.now().timestamp()),
            "status": "in_progress",
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            **{name: asked.get(name) for name in ("input_file_id", "endpoint", "completion_window", "metadata")},
        }
        self.batches.append(batch)
        return batch

    def batch(self, batch_id: str) -> Json:
        return next(batch for batch in self.batches if batch["id"] == batch_id)

    def lines(self, batch_id: str) -> list[Json]:
        return [json.loads(line) for line in self.files[self.batch(batch_id)["input_file_id"]].splitlines()]

    def end(self, batch_id: str, status: str, outcome: dict[str, int | str]) -> None:
        """End a batch: an HTTP status for each line that was answered, an error code for each that was not."""
        output, errors = [], []
        for line in self.lines(batch_id):
            what = outcome[line["custom_id"]]
            result: Json = {"id": f"r_{line['custom_id']}", "custom_id": line["custom_id"], "error": None}
            if isinstance(what, str):
                result |= {"response": None, "error": {"code": what, "message": "This request was not executed."}}
            else:
                body = a_completion(line["body"]) if what == 200 else {"error": {"message": "bad"}}
                result["response"] = {"status_code": what, "request_id": f"q_{line['custom_id']}", "body": body}
            (output if what == 200 else errors).append(result)
        batch = self.batch(batch_id)
        batch["status"] = status
        batch["request_counts"] |= {"completed": len(output), "failed": len(errors)}
        if output:
            batch["output_file_id"] = self.add_file(jsonl(output), "output.jsonl")["id"]
        if errors:
            batch["error_file_id"] = self.add_file(jsonl(errors), "errors.jsonl")["id"]


def a_completion(body: Json) -> Json:
    return {
        "id": f"chatcmpl-{body.get('user', '1')}",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hi", "refusal": None}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def a_message(text: str = "hi") -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 5},
    }


def anthropic_error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def forbidden(asked: Asked) -> str | None:
    """Return a field that the newer version of the API has no more."""
    if asked.headers["anthropic-version"] == "2023-06-01" or asked.method != "POST" or not asked.body:
        return None
    requests = [request["params"] for request in asked.json.get("requests", [])] or [asked.json]
    return next(
        (name for name in ("temperature", "top_p", "top_k") if any(name in fields for fields in requests)), None
    )


@dataclass
class AnthropicApi:
    """Messages and Message Batches."""

    batches: list[Json] = field(default_factory=list)
    requests: dict[str, list[Json]] = field(default_factory=dict)
    results: dict[str, list[Json]] = field(default_factory=dict)
    messages: list[Json] = field(default_factory=list)
    answers: list[Json] = field(default_factory=list)
    streams: list[list[tuple[str, Json]]] = field(default_factory=list)
    polled: set[str] = field(default_factory=set)
    page: int = 2
    now: Clock = lambda: CREATED
    crash_after_create: bool = False

    def __post_init__(self) -> None:
        self.server = LocalServer(self.answer)
        self._ids = itertools.count(1)

    async def answer(self, asked: Asked, wire: Wire) -> None:
        method, path, query = route(asked)
        if asked.headers.get("authorization") != "Bearer key":
            await wire.answer(anthropic_error("authentication_error", "invalid bearer token"), 401)
        elif asked.headers.get("anthropic-version") not in {"2023-06-01", "2026-10-21"}:
            await wire.answer(anthropic_error("invalid_request_error", "anthropic-version: header is required"), 400)
        elif field := forbidden(asked):
            await wire.answer(anthropic_error("invalid_request_error", f"{field}: Extra inputs are not permitted"), 400)
        elif path == "/v1/models":
            await wire.answer({"data": [{"type": "model", "id": "m"}], "has_more": False})
        elif (method, path) == ("POST", "/v1/messages"):
            await self.message(asked.json, wire)
        elif (method, path) == ("POST", "/v1/messages/batches"):
            batch = self.create(asked.json["requests"])
            if self.crash_after_create:
                self.crash_after_create = False
                await wire.reset()
            else:
                await wire.answer(batch)
        elif (method, path) == ("GET", "/v1/messages/batches"):
            found, more = page_after(self.batches, query.get("after_id"), min(int(query.get("limit", 20)), self.page))
            first, last = (found[0]["id"], found[-1]["id"]) if found else (None, None)
            await wire.answer({"data": found, "has_more": more, "first_id": first, "last_id": last})
        elif match := re.fullmatch(r"/v1/messages/batches/(\w+)/results", path):
            await wire.answer(jsonl(self.results[match[1]]), kind="application/x-jsonl")
        elif match := re.fullmatch(r"/v1/messages/batches/(\w+)(/cancel)?", path):
            batch = self.batch(match[1])
            self.polled.add(match[1])
            if match[2]:
                batch |= {"processing_status": "canceling", "cancel_initiated_at": self.now().isoformat()}
            await wire.answer(batch)
        else:
            await wire.answer({"type": "error", "error": {"type": "not_found_error", "message": path}}, 404)

    async def message(self, asked: Json, wire: Wire) -> None:
        self.messages.append(asked)
        if not asked.get("stream"):
            answer = self.answers.pop(0)
            if answer["type"] == "error":
                await wire.answer(answer, answer.pop("status"), headers={"retry-after": "3"})
            else:
                await wire.answer(answer)
            return
        await wire.begin()
        for name, data in self.streams.pop(0):
            await wire.event({"type": name, **data}, name)
        await wire.end()

    def create(self, requests: list[Json]) -> Json:
        batch_id = f"msgbatch_{next(self._ids)}"
        created = self.now()
        batch = {
            "id": batch_id,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": {"processing": len(requests), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
            "created_at": created.isoformat().replace("+00:00", "Z"),
            "expires_at": (created + dt.timedelta(days=1)).isoformat(),
            "ended_at": None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": None,
        }
        self.batches.append(batch)
        self.requests[batch_id] = requests
        return batch

    def batch(self, batch_id: str) -> Json:
        return next(batch for batch in self.batches if batch["id"] == batch_id)

    def end(self, batch_id: str, outcome: dict[str, str]) -> None:
        """End a batch: what became of each line (succeeded, errored, canceled, expired), by custom_id."""
        counts = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        lines = []
        for request in reversed(self.requests[batch_id]):
            what = outcome[request["custom_id"]]
            counts[what] += 1
            result: Json = {"type": what}
            if what == "succeeded":
                result["message"] = a_message(request["custom_id"])
            if what == "errored":
                inner = {"type": "invalid_request_error", "message": "messages: too long"}
                result["error"] = {"type": "error", "error": inner, "request_id": None}
            lines.append({"custom_id": request["custom_id"], "result": result})
        self.results[batch_id] = lines
        self.batch(batch_id).update(
            processing_status="ended",
            request_counts=counts,
            ended_at=self.now().isoformat(),
            results_url=f"{self.server.url}/v1/messages/batches/{batch_id}/results",
        )


def a_content(text: str = "hi", **fields: Any) -> Json:
    return {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0, **fields}
        ],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13},
        "modelVersion": "gemini-m",
        "responseId": "resp1",
    }


@dataclass
class GeminiApi:
    """generateContent, files and batches."""

    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[Json] = field(default_factory=list)
    asked: list[Json] = field(default_factory=list)
    answers: list[Json] = field(default_factory=list)
    streams: list[list[Json]] = field(default_factory=list)
    page: int = 2
    now: Clock = lambda: CREATED
    crash_after_create: bool = False
    elsewhere: str = ""

    def __post_init__(self) -> None:
        self.server = LocalServer(self.answer)
        self._ids = itertools.count(1)

    async def answer(self, asked: Asked, wire: Wire) -> None:
        method, path, query = route(asked)
        if asked.headers.get("x-goog-api-key") != "key" and "upload_id" not in query:
            error = {"code": 403, "message": "API key not valid.", "status": "PERMISSION_DENIED"}
            await wire.answer({"error": error}, 403)
        elif path == "/upload/v1/files":
            await self.upload(asked, query, wire)
        elif match := re.fullmatch(r"/v1/models/([\w.-]+):generateContent", path):
            self.asked.append(asked.json)
            answer = self.answers.pop(0)
            await wire.answer(answer, answer["error"]["code"] if "error" in answer else 200)
        elif match := re.fullmatch(r"/v1/models/([\w.-]+):streamGenerateContent", path):
            assert query["alt"] == "sse"
            self.asked.append(asked.json)
            await wire.begin()
            for data in self.streams.pop(0):
                await wire.event(data)
            await wire.end()
        elif match := re.fullmatch(r"/v1/models/([\w.-]+):batchGenerateContent", path):
            batch = self.create(asked.json["batch"], match[1])
            if self.crash_after_create:
                self.crash_after_create = False
                await wire.reset()
            else:
                await wire.answer(batch)
        elif (method, path) == ("GET", "/v1/batches"):
            limit = min(int(query.get("pageSize", 20)), self.page)
            found, more = page_after(self.batches, query.get("pageToken"), limit, key="name")
            await wire.answer({"operations": found, **({"nextPageToken": found[-1]["name"]} if more else {})})
        elif match := re.fullmatch(r"/v1/(batches/\w+)(:cancel)?", path):
            batch = self.batch(match[1])
            if match[2]:
                batch["metadata"]["state"] = "BATCH_STATE_CANCELLED"
            await wire.answer({} if match[2] else batch)
        elif match := re.fullmatch(r"/v1/(files/\w+):download", path):
            assert query["alt"] == "media"
            await wire.answer(self.files[match[1]], kind="application/octet-stream")
        elif method == "DELETE" and (match := re.fullmatch(r"/v1/(files/\w+)", path)):
            del self.files[match[1]]
            await wire.answer({})
        else:
            await wire.answer({"error": {"code": 404, "message": path, "status": "NOT_FOUND"}}, 404)

    async def upload(self, asked: Asked, query: dict[str, str], wire: Wire) -> None:
        if "start" in asked.headers["x-goog-upload-command"]:
            assert asked.headers["x-goog-upload-protocol"] == "resumable"
            url = f"{self.elsewhere or self.server.url}/upload/v1/files?upload_id={next(self._ids)}"
            await wire.answer({}, headers={"x-goog-upload-url": url, "x-goog-upload-status": "active"})
            return
        assert asked.headers["x-goog-upload-command"] == "upload, finalize"
        name = f"files/f{query['upload_id']}"
        self.files[name] = asked.body
        file = {"name": name, "mimeType": "application/jsonl", "sizeBytes": str(len(asked.body)), "state": "ACTIVE"}
        await wire.answer({"file": file}, headers={"x-goog-upload-status": "final"})

    def create(self, asked: Json, model: str) -> Json:
        lines = self.files[asked["inputConfig"]["fileName"]].splitlines()
        name = f"batches/b{next(self._ids)}"
        metadata = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": f"models/{model}",
            "displayName": asked["displayName"],
            "createTime": self.now().isoformat().replace("+00:00", "Z"),
            "inputConfig": asked["inputConfig"],
            "batchStats": {"requestCount": str(len(lines)), "pendingRequestCount": str(len(lines))},
            "state": "BATCH_STATE_PENDING",
            "name": name,
        }
        batch = {"name": name, "metadata": metadata}
        self.batches.append(batch)
        return batch

    def batch(self, name: str) -> Json:
        return next(batch for batch in self.batches if batch["name"] == name)

    def end(self, name: str, state: str, outcome: dict[str, str]) -> None:
        """End a batch: what became of each line (ok, error), by key."""
        batch = self.batch(name)
        lines = []
        for line in self.files[batch["metadata"]["inputConfig"]["fileName"]].splitlines():
            key = json.loads(line)["key"]
            if outcome.get(key) == "ok":
                lines.append({"key": key, "response": a_content(key)})
            elif outcome.get(key) == "error":
                lines.append({"key": key, "error": {"code": 3, "message": "too long"}})
        metadata = batch["metadata"]
        metadata["state"] = state
        good = sum(what == "ok" for what in outcome.values())
        metadata["batchStats"] = {
            "requestCount": metadata["batchStats"]["requestCount"],
            "successfulRequestCount": str(good),
            "failedRequestCount": str(len(lines) - good),
        }
        if lines:
            output = f"files/o{next(self._ids)}"
            self.files[output] = jsonl(lines)
            metadata["output"] = {"responsesFile": output}
            batch |= {"done": True, "response": {"responsesFile": output}}
