"""Hostile requests of clients, drawn from a seed: each kind takes another thing to its limit or beyond."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

CALLS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
_LISTS: Final = ("/v1/files", "/v1/batches", "/v1/chat/completions")
_OBJECTS: Final = (
    *("/v1/files/{}", "/v1/files/{}/content", "/v1/batches/{}", "/v1/batches/{}/cancel", "/v1/batches/{}/pause"),
    *("/v1/responses/{}", "/v1/responses/{}/cancel", "/v1/responses/{}/input_items", "/v1/chat/completions/{}"),
    *("/v1/chat/completions/{}/messages", "/v1/models/{}", "/v1/conversations/{}", "/v1/conversations/{}/items"),
    *("/v1/messages/batches/{}", "/v1/messages/batches/{}/results", "/v1/messages/batches/{}/cancel"),
)
_PATHS: Final = (*CALLS, *_LISTS, "/v1/models", "/health", "/metrics", "/meritorder/status", "/v1/nothing", "/", "*")
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "NONSENSE")
_INTEGERS: Final = ("0", "-1", "1e400", "-0", "NaN", "Infinity", "9" * 30, "9" * 5000, "-" + "9" * 400, "1.5", "0x10")
_STRINGS: Final = (
    *('""', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"' + "x" * 100_000 + '"', '"\\u202e"', '"../../etc/passwd"'),
    *("null", "true", "[]", "{}", "[[]]", '{"a": {}}', '"\xff"', '"\\x"', "'a'"),
)
_TEXTS: Final = (
    *("", "0", "-1", "100", "101", "9" * 30, "9" * 5000, "x", "%00", "%ff%fe", "%F0%9F%98%80", "1e3", "%2e%2e%2f", "٣"),
    *("asc", "desc", "a" * 5000, "%0d%0aset-cookie:%20a", "' OR 1=1 --", "file-1&limit=2&limit=3", "[]", "{}"),
)
_DEADLINES: Final = (
    "4h",
    "9" * 400 + "h",
    "99:99",
    "-1s",
    "9999-12-31T23:59:59Z",
    "2026-11-24",
    "\xff\xfe",
    "h" * 5000,
)
_FIELDS: Final = (
    *(
        "model",
        "messages",
        "input",
        "prompt",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "store",
    ),
    *("background", "background_options", "service_tier", "metadata", "n", "tools", "previous_response_id", "seed"),
    *("conversation", "system", "stop_sequences", "thinking", "tool_choice", "response_format", "temperature", "text"),
)
_OBJECT_FIELDS: Final = (
    *("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after", "items", "requests"),
)
_MADE: Final = (
    *("/v1/batches", "/v1/conversations", "/v1/conversations/conv_1/items", "/v1/chat/completions/a"),
    *("/v1/messages/batches",),
)
MESSAGES: Final = b"/v1/messages"


class Draw(random.Random):
    """A source of draws, which knows ids of objects."""

    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What a hostile client does on one connection.

    Args:
        kind: Its kind.
        parts: What it sends, with a pause after each.
        reads: Whether it reads an answer; otherwise it closes the connection, or holds it if it `waits`.
        waits: Whether it keeps the connection open until the server closes it.
        has_body: Whether an answer has a body.
    """

    kind: str
    parts: tuple[bytes, ...]
    reads: bool = True
    waits: bool = False
    has_body: bool = True


def attacks(count: int, key: str, ids: tuple[str, ...] = (), *, seed: int = 0) -> Iterator[Attack]:
    """Yield attacks of all kinds, with the key of a tenant, or without.

    Args:
        count: Their number.
        key: The key.
        ids: Ids of objects of that tenant.
        seed: Seed of the draws.
    """
    draw = Draw(seed)
    draw.ids = ids
    names = list(KINDS)
    for number in range(count):
        name = names[number % len(names)] if number < len(names) else draw.choice(names)
        yield KINDS[name](draw, key)


def request(method: str, path: str, body: bytes = b"", *headers: str, key: str = "") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: gateway", *headers]
    if key:
        lines.append(f"authorization: Bearer {key}")
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def deep(depth: int) -> str:
    """Return nested arrays or objects."""
    return "[" * depth + "]" * depth


def _json(draw: Draw, fields: tuple[str, ...], base: dict[str, str]) -> bytes:
    """Return an object in which some fields have odd values."""
    content = dict(base)
    for name in draw.sample(fields, draw.choice((1, 1, 2, 4))):
        content[name] = draw.choice((*_INTEGERS, *_STRINGS, deep(draw.choice((50, 99, 101, 1200, 50_000)))))
    members = [f'"{name}": {value}' for name, value in content.items()]
    if draw.random() < 0.2:
        members.append(draw.choice(members))  # a duplicate key
    text = "{" + ", ".join(members) + "}"
    if draw.random() < 0.2:
        text = draw.choice(
            (text[:-1], text + "}", f"[{text}]", "", "null", text + "\0", "\ufeff" + text, "[[]," * 40_000)
        )
    return text.encode(draw.choice(("utf-8", "utf-8", "utf-8", "utf-16")), "surrogatepass")


def _call(draw: Draw, key: str) -> Attack:
    base = {"model": '"stub"', "messages": '[{"role": "user", "content": "x"}]', "input": '"x"', "prompt": '"x"'}
    body = _json(draw, _FIELDS, base)
    headers = [] if draw.random() < 0.7 else [f"meritorder-deadline: {draw.choice(_DEADLINES)}"]
    path = draw.choice((*CALLS, MESSAGES.decode()))
    return Attack(kind="call", parts=(request("POST", path, body, *headers, key=key),))


def _object_body(draw: Draw, key: str) -> Attack:
    base = {"input_file_id": '"file-1"', "endpoint": '"/v1/chat/completions"', "completion_window": '"24h"'}
    body = _json(draw, _OBJECT_FIELDS, base)
    headers = [] if draw.random() < 0.7 else [f"idempotency-key: {draw.choice(('', 'a', 'x' * 5000, chr(233)))}"]
    return Attack(kind="object_body", parts=(request("POST", draw.choice(_MADE), body, *headers, key=key),))


def _query(draw: Draw, key: str) -> Attack:
    names = ("limit", "after", "order", "purpose", "model", "metadata[a]", "stream", "starting_after")
    pairs = [f"{draw.choice(names)}={draw.choice(_TEXTS)}" for _ in range(draw.choice((1, 2, 5, 1000)))]
    path = f"{draw.choice(_LISTS)}?{'&'.join(pairs)}".replace(" ", "+")
    return Attack(kind="query", parts=(request("GET", path, key=key),))


def _object(draw: Draw, key: str) -> Attack:
    method, item = draw.choice(("GET", "GET", "DELETE", "POST")), draw.choice((*_TEXTS, *draw.ids)).replace(" ", "%20")
    query = draw.choice(("", "", "?stream=true", f"?limit={draw.choice(_TEXTS)}", f"?after={draw.choice(_TEXTS)}"))
    path = draw.choice(_OBJECTS).format(item) + query.replace(" ", "+")
    return Attack(kind="object", parts=(request(method, path, key=key),))


def _method(draw: Draw, key: str) -> Attack:
    method = draw.choice(_METHODS)
    sent = request(method, draw.choice(_PATHS), b"x" * draw.choice((0, 0, 10)), key=key)
    return Attack(kind="method", parts=(sent,), has_body=method != "HEAD")


def _key(draw: Draw, _: str) -> Attack:
    value = draw.choice(("Bearer ", "Bearer \xff", "Basic eDp5", "Bearer " + "x" * 50_000, "", "Bearer a b", "\t"))
    sent = request("POST", draw.choice(CALLS), b"{}", f"authorization: {value}")
    return Attack(kind="key", parts=(sent,))


def _head(draw: Draw, key: str) -> Attack:
    start = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {key}\r\n".encode()
    parts: tuple[bytes, ...] = draw.choice(
        (
            (start, *(b"a: " + b"b" * 500_000,) * 8),
            (start, b"".join(b"h%d: x\r\n" % number for number in range(20_000)), b"\r\n"),
            (b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",),
            (start + b"a\0b: c\r\n\r\n",),
            (start + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",),
            (start + b"content-length: -1\r\n\r\n",),
            (start + b"content-length: " + b"9" * 40 + b"\r\n\r\n",),
            (start + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",),
            (start + b"transfer-encoding: chunked\r\n\r\nzz\r\n",),
            (start + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",),
            (b"GET http://[::1 HTTP/1.1\r\n\r\n",),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
            (b"GET / HTTP/0.9\r\n\r\n",),
            (draw.randbytes(400) + b"\r\n\r\n",),
            (start.replace(b"\r\n", b"\n") + b"\n",),
            (b"GET /health HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",),
        )
    )
    return Attack(kind="head", parts=parts)


def _encoding(draw: Draw, key: str) -> Attack:
    body = gzip.compress(b'{"model": "stub", "messages": [' + b"[]," * 1_000_000)
    name = draw.choice(("gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"))
    kind = draw.choice(("application/json", "text/plain", "multipart/form-data", "application/xml", "\xff", ""))
    headers = (f"content-encoding: {name}", f"content-type: {kind}")
    return Attack(kind="encoding", parts=(request("POST", draw.choice(CALLS), body, *headers, key=key),))


def _size(draw: Draw, key: str) -> Attack:
    body = b'{"model": "stub", "messages": [' + draw.choice((b"[],", b"1,", b'"a",')) * 700_000
    return Attack(kind="size", parts=(request("POST", draw.choice((*CALLS, "/v1/batches")), body, key=key),))


def _form(draw: Draw, key: str) -> Attack:
    part = '--b\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    file = part.format("file", '; filename="f.jsonl"', "x" * draw.choice((0, 1, 2_000_000)))
    body = draw.choice(
        (
            file + part.format("purpose", "", "batch"),
            file + file + part.format("purpose", "", "batch") + "--b--\r\n",
            part.format("purpose", "", draw.choice(("", "x" * 70_000, "\0", "batch_output"))) + file + "--b--\r\n",
            "".join(part.format(f"f{number}", "", "x") for number in range(500)) + "--b--\r\n",
            "--b\r\n" + "x: y\r\n" * 5000 + "\r\n",
            part.format("file", '; filename="' + "n" * 4000 + '"', "x") + "--b--\r\n",
            part.format("file", '; filename="\0\\"', "x") + part.format("purpose", "", "evals") + "--b--\r\n",
            part.format("expires_after[seconds]", "", "9" * 4000) + file + "--b--\r\n",
            "x" * 100_000,
        )
    ).encode("utf-8", "surrogatepass")
    boundary = draw.choice(("b", "b", "b", "b", "", "x" * 300, '"', "\xe9"))
    header = f"content-type: multipart/form-data; boundary={boundary}"
    return Attack(kind="form", parts=(request("POST", "/v1/files", body, header, key=key),))


def _cut(draw: Draw, key: str) -> Attack:
    """Send a part of a request, and close."""
    whole = next(kind(draw, key).parts[0] for kind in (draw.choice((_call, _form, _object_body)),))
    return Attack(kind="cut", parts=(whole[: draw.randrange(len(whole))],), reads=False)


def _gone(draw: Draw, key: str) -> Attack:
    """Send a call, and close before its answer."""
    content: dict[str, Any] = {"model": "stub", "messages": [], "stream": draw.random() < 0.7}
    headers = draw.choice(((), ("meritorder-deadline: 1h",)))
    sent = request("POST", CALLS[0], json.dumps(content).encode(), *headers, key=key)
    return Attack(kind="gone", parts=(sent,), reads=False)


def _half(draw: Draw, key: str) -> Attack:
    """Send a part of a request, and hold the connection."""
    whole = request("POST", CALLS[0], b'{"model": "stub"}', key=key)
    return Attack(kind="half", parts=(whole[: draw.choice((0, 1, 20, len(whole) - 1))],), waits=True)


def _pipeline(draw: Draw, key: str) -> Attack:
    sent = b"".join(_query(draw, key).parts[0] for _ in range(50))
    return Attack(kind="pipeline", parts=(sent,))


KINDS: Final[dict[str, Callable[[Draw, str], Attack]]] = {
    kind.__name__.removeprefix("_"): kind
    for kind in (
        *(_call, _object_body, _query, _object, _method, _key, _head, _encoding, _size, _form, _cut, _gone, _half),
        _pipeline,
    )
}


def lines(draw: Draw, count: int) -> bytes:
    """Return an input file of a batch in which every line is odd in another way."""
    base = {"model": '"stub"', "messages": '[{"role": "user", "content": "x"}]'}
    rows = []
    for number in range(count):
        call = _json(draw, _FIELDS, base).decode("utf-8", "replace").replace("\n", " ")
        row = f'{{"custom_id": "c{number}", "method": "POST", "url": "/v1/chat/completions", "body": {call}}}'
        rows.append(draw.choice((row, row, row.replace("POST", "GET"), row.replace(f"c{number}", "c"), call)))
    return "\n".join(rows).encode("utf-8", "surrogatepass")
