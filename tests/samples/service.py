"""The gateway's service in this process, called without a server."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tests.samples.stores import copy_migrated

from meritorder.gateway import config_file
from meritorder.gateway.app import server
from meritorder.gateway.app.service import Service

_RUNNERS: dict[Service, asyncio.Runner] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer of the service."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@contextmanager
def open_service(folder: Path, **tables: dict[str, Any]) -> Iterator[Service]:
    """Yield a service with one venue, which nothing listens on; its background tasks do not run."""
    file = folder / "gateway.db"
    if not file.exists():
        copy_migrated(file)
    document = {
        "server": {"require_keys": False},
        "store": {"url": f"sqlite:///{file}", "blobs": f"file://{folder}/blobs"},
        "venue": [{"name": "v", "url": "http://127.0.0.1:1/v1", "models": ["m"]}],
        **tables,
    }
    service = server.build_service(config_file.parse_settings(document, where="gateway.toml"))
    with asyncio.Runner() as runner:
        _RUNNERS[service] = runner
        try:
            yield service
        finally:
            del _RUNNERS[service]
            runner.run(service.venues.close())
            if service.pages is not None:
                runner.run(service.pages.close())
            service.context.database.close()


def call(
    service: Service,
    method: str,
    path: str,
    content: Any = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    """Return the answer to one request; JSON is encoded, bytes are sent as they are."""
    body = content if isinstance(content, bytes) else b"" if content is None else msgspec.json.encode(content)
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": list(headers),
        "scheme": "http",
        "http_version": "1.1",
    }
    incoming: list[dict[str, Any]] = [{"type": "http.request", "body": body}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await asyncio.sleep(10)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    _RUNNERS[service].run(service(scope, receive, send))
    parts = b"".join(message.get("body", b"") for message in sent[1:])
    return Reply(status=sent[0]["status"], headers=dict(sent[0]["headers"]), body=parts)
