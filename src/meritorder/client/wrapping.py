"""What subclasses of official clients share: their transport, and calls that take `deadline=`, `quote=` and `key=`."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from operator import attrgetter
from typing import Any, Final

import httpx2

from meritorder.client.calls import DEADLINE_HEADER, KEY_HEADER, MAX_USD_HEADER
from meritorder.client.progress import Progress
from meritorder.client.transport import AsyncBatchTransport, BatchTransport
from meritorder.errors import ConfigError

_OURS: Final = frozenset({"journal", "collect_s", "max_calls", "max_outage_s", "show_progress", "proxy"})


class Batched:
    """An official client whose calls with a deadline wait in batches.

    Args:
        http_client: Connections of one of our clients, whose copy this is; None for new ones.
        options: Options of the batches and of the official client.
    """

    _calls: Sequence[str]  # that take a deadline
    _http: type[Any]  # the official client's connections

    def __init__(self, *, http_client: Any = None, **options: Any) -> None:  # noqa: ANN401 - as the official client
        ours = {name: value for name, value in options.items() if name in _OURS}
        others = {name: value for name, value in options.items() if name not in _OURS}
        if http_client is None:
            self._batching = AsyncBatchTransport(**ours)
            http_client = self._http(transport=self._transport(self._batching))
            http_client.meritorder_transport = self._batching
        else:
            self._batching = _transport_of(http_client, ours)
        super().__init__(http_client=http_client, **others)  # type: ignore[call-arg]  # of the official client
        for path in self._calls:
            resource_path, _, name = path.rpartition(".")
            resource = attrgetter(resource_path)(self)
            setattr(resource, name, _with_deadline(getattr(resource, name)))

    @property
    def progress(self) -> Progress:
        """How many calls were asked, and are answered."""
        return self._batching.progress

    def _transport(self, batching: AsyncBatchTransport) -> httpx2.AsyncBaseTransport | httpx2.BaseTransport:
        return batching


class Blocking(Batched):
    """The same for a client that blocks: its calls of many threads wait together."""

    def _transport(self, batching: AsyncBatchTransport) -> httpx2.BaseTransport:
        return BatchTransport(batching)


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
        if deadline is not None:
            fields.setdefault("timeout", None)  # Anthropic's client refuses long answers that could time out
        values = {DEADLINE_HEADER: deadline, MAX_USD_HEADER: quote, KEY_HEADER: key}
        headers = {name: str(value) for name, value in values.items() if value is not None}
        return call(*arguments, extra_headers={**(extra_headers or {}), **headers}, **fields)

    return wrapped
