"""Drop-in clients of a gateway: calls with a deadline wait together as batches, and survive crashes.

    from meritorder.client import AsyncOpenAI

Needs the extra `client`: `pip install 'meritorder[client]'`.
"""

from typing import TYPE_CHECKING

from meritorder.errors import missing_extra

if TYPE_CHECKING:
    from meritorder.client.openai import AsyncOpenAI, OpenAI

__all__ = ["AsyncOpenAI", "OpenAI"]

if not TYPE_CHECKING:

    def __getattr__(name):  # noqa: ANN001, ANN202 - the proxy needs no official client, which takes a second to import
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from meritorder.client import openai  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if (missing := missing_extra(error.name or "")) is None:
                raise
            raise missing from None
        return getattr(openai, name)
