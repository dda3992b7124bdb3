"""OpenAI's official clients, whose calls take `deadline=`, `quote=` and `key=`."""

from typing import Final

import openai

from meritorder.client.wrapping import Batched, Blocking

_CALLS: Final = (
    "chat.completions.create",
    "chat.completions.parse",
    "completions.create",
    "embeddings.create",
    "responses.create",
    "responses.parse",
)


class AsyncOpenAI(Batched, openai.AsyncOpenAI):
    """The official asynchronous client, whose calls with a deadline wait in batches of the gateway.

    `chat.completions`, `completions`, `embeddings` and `responses` also take `deadline` (`"4h"`, `"06:00"` or an
    instant), `quote` (the most dollars a call, on average over its batch) and `key`, which identifies the call; by
    default its body does.

    Args:
        journal: File that remembers calls and answers over a crash; by default one of this user.
        collect_s: How long a call waits for others before its batch is sent.
        max_calls: Most calls of a batch.
        max_outage_s: How long an outage of the gateway may last until calls fail.
        show_progress: Whether to draw a bar on standard error while calls wait.
        proxy: Whether `base_url` is that of a provider instead of a gateway, so that calls with a deadline go through
            `meritorder proxy`, which is started if need be; by default, if it is OpenAI's.
        options: Those of the official client.
    """

    _calls = _CALLS
    _http = openai.DefaultAsyncHttpxClient


class OpenAI(Blocking, openai.OpenAI):
    """The official blocking client, whose calls with a deadline wait in batches, together with those of other threads.

    Calls and arguments are those of `AsyncOpenAI`.
    """

    _calls = _CALLS
    _http = openai.DefaultHttpxClient
