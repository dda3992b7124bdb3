"""A stub engine that is much faster than the servers under test: fixed answers, no HTTP library.

python -m bench._stub [ids]

With `ids` every answer has an id of its own.
"""

import asyncio
import sys
from itertools import count
from typing import Final, cast

import uvloop

_EVENT: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"stub",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
_EVENTS: Final = 8
_USAGE: Final = b'"usage":{"prompt_tokens":20,"completion_tokens":8,"total_tokens":28}'
_LAST: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"stub","choices":[],' + _USAGE + b"}\n\n"
)
_WHOLE: Final = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"stub","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":" word word word word word word word word"},"finish_reason":"stop"}],'
    + _USAGE
    + b"}"
)
_METRICS: Final = b"vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.01\n"


def _plain(body: bytes, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_JSON: Final = _plain(_WHOLE, b"application/json")
_LOAD: Final = _plain(_METRICS, b"text/plain")
_DONE: Final = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_STREAM: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    + _chunk(_EVENT),
    *(_chunk(_EVENT) for _ in range(_EVENTS - 1)),
    _chunk(_LAST) + _DONE,
)


_NUMBERS: Final = count(10**9)  # ids of equal length
_ID: Final = b'"id":"c"'
_NUMBERED_ID: Final = b'"id":"c%d"'


class _Connection(asyncio.Protocol):
    has_ids = False

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is not a subclass of it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, ended, rest = self._buffer.partition(b"\r\n\r\n")
            if not ended:
                return
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        transport = self._transport
        if b"/metrics" in head[:40]:
            transport.write(_LOAD)
        elif b'"stream": true' in body or b'"stream":true' in body:
            for part in _numbered_stream() if self.has_ids else _STREAM:
                transport.write(part)
        elif self.has_ids:
            whole = _WHOLE.replace(_ID, _NUMBERED_ID % next(_NUMBERS))
            transport.write(_plain(whole, b"application/json"))
        else:
            transport.write(_JSON)


def _numbered_stream() -> tuple[bytes, ...]:
    numbered = _NUMBERED_ID % next(_NUMBERS)
    event, last = _EVENT.replace(_ID, numbered), _LAST.replace(_ID, numbered)
    return (
        _STREAM[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + _chunk(event),
        *[_chunk(event)] * (_EVENTS - 1),
        _chunk(last) + _DONE,
    )


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    _Connection.has_ids = "ids" in sys.argv
    uvloop.run(_serve())
