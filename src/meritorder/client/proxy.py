"""The proxy of a provider: a gateway on this machine, which is started when it is needed and shared by all programs."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx2

from meritorder.client.journal import state_folder
from meritorder.errors import ConfigError

API_KEYS: Final = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
"""The providers with a batch API, and the environment variables in which their clients look for a key."""

PROXY_URL: Final = "http://proxy/v1"
_PROVIDERS: Final = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}  # by the host of the API
_SOCKET: Final = "proxy.sock"
_MAX_SOCKET_BYTES: Final = 103  # of macOS; Linux takes four more
_LOG: Final = "proxy.log"
_START_S: Final = 30.0
_CHECK_S: Final = 0.05
_IDLE: Final = "15m"
_STARTED: Final[list["subprocess.Popen[bytes]"]] = []  # they outlive the clients that started them


def default_folder(provider: str, url: str, api_key: str) -> Path:
    """Return the folder of the proxy of one account at a provider."""
    account = sha256(f"{url}\n{api_key}".encode()).hexdigest()[:12]
    return state_folder() / "proxy" / f"{provider}-{account}"


def socket_file(folder: Path) -> Path:
    """Return the socket on which the proxy of a folder listens for the clients of its owner.

    Raises:
        ConfigError: Its path is too long for a socket.
    """
    path = folder.resolve() / _SOCKET
    if len(os.fsencode(path)) > _MAX_SOCKET_BYTES:
        fix = "name a shorter one by --folder or XDG_STATE_HOME"
        raise ConfigError("the path is too long for a socket", where=str(folder), fix=fix)
    return path


def provider_of(url: str) -> str | None:
    """Return the provider whose API a URL is, where no gateway is; None if it is none that is known."""
    return _PROVIDERS.get(httpx2.URL(url).host)


class ProxyTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the proxy of an account, and starts it when it does not run.

    Args:
        provider: The provider.
        url: Its API, as the official client takes it.
        api_key: The account's key.
    """

    def __init__(self, provider: str, url: str, api_key: str) -> None:
        self._provider, self._url, self._api_key = provider, url, api_key
        self._folder = default_folder(provider, url, api_key)
        self._inner = httpx2.AsyncHTTPTransport(uds=str(socket_file(self._folder)))
        self._starting = asyncio.Lock()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request.

        Raises:
            httpx2.ConnectError: The proxy does not start.
        """
        try:
            return await self._inner.handle_async_request(request)
        except httpx2.ConnectError:  # nothing was sent
            async with self._starting:
                await self._start()
            return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections; the proxy goes on."""
        await self._inner.aclose()

    async def _start(self) -> None:
        """Start the proxy, unless it runs or another program starts it; return once it listens."""
        if self._listens():
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = {"--url": self._url, "--folder": str(self._folder), "--port": "0", "--idle": _IDLE}
        command = [sys.executable, "-m", "meritorder", "proxy", self._provider]
        command += [argument for option in options.items() for argument in option]
        log = self._folder / _LOG
        with log.open("w") as errors:
            process = subprocess.Popen(  # noqa: S603 - it returns at once, and outlives the loop
                command,
                env={**os.environ, API_KEYS[self._provider]: self._api_key},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        _STARTED.append(process)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                # One that ends may have found that another program has started it.
                while process.poll() is None or "another gateway" in log.read_text(encoding="utf-8"):
                    if self._listens():
                        return
                    await asyncio.sleep(_CHECK_S)
        lines = log.read_text(encoding="utf-8").splitlines() or [f"see {log}"]
        raise httpx2.ConnectError(f"The proxy did not start: {lines[-1]}")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(socket_file(self._folder))) == 0
