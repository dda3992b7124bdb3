"""The gateway whose work the pages show, asked with the key of the viewer."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from meritorder.gateway.app.client import GatewayClient

T = TypeVar("T")


class Gateway:
    """A gateway.

    Args:
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, key: str, question: Callable[[GatewayClient], T]) -> T:
        """Return what a client with a key answers.

        Raises:
            ConfigError: The gateway cannot be reached, or refuses.
        """
        return await asyncio.to_thread(self._ask, key, question)

    def _ask(self, key: str, question: Callable[[GatewayClient], T]) -> T:
        with GatewayClient(self.url, key) as client:
            return question(client)
