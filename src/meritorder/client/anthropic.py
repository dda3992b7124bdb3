"""Anthropic's official clients, whose calls take `deadline=`, `quote=` and `key=`."""

from typing import Final

import anthropic

from meritorder.client.wrapping import Batched, Blocking

_CALLS: Final = ("messages.create", "messages.parse", "beta.messages.create", "beta.messages.parse")


class AsyncAnthropic(Batched, anthropic.AsyncAnthropic):
    """The official asynchronous client, whose messages with a deadline wait in batches of the gateway.

    `messages.create` and `.parse` also take `deadline`, `quote` and `key`, and the client the options of batches, as
    those of `AsyncOpenAI` do.
    """

    _calls = _CALLS
    _http = anthropic.DefaultAsyncHttpxClient


class Anthropic(Blocking, anthropic.Anthropic):
    """The official blocking client, whose messages with a deadline wait together with those of other threads."""

    _calls = _CALLS
    _http = anthropic.DefaultHttpxClient
