import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.errors import StoreUnavailableError


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


CHAT = {"model": "m", "messages": []}


def test_unknown_path_is_openai_error(service: Service) -> None:
    reply = call(service, "GET", "/v1/nothing")
    assert (reply.status, reply.json["error"]["message"]) == (404, "Invalid URL (GET /v1/nothing)")
    assert reply.headers[b"x-request-id"].startswith(b"req_")


def test_calls_allow_only_post(service: Service) -> None:
    reply = call(service, "PUT", "/v1/embeddings")
    assert (reply.status, reply.json["error"]["code"]) == (405, "method_not_supported")
    assert b"POST" in reply.headers[b"allow"]


def test_nul_in_url_is_refused(service: Service) -> None:
    assert call(service, "GET", "/v1/files/a\0b").status == 404
    assert call(service, "GET", "/v1/files?after=a%00b").status == 404


def test_unknown_model_is_refused(service: Service) -> None:
    for headers in ((), ((b"meritorder-deadline", b"4h"),)):
        reply = call(service, "POST", "/v1/chat/completions", CHAT | {"model": "other"}, headers)
        assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/responses/compact", "/v1/responses/input_tokens"])
def test_stream_of_nothing_is_refused(service: Service, path: str) -> None:
    reply = call(service, "POST", path, {"model": "m", "input": "x", "stream": True})
    assert (reply.status, reply.json["error"]["param"]) == (400, "stream")


def test_unreachable_venue_is_503(service: Service) -> None:
    reply = call(service, "POST", "/v1/chat/completions", CHAT)
    assert (reply.status, reply.json["error"]["code"]) == (503, "no_venue")


def test_large_body_is_refused(tmp_path: Path) -> None:
    with open_service(tmp_path, limits={"body_bytes": 10}) as service:
        assert call(service, "POST", "/v1/chat/completions", CHAT).status == 413
        assert call(service, "POST", "/v1/batches", CHAT).status == 413


def test_missing_key_is_refused(tmp_path: Path) -> None:
    with open_service(tmp_path, server={"require_keys": True}) as service:
        assert call(service, "POST", "/v1/chat/completions", CHAT).status == 401
        assert call(service, "GET", "/v1/batches").status == 401


class PanicError(BaseException):
    """As of Rust: not an Exception."""


@pytest.mark.parametrize("error", [RecursionError(), KeyError("x"), MemoryError(), EOFError(), PanicError()])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/batches"])
def test_any_exception_is_answered(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str, error: BaseException
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(service.context.authenticator.__class__, "authenticate", fail)
    for _ in range(2):
        reply = call(service, "POST", path, CHAT)
        assert (reply.status, reply.headers[b"content-type"]) == (500, b"application/json")
        assert reply.json["error"].keys() == {"message", "type", "param", "code"}
        assert reply.headers[b"x-request-id"].startswith(b"req_")
    assert service.context.supervisor.failures == {"requests": 2}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"nonsense"])
def test_compressed_body_is_refused(service: Service, encoding: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/files", "/v1/batches"):
        reply = call(service, "POST", path, CHAT, ((b"content-encoding", encoding),))
        assert (reply.status, reply.json["error"]["code"]) == (415, "unsupported_encoding")
    assert call(service, "POST", "/v1/chat/completions", CHAT, ((b"content-encoding", b"identity"),)).status == 503


def test_stop_goes_on_after_failures(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step, which closes the database, is reached."""
    closed: list[bool] = []

    async def fail() -> None:
        raise OverflowError

    async def unreachable() -> None:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(service.dispatcher, "stop", fail)
    monkeypatch.setattr(service.context.ledger_writer.__class__, "close", lambda _: unreachable())
    monkeypatch.setattr(service.context.database, "close", lambda: closed.append(True))
    asyncio.run(service.stop())
    assert closed
    assert service.context.supervisor.failures == {"stop": 1}
    monkeypatch.undo()
