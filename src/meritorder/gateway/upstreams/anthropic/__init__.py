"""Anthropic's Messages API, as a dialect.

Source: platform.claude.com/docs and the types of the official client, `anthropic` 2.12, 2026-11.
"""

from collections.abc import Iterable
from typing import Final

from meritorder.gateway.upstreams.anthropic.answer import MessageStream, completion_of
from meritorder.gateway.upstreams.anthropic.request import messages_of
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.fields import Json

BASE_URL: Final = "https://api.anthropic.com"
_VERSION: Final = "2026-10-21"
# The last version that accepts these fields; it does not differ otherwise in what we send.
_OLDER_VERSION: Final = "2023-06-01"
_OLDER_FIELDS: Final = ("temperature", "top_p", "top_k")


def endpoint(name: str, api_key: str, base_url: str = BASE_URL) -> Endpoint:
    """Return the endpoint of Anthropic's API."""
    return Endpoint(name=name, base_url=base_url, headers={"Authorization": f"Bearer {api_key}", **_version(_VERSION)})


def _version(version: str) -> dict[str, str]:
    return {"anthropic-version": version}


def version_for(requests: Iterable[Json]) -> dict[str, str]:
    """Return the header of the newest API version that accepts all fields of the requests."""
    older = any(name in request for request in requests for name in _OLDER_FIELDS)
    return _version(_OLDER_VERSION if older else _VERSION)


class Anthropic:
    """The dialect. See `dialect.Dialect`.

    Args:
        max_tokens: Limit for requests that set none; the API requires one.
    """

    def __init__(self, *, max_tokens: int = 8192) -> None:
        self._max_tokens = max_tokens

    def path(self, _model: str, *, stream: bool) -> str:  # noqa: ARG002 - part of the protocol
        """Return the path of a request."""
        return "/v1/messages"

    def request(self, body: Json, *, venue: str) -> Json:
        """Return a chat request in Anthropic's format."""
        return messages_of(body, venue=venue, max_tokens=self._max_tokens)

    def envelope(self, request: Json, model: str, *, stream: bool) -> Json:
        """Return the body that is sent for a request."""
        return {"model": model, **request, **({"stream": True} if stream else {})}

    def headers(self, request: Json) -> tuple[tuple[str, str], ...]:
        """Return the headers of a request in addition to those of the endpoint."""
        return tuple(version_for([request]).items())

    def answer(self, answer: Json, *, created_s: int) -> Json:
        """Return an answer as a chat completion."""
        return completion_of(answer, created_s=created_s)

    def stream(self, model: str, *, created_s: int, with_usage: bool) -> MessageStream:
        """Return the translation of a streamed answer."""
        return MessageStream(model, created_s=created_s, with_usage=with_usage)

    def error(self, error: Json) -> tuple[str, str | None, float | None]:
        """Return message, code and `Retry-After` of an error's body."""
        inner = error["error"]
        return inner["message"], inner["type"], None
