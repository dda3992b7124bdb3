"""A scripted engine over real HTTP, as a process of its own: it plays faults, and answers at a set speed.

    python -m tests.peers.engine --port 0 --max-sequences 8 --token-s 0.01

It announces its port on standard output. Faults are asked for in a request's last message, as `fault:NAME`.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import uvicorn

Scope = dict[str, Any]

MAX_TOKENS = 20_000  # as the context of a real engine
STORM = 4  # requests that are refused before one is taken
ANSWER = ("merit", " order", " is", " the", " cheapest", " first")


class Engine:
    """A server that runs a limited number of sequences, at a set time per token."""

    def __init__(self, max_sequences: int, token_s: float) -> None:
        self.free_sequences = asyncio.Semaphore(max_sequences)
        self.max_sequences = max_sequences
        self.token_s = token_s
        self.running = self.waiting = self.served = self.cut = 0
        self.seen: dict[str, int] = {}
        self.traces: list[str] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/health":
            await respond(send, 200, b"{}")
            return
        if scope["path"] == "/metrics":
            await respond(send, 200, self.metrics(), b"text/plain")
            return
        if scope["path"] == "/seen":
            report = {"seen": self.seen, "served": self.served, "cut": self.cut, "traces": self.traces}
            await respond(send, 200, json.dumps(report).encode())
            return
        body = await read(receive)
        fields = json.loads(body)
        self.traces += [value.decode() for name, value in scope["headers"] if name == b"traceparent"]
        last = str((fields.get("messages") or [{"content": fields.get("prompt") or fields.get("input", "")}])[-1])
        fault = last.partition("fault:")[2].partition(" ")[0].rstrip("'}\"") if "fault:" in last else ""
        self.seen[last] = self.seen.get(last, 0) + 1
        if await self.failed(fault, self.seen[last], send):
            return
        self.waiting += 1
        async with self.free_sequences:
            self.waiting -= 1
            self.running += 1
            try:
                await self.answer(scope["path"], fields, receive, send)
                self.served += 1
            finally:
                self.running -= 1

    async def failed(self, fault: str, times: int, send: Any) -> bool:
        """Play a fault; those that end in `-once` only the first time, storms for a while."""
        name = fault.removesuffix("-once")
        if not name or ("-once" in fault and times > 1) or (name.startswith("storm") and times > STORM):
            return False
        if name == "hang":
            await asyncio.sleep(3600)
        if name == "cut":
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await event(send, {"id": "cmpl-1", "created": 1, "choices": [{"index": 0, "delta": {"content": "mer"}}]})
        if name in {"cut", "reset"}:
            raise ConnectionResetError
        if name in {"json", "html"}:
            body, kind = (b"{not json", b"application/json") if name == "json" else (b"<html>", b"text/html")
            await respond(send, 200, body, kind)
        elif name == "bare":
            # As llama.cpp reports it.
            error = {"error": {"code": 400, "message": "fault", "type": "invalid_request_error"}}
            await respond(send, 400, json.dumps(error).encode())
        elif name.isdigit() or name.startswith("storm"):
            error = {"message": f"fault {name}", "type": "server_error", "param": None, "code": None}
            after = [(b"retry-after", b"1")] if name == "storm-after" else []
            status = int(name) if name.isdigit() else 429
            await respond(send, status, json.dumps({"error": error}).encode(), more=after)
        else:
            return False
        return True

    async def answer(self, path: str, fields: Scope, receive: Any, send: Any) -> None:
        model = fields.get("model")
        limits = ("max_tokens", "max_completion_tokens", "max_output_tokens")
        count = min(next((fields[name] for name in limits if fields.get(name)), len(ANSWER)), MAX_TOKENS)
        words = [ANSWER[i % len(ANSWER)] for i in range(count)]
        usage = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
        if path.endswith("/embeddings"):
            given = fields.get("input")
            inputs = given if isinstance(given, list) else [given]
            data = [{"object": "embedding", "index": i, "embedding": [0.0, 1.0]} for i in range(len(inputs))]
            usage = {"prompt_tokens": 7, "total_tokens": 7}
            await respond(
                send, 200, json.dumps({"object": "list", "data": data, "model": model, "usage": usage}).encode()
            )
            return
        chat = path.endswith("/chat/completions")
        base = {"id": fields.get("user") or "cmpl-1", "created": 1, "model": model}
        if "/responses" in path:
            await asyncio.sleep(self.token_s * count)
            await self.respond(path, fields, response(fields, "".join(words), count), send)
            return
        if not fields.get("stream"):
            if self.token_s:
                await asyncio.sleep(self.token_s * count)
            text = "".join(words)
            choice: Scope = {"index": 0, "finish_reason": "stop", "logprobs": None}
            choice |= {"message": {"role": "assistant", "content": text, "refusal": None}} if chat else {"text": text}
            kind = "chat.completion" if chat else "text_completion"
            await respond(send, 200, json.dumps({**base, "object": kind, "choices": [choice], "usage": usage}).encode())
            return
        kind = "chat.completion.chunk" if chat else "text_completion"
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.ensure_future(receive())
        drip = "fault:drip" in str(fields.get("messages"))
        for i, word in enumerate(words):
            if self.token_s:
                await asyncio.sleep(self.token_s)
            if gone.done():
                self.cut += 1
                return
            choice = {"index": 0, "finish_reason": None, "logprobs": None}
            delta = {"content": word} | ({"role": "assistant"} if i == 0 else {})
            choice |= {"delta": delta} if chat else {"text": word}
            await event(send, {**base, "object": kind, "choices": [choice]}, drip=drip)
        last: Scope = {"index": 0, "finish_reason": "stop", "logprobs": None} | (
            {"delta": {}} if chat else {"text": ""}
        )
        await event(send, {**base, "object": kind, "choices": [last]})
        if (fields.get("stream_options") or {}).get("include_usage"):
            await event(send, {**base, "object": kind, "choices": [], "usage": usage})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        gone.cancel()

    async def respond(self, path: str, fields: Scope, made: Scope, send: Any) -> None:
        """Answer a call of the Responses API."""
        if path.endswith("/input_tokens"):
            made = {"object": "response.input_tokens", "input_tokens": 7}
        elif path.endswith("/compact"):
            made |= {"id": "comp_1", "object": "response.compaction"}
        elif fields.get("stream"):
            headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number, kind in enumerate(("response.created", "response.completed")):
                data = json.dumps({"type": kind, "sequence_number": number, "response": made})
                part = f"event: {kind}\ndata: {data}\n\n".encode()
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        await respond(send, 200, json.dumps(made).encode())

    def metrics(self) -> bytes:
        labels = '{model_name="stub"}'
        return (
            f"vllm:num_requests_running{labels} {self.running}\n"
            f"vllm:num_requests_waiting{labels} {self.waiting}\n"
            f"vllm:kv_cache_usage_perc{labels} {self.running / self.max_sequences}\n"
        ).encode()


def response(fields: Scope, text: str, count: int) -> Scope:
    """Return a response object."""
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}
    details = {
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": fields.get("model"),
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": fields.get("instructions"),
        "metadata": fields.get("metadata") or {},
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": {"input_tokens": 7, "output_tokens": count, "total_tokens": 7 + count, **details},
    }


async def read(receive: Any) -> bytes:
    """Return the body of a request."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def respond(
    send: Any, status: int, body: bytes, kind: bytes = b"application/json", more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def event(send: Any, data: Scope, *, drip: bool = False) -> None:
    """Send one event; byte by byte if it is to drip."""
    whole = b"data: " + json.dumps(data).encode() + b"\n\n"
    for part in [whole[at : at + 1] for at in range(len(whole))] if drip else [whole]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
        if drip:
            await asyncio.sleep(0.001)


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"{self.servers[0].sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--max-sequences", type=int, default=8)
    parser.add_argument("--token-s", type=float, default=0.0)
    options = parser.parse_args()
    engine = Engine(options.max_sequences, options.token_s)
    config = uvicorn.Config(
        engine,
        port=options.port,
        log_level="critical",
        access_log=False,
        lifespan="off",
        loop="uvloop",
        timeout_graceful_shutdown=1,  # a hanging connection does not delay it
    )
    _Server(config).run()


if __name__ == "__main__":
    main()
