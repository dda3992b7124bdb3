"""Drop-in clients of a gateway: calls with a deadline wait together as batches, and survive crashes.

    from meritorder.client import AsyncAnthropic, AsyncOpenAI

Needs the extra `client`: `pip install 'meritorder[client]'`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from meritorder.errors import missing_extra

if TYPE_CHECKING:
    from meritorder.client.anthropic import Anthropic, AsyncAnthropic
    from meritorder.client.openai import AsyncOpenAI, OpenAI

__all__ = ["Anthropic", "AsyncAnthropic", "AsyncOpenAI", "OpenAI"]

if not TYPE_CHECKING:

    def __getattr__(name):  # noqa: ANN001, ANN202 - the proxy needs no official client, which takes a second to import
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = name.removeprefix("Async").lower()
        try:
            return getattr(import_module(f"meritorder.client.{module}"), name)
        except ModuleNotFoundError as error:
            if (missing := missing_extra(error.name or "")) is None:
                raise
            raise missing from None
