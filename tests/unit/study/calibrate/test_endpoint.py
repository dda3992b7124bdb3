"""A stub that streams as an engine of known pace does, on the loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from meritorder.errors import ConfigError
from meritorder.study.calibrate import endpoint
from meritorder.study.calibrate.endpoint import Bounds, measure

pytest.importorskip("httpx2")

TTFT_S, TPOT_S = 0.05, 0.002


@dataclass
class Stub:
    """What the server does, and what it was asked."""

    status: int = 200
    refuses_ignore_eos: bool = False
    usage: bool = True
    port: int = 0
    asked: list[dict] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                headers = {name.lower(): value for name, value in headers.items()}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.asked.append(body)
                self.keys.append(headers.get("authorization", ""))
                await self.stream(body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def stream(self, body: dict, writer: asyncio.StreamWriter) -> None:
        status = 400 if self.refuses_ignore_eos and "ignore_eos" in body else self.status
        if status != 200:
            text = b'{"error": "no such model"}'
            writer.write(f"HTTP/1.1 {status} No\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
            return
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        # The role comes at once, as from vLLM: it is no token.
        await self.send(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        await asyncio.sleep(TTFT_S)
        for number in range(body["max_tokens"]):
            if number:
                await asyncio.sleep(TPOT_S)
            await self.send(writer, {"choices": [{"delta": {"content": "word "}}]})
        if self.usage:
            counts = {"prompt_tokens": 123, "completion_tokens": body["max_tokens"]}
            await self.send(writer, {"choices": [], "usage": counts})
        self.running -= 1
        await self.send(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    @staticmethod
    async def send(writer: asyncio.StreamWriter, event: dict | str) -> None:
        data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(stub.answer, "127.0.0.1", 0)
        stub.port = server.sockets[0].getsockname()[1]
        ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    task = loop.create_task(serve())

    def run() -> None:
        asyncio.set_event_loop(loop)
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        for pending in asyncio.all_tasks(loop):
            pending.cancel()
            loop.run_until_complete(asyncio.gather(pending, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(5)
    yield stub
    loop.call_soon_threadsafe(task.cancel)
    thread.join(5)


def test_times_measured_from_stream(stub: Stub) -> None:
    log = measure(stub.url, "m", bounds=Bounds(max_requests=32), api_key="secret")
    assert 16 <= len(log) <= 32
    # A sleep is never shorter than asked; on a busy machine it is longer.
    assert TTFT_S <= np.median(log.ttft_s) < 10 * TTFT_S
    assert TPOT_S <= np.median(log.tpot_s) < 10 * TPOT_S
    assert log.e2e_s == pytest.approx(log.ttft_s + log.tpot_s * (log.output_tokens - 1))
    assert (log.input_tokens == 123).all()
    assert log.arrived_s[0] == 0
    assert set(stub.keys) == {"Bearer secret"}
    assert all(body["ignore_eos"] and body["stream"] for body in stub.asked)
    assert len({body["messages"][0]["content"][:20] for body in stub.asked}) == len(stub.asked), "no shared prefix"


def test_stages_repeat_within_bounds(stub: Stub) -> None:
    assert Bounds(max_requests=200).stages() == [1, 2, 4, 8, 16, 32] * 2
    assert Bounds(max_requests=200, max_concurrency=4).stages() == [1, 2, 4] * 2
    measure(f"{stub.url}/v1/", "m", bounds=Bounds(max_requests=32))
    assert stub.most_running <= 8
    assert len(stub.asked) <= 34, "two more to warm up, and to see the pace"


def test_slow_engine_gets_shorter_requests(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(endpoint, "_LOAD_S", 0.01)  # what the stub would take is a thousand times as long
    measure(stub.url, "m", bounds=Bounds(max_requests=32), progress=lines.append)
    assert lines[0] == "a slow engine: prompts of up to 96 words, answers of up to 64 tokens"
    assert max(body["max_tokens"] for body in stub.asked) <= 64
    assert max(len(body["messages"][0]["content"].split()) for body in stub.asked[2:]) <= 97


def test_fast_engine_keeps_its_lengths(stub: Stub) -> None:
    lines: list[str] = []
    measure(stub.url, "m", bounds=Bounds(max_requests=32), progress=lines.append)
    assert not any("slow" in line for line in lines)


def test_ignore_eos_dropped_when_refused(stub: Stub) -> None:
    stub.refuses_ignore_eos, stub.usage = True, False
    log = measure(stub.url, "m", bounds=Bounds(max_requests=32))
    assert (log.output_tokens > 1).all()
    assert "ignore_eos" not in stub.asked[-1]


def test_refusal_reported_in_one_line(stub: Stub) -> None:
    stub.status = 404
    with pytest.raises(ConfigError, match=r"HTTP 404.*no such model"):
        measure(stub.url, "m", bounds=Bounds(max_requests=32))


def test_missing_server_reported_in_one_line() -> None:
    with pytest.raises(ConfigError, match="no server answers"):
        measure("http://127.0.0.1:9", "m", bounds=Bounds(max_requests=32))


def test_time_limit_ends_measurement(stub: Stub) -> None:
    with pytest.raises(ConfigError, match=r"only .* requests were answered"):
        measure(stub.url, "m", bounds=Bounds(max_requests=200, max_s=0.3))
    assert len(stub.asked) < 20
