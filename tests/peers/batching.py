"""An engine that batches as real ones do, sleeping instead of computing, as a process of its own.

    python -m tests.peers.batching --max-sequences 8 --step-s 0.0 --token-s 0.01

A step takes `step_s`, and `token_s` for each token in it: one for each sequence that is being answered, and as much of
the prompts as its budget allows, first come first served. It speaks llama.cpp's metrics, and a sequence ends as soon as
the client of its stream disconnects. It announces its port on standard output.
"""

import argparse
import asyncio
import json
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from tests.peers.engine import event, read, respond

Scope = dict[str, Any]


@dataclass(eq=False)
class Sequence:
    """One request in the engine."""

    prompt_tokens: int
    output_tokens: int
    made: "asyncio.Queue[int]" = field(default_factory=asyncio.Queue)
    gone: bool = False


class Engine:
    """The server and its steps."""

    def __init__(self, max_sequences: int, step_s: float, token_s: float, budget_tokens: int) -> None:
        self.max_sequences, self.step_s, self.token_s, self.budget_tokens = (
            max_sequences,
            step_s,
            token_s,
            budget_tokens,
        )
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.work = asyncio.Event()
        self.stepping: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/health":
            await respond(send, 200, b"{}")
            return
        if scope["path"] == "/metrics":
            running, waiting = len(self.running), len(self.waiting)
            text = f"llamacpp:requests_processing {running}\nllamacpp:requests_deferred {waiting}\n"
            await respond(send, 200, text.encode(), b"text/plain")
            return
        if scope["path"] == "/props":
            await respond(send, 200, json.dumps({"total_slots": self.max_sequences}).encode())
            return
        self.stepping = self.stepping or asyncio.create_task(self.step())
        body = json.loads(await read(receive))
        sequence = Sequence(len(str(body["messages"]).split()), body.get("max_tokens", 16))
        self.waiting.append(sequence)
        self.work.set()
        watch = asyncio.ensure_future(receive())
        watch.add_done_callback(lambda _: setattr(sequence, "gone", True))
        await self.answer(body, sequence, send, watch)
        watch.cancel()

    async def answer(self, body: Scope, sequence: Sequence, send: Any, watch: asyncio.Future[Any]) -> None:
        count, base = sequence.output_tokens, {"id": "c", "created": 1, "model": body.get("model")}
        usage = {
            "prompt_tokens": sequence.prompt_tokens,
            "completion_tokens": count,
            "total_tokens": sequence.prompt_tokens + count,
        }
        if not body.get("stream"):
            for _ in range(count):
                await sequence.made.get()
            message = {"role": "assistant", "content": " x" * count, "refusal": None}
            choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
            answer = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
            await respond(send, 200, json.dumps(answer).encode())
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        base["object"] = "chat.completion.chunk"
        for number in range(count):
            token = asyncio.ensure_future(sequence.made.get())
            await asyncio.wait({token, watch}, return_when=asyncio.FIRST_COMPLETED)
            if sequence.gone:
                token.cancel()
                return
            reason = "stop" if number == count - 1 else None
            choice = {"index": 0, "finish_reason": reason, "delta": {"role": "assistant", "content": " x"}}
            await event(send, {**base, "choices": [choice]})
        await event(send, {**base, "choices": [], "usage": usage})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def step(self) -> None:
        """Step for as long as the process lives."""
        read_tokens: dict[Sequence, int] = {}
        made_tokens: dict[Sequence, int] = {}
        while True:
            self.waiting = deque(sequence for sequence in self.waiting if not sequence.gone)
            self.running = [sequence for sequence in self.running if not sequence.gone]
            while self.waiting and len(self.running) < self.max_sequences:
                self.running.append(self.waiting.popleft())
            if not self.running:
                self.work.clear()
                await self.work.wait()
                continue
            left, tokens, answered = self.budget_tokens, 0, []
            for sequence in self.running:
                lacking = sequence.prompt_tokens - read_tokens.get(sequence, 0)
                part = min(lacking, left)
                if lacking:
                    read_tokens[sequence] = read_tokens.get(sequence, 0) + part
                    left -= part
                    tokens += part
                else:
                    tokens += 1
                if lacking == part:
                    answered.append(sequence)
            await asyncio.sleep(self.step_s + self.token_s * tokens)
            for sequence in answered:
                sequence.made.put_nowait(1)
                made_tokens[sequence] = made_tokens.get(sequence, 0) + 1
            done = [sequence for sequence in self.running if made_tokens.get(sequence, 0) >= sequence.output_tokens]
            self.running = [sequence for sequence in self.running if sequence not in done]
            for sequence in [*done, *(sequence for sequence in list(read_tokens) if sequence.gone)]:
                read_tokens.pop(sequence, None)
                made_tokens.pop(sequence, None)


async def serve(engine: Engine, port: int) -> None:
    """Serve until the process ends."""
    config = uvicorn.Config(engine, port=port, log_level="critical", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    sys.stdout.write(f"{server.servers[0].sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await task


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--max-sequences", type=int, default=8)
    parser.add_argument("--step-s", type=float, default=0.0)
    parser.add_argument("--token-s", type=float, default=0.01)
    parser.add_argument("--budget-tokens", type=int, default=64)
    options = parser.parse_args()
    engine = Engine(options.max_sequences, options.step_s, options.token_s, options.budget_tokens)
    asyncio.run(serve(engine, options.port))


if __name__ == "__main__":
    main()
