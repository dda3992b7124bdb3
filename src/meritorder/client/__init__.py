"""Drop-in clients of a gateway: calls with a deadline wait together as batches, and survive crashes.

    from meritorder.client import AsyncOpenAI

Needs the extra `client`: `pip install 'meritorder[client]'`.
"""

from meritorder.errors import missing_extra

try:
    from meritorder.client.openai import AsyncOpenAI, OpenAI
except ModuleNotFoundError as error:
    if (missing := missing_extra(error.name or "")) is None:
        raise
    raise missing from None

__all__ = ["AsyncOpenAI", "OpenAI"]
