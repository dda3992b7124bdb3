"""The command line's client of a gateway."""

import asyncio
import contextlib
import heapq
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import aiohttp

from meritorder.errors import ConfigError

T = TypeVar("T")
FINAL_STATUSES: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_LISTED: Final = 20
_BATCH: Final = "batch_"  # how the ids of batches begin
_RECEIPT_POLL_S: Final = 1.0
_RECEIPT_WAIT_S: Final = 90.0  # what a finished batch ran on is recorded within a minute
_CHUNK_BYTES: Final = 1024 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)


class KeyRefusedError(ConfigError):
    """The gateway does not know the key."""


class GatewayClient:
    """Calls one gateway; a context manager.

    Args:
        url: URL of the gateway, with or without `/v1`.
        key: The API key; empty for none.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def submit(self, path: Path, window: str) -> dict[str, Any]:
        """Upload a file of requests and return the batch created from it.

        Raises:
            ConfigError: The file cannot be read, or the gateway is unreachable or refuses.
        """
        endpoint = _read_endpoint(path)
        return self._run(self._submit(path, endpoint, window))

    def quote(self, path: Path) -> bytes:
        """Upload a file of requests and return the quote of a batch of it.

        Raises:
            ConfigError: The file cannot be read, or the gateway is unreachable or refuses.
        """
        endpoint = _read_endpoint(path)
        return json.dumps(self._run(self._quote(path, endpoint)), indent=2).encode()

    def submit_quoted(self, quote_id: str, window: str) -> dict[str, Any]:
        """Return the batch created from the file of a quote, at its price.

        Raises:
            ConfigError: The gateway is unreachable or refuses.
        """
        return self._run(self._submit_quoted(quote_id, window))

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return a batch."""
        return self._run(self._json("GET", f"/v1/batches/{batch_id}"))

    def batches(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the latest batches, newest first, and whether there are older ones."""
        page = self._run(self._json("GET", f"/v1/batches?limit={_LISTED}"))
        return page["data"], page["has_more"]

    def only_model(self) -> str:
        """Return the model that the gateway serves.

        Raises:
            ConfigError: It serves several, or none.
        """
        names = [model["id"] for model in self._run(self._json("GET", "/v1/models"))["data"]]
        if len(names) != 1:
            served = f"{len(names)} models: {', '.join(names[:10])}" if names else "no model"
            raise ConfigError(f"serves {served}", where=self._url, fix="name one with --model")
        return str(names[0])

    def commonest_failure(self, batch: dict[str, Any]) -> str | None:
        """Return why most of a batch's failed lines failed, in a sentence; None if it has not ended, or none failed."""
        failed = batch["request_counts"]["failed"]
        if batch["status"] not in FINAL_STATUSES:
            return None
        if batch["status"] == "failed":
            return f"the batch {batch['id']} was refused; nothing ran"
        reasons: Counter[str] = Counter()
        if batch["error_file_id"]:
            reasons = self._run(self._failures(batch["error_file_id"]))
        if not failed and not reasons:
            return None
        if not reasons:
            return f"{failed:,} lines failed"
        reason, count = reasons.most_common(1)[0]
        return f"{reasons.total():,} lines without a result; the commonest reason, {count:,} times: {reason}"

    def act_on_batch(self, batch_id: str, action: str) -> dict[str, Any]:
        """Return a batch, after it was cancelled, paused or resumed if that is the action."""
        if action not in {"cancel", "pause", "resume"}:
            return self.batch(batch_id)
        return self._run(self._json("POST", f"/v1/batches/{batch_id}/{action}"))

    def receipt(self, subject_id: str) -> bytes:
        """Return the receipt of a finished batch, or of a request outside batches.

        Raises:
            ConfigError: It has not ended, or what it ran on is not recorded to its end.
        """
        return self._run(self._receipt(subject_id))

    def fault_of_receipt(self, receipt: bytes) -> str:
        """Return what is wrong with a receipt; empty if the gateway signed it and it was not changed."""
        answer = self._run(self._json("POST", "/v1/receipts/verify", receipt))
        return "" if answer["valid"] else str(answer["reason"])

    def status(self) -> dict[str, Any]:
        """Return the gateway's status."""
        return self._run(self._json("GET", "/meritorder/status"))

    def key(self) -> dict[str, Any]:
        """Return whose key this is, and what it permits."""
        return self._run(self._json("GET", "/meritorder/key"))

    def fetch(self, batch: dict[str, Any], out: Path, *, in_order: bool = False) -> Iterator[tuple[Path, int]]:
        """Download a batch's result files, and yield each path and its number of lines.

        Args:
            batch: The batch.
            out: File for the results; errors go to a file next to it.
            in_order: Write results and errors to one file, in the order of the input.

        Raises:
            ConfigError: The batch has no results yet.
        """
        files = ((batch["output_file_id"], out), (batch["error_file_id"], out.with_suffix(f".errors{out.suffix}")))
        if not any(file_id for file_id, _ in files):
            raise ConfigError(
                "there are no results yet",
                where=batch["id"],
                fix=f"it is {batch['status']}; wait for its end",
            )
        if in_order:
            yield out, self._fetch_in_order([file_id for file_id, _ in files if file_id], out)
            return
        for file_id, path in files:
            if file_id:
                yield path, self._run(self._download(file_id, path))

    def _fetch_in_order(self, file_ids: list[str], out: Path) -> int:
        """Merge result files by the numbers of their lines; each of them is in order."""
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
            parts = [Path(folder) / file_id for file_id in file_ids]
            for file_id, part in zip(file_ids, parts, strict=True):
                self._run(self._download(file_id, part))
            lines = heapq.merge(*(opened.enter_context(part.open("rb")) for part in parts), key=_line_number)
            with out.open("wb") as file:
                return sum(1 for line in lines if file.write(line))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(work)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise ConfigError(
                f"the gateway cannot be reached: {reason}", where=self._url, fix="give its --url"
            ) from error

    async def _submit(self, path: Path, endpoint: str, window: str) -> dict[str, Any]:
        async with self._session() as session:
            batch = {"input_file_id": await self._upload(session, path), "endpoint": endpoint}
            return await self._post(session, "/v1/batches", batch | {"completion_window": window})

    async def _quote(self, path: Path, endpoint: str) -> dict[str, Any]:
        async with self._session() as session:
            file_id = await self._upload(session, path)
            return await self._post(session, "/v1/quotes", {"input_file_id": file_id, "endpoint": endpoint})

    async def _submit_quoted(self, quote_id: str, window: str) -> dict[str, Any]:
        quote = await self._json("GET", f"/v1/quotes/{quote_id}")
        batch = {name: quote[name] for name in ("input_file_id", "endpoint")}
        batch |= {"completion_window": window, "metadata": {"quote_id": quote_id}}
        async with self._session() as session:
            return await self._post(session, "/v1/batches", batch)

    async def _upload(self, session: aiohttp.ClientSession, path: Path) -> str:
        """Upload a file of requests and return its id."""
        with path.open("rb") as file:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", file, filename=path.name)
            async with session.post(f"{self._url}/v1/files", data=form) as response:
                return str((await self._checked(response))["id"])

    async def _post(self, session: aiohttp.ClientSession, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        async with session.post(self._url + path, json=fields) as response:
            return await self._checked(response)

    async def _json(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        async with self._session() as session, session.request(method, self._url + path, data=body) as response:
            return await self._checked(response)

    async def _receipt(self, subject_id: str) -> bytes:
        kind = "batches" if subject_id.startswith(_BATCH) else "requests"
        give_up_s = time.monotonic() + _RECEIPT_WAIT_S
        async with self._session() as session:
            while True:
                async with session.get(f"{self._url}/v1/{kind}/{quote(subject_id, safe='')}/receipt") as response:
                    if response.status == 200:
                        return await response.read()
                    if response.status != 202:
                        await self._checked(response)
                    status = (await response.json())["status"]
                if status not in FINAL_STATUSES or time.monotonic() > give_up_s:
                    raise ConfigError(
                        "there is no receipt yet", where=subject_id, fix=f"it is {status}; wait for its end"
                    )
                await asyncio.sleep(_RECEIPT_POLL_S)

    async def _download(self, file_id: str, path: Path) -> int:
        lines = 0
        url = f"{self._url}/v1/files/{file_id}/content"
        async with self._session() as session, session.get(url) as response:
            if response.status != 200:
                await self._checked(response)
            with path.open("wb") as file:
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    lines += chunk.count(b"\n")
                    file.write(chunk)
        return lines

    async def _failures(self, file_id: str) -> Counter[str]:
        """Count the lines of an error file by reason."""
        reasons: Counter[str] = Counter()
        url = f"{self._url}/v1/files/{file_id}/content"
        async with self._session() as session, session.get(url) as response:
            if response.status != 200:
                await self._checked(response)
            incomplete = b""
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                *lines, incomplete = (incomplete + chunk).split(b"\n")
                reasons.update(_reason(line) for line in lines if line)
        return reasons

    async def _checked(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        body = await response.read()
        with contextlib.suppress(ValueError):
            content = json.loads(body)
            if response.status == 200:
                return dict(content)
            kind = KeyRefusedError if response.status == 401 else ConfigError
            raise kind(str(content["error"]["message"]).rstrip("."), where=f"{self._url}{response.url.path}")
        raise ConfigError(f"answered {response.status} without JSON", where=self._url, fix="check that it is a gateway")

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT) as session:
            yield session


def _line_number(line: bytes) -> int:
    """Return the number in the id of a result: `batch_req_…_7`."""
    return int(json.loads(line)["id"].rpartition("_")[2])


def _reason(line: bytes) -> str:
    """Return why a line failed: its status and the message of its error."""
    result = json.loads(line)
    response, error = result.get("response"), result.get("error") or {}
    if response is None:
        return f"{error.get('code')}: {error.get('message')}"
    body = response.get("body")
    inner = body.get("error") if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    return f"HTTP {response.get('status_code')}: {message or 'no reason given'}"


def _read_endpoint(path: Path) -> str:
    """Return the endpoint in the first line of a file."""
    try:
        with path.open("rb") as file:
            first = json.loads(next((line for line in file if line.strip()), b"{}"))
        return str(first["url"])
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path)) from error
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            "the first line is not a batch request",
            where=str(path),
            fix='write {"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}} on each line',
        ) from None
