"""Subclasses of the official clients whose calls take `deadline=`, `quote=` and `key=`."""

from collections.abc import Callable, Mapping
from functools import wraps
from operator import attrgetter
from typing import Any, Final

import openai

from meritorder.client.calls import DEADLINE_HEADER, KEY_HEADER, MAX_USD_HEADER
from meritorder.client.progress import Progress
from meritorder.client.transport import AsyncBatchTransport, BatchTransport
from meritorder.errors import ConfigError

_CALLS: Final = (
    "chat.completions.create",
    "chat.completions.parse",
    "completions.create",
    "embeddings.create",
    "responses.create",
    "responses.parse",
)
_OURS: Final = frozenset({"journal", "collect_s", "max_calls", "max_outage_s", "show_progress", "proxy"})


class AsyncOpenAI(openai.AsyncOpenAI):
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

    def __init__(self, *, http_client: Any = None, **options: Any) -> None:  # noqa: ANN401 - as the official client
        ours, others = _split(options)
        if http_client is None:
            self._batching = AsyncBatchTransport(**ours)
            http_client = openai.DefaultAsyncHttpxClient(transport=self._batching)
            http_client.meritorder_transport = self._batching
        else:
            self._batching = _transport_of(http_client, ours)
        super().__init__(http_client=http_client, **others)
        _take_deadlines(self)

    @property
    def progress(self) -> Progress:
        """How many calls were asked, and are answered."""
        return self._batching.progress


class OpenAI(openai.OpenAI):
    """The official blocking client, whose calls with a deadline wait in batches, together with those of other threads.

    Calls and arguments are those of `AsyncOpenAI`.
    """

    def __init__(self, *, http_client: Any = None, **options: Any) -> None:  # noqa: ANN401 - as the official client
        ours, others = _split(options)
        if http_client is None:
            self._batching = AsyncBatchTransport(**ours)
            http_client = openai.DefaultHttpxClient(transport=BatchTransport(self._batching))
            http_client.meritorder_transport = self._batching
        else:
            self._batching = _transport_of(http_client, ours)
        super().__init__(http_client=http_client, **others)
        _take_deadlines(self)

    @property
    def progress(self) -> Progress:
        """How many calls were asked, and are answered."""
        return self._batching.progress


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the batches and those of the official client."""
    ours = {name: value for name, value in options.items() if name in _OURS}
    return ours, {name: value for name, value in options.items() if name not in _OURS}


def _transport_of(http_client: object, ours: Mapping[str, Any]) -> AsyncBatchTransport:
    """Return the transport of a copy, which shares the connections of its original.

    Raises:
        ConfigError: The connections are not those of one of our clients.
    """
    transport = getattr(http_client, "meritorder_transport", None)
    if not isinstance(transport, AsyncBatchTransport) or ours:
        raise ConfigError(
            "http_client= and the options of batches exclude each other",
            fix="leave out http_client",
        )
    return transport


def _take_deadlines(client: openai.OpenAI | openai.AsyncOpenAI) -> None:
    """Let the calls of a client take `deadline`, `quote` and `key`."""
    for path in _CALLS:
        resource_path, _, name = path.rpartition(".")
        resource = attrgetter(resource_path)(client)
        setattr(resource, name, _with_deadline(getattr(resource, name)))


def _with_deadline(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def wrapped(
        *arguments: Any,  # noqa: ANN401 - as the official call
        deadline: str | None = None,
        quote: float | None = None,
        key: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **fields: Any,  # noqa: ANN401 - as the official call
    ) -> Any:  # noqa: ANN401 - as the official call
        if deadline is None and (quote is not None or key is not None):
            raise ConfigError("quote= and key= need a deadline", fix='add deadline="4h"')
        values = {DEADLINE_HEADER: deadline, MAX_USD_HEADER: quote, KEY_HEADER: key}
        headers = {name: str(value) for name, value in values.items() if value is not None}
        return call(*arguments, extra_headers={**(extra_headers or {}), **headers}, **fields)

    return wrapped
