"""Gemini's generateContent, as a dialect.

Source: ai.google.dev/api and the types of the official client, `google-genai` 3.4, 2026-11.
"""

from typing import Final
from urllib.parse import quote

from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.fields import Json
from meritorder.gateway.upstreams.gemini.answer import ContentStream, completion_of
from meritorder.gateway.upstreams.gemini.request import contents_of

BASE_URL: Final = "https://generativelanguage.googleapis.com/v1"
_KINDS: Final = frozenset({"models", "tunedModels"})
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"


def endpoint(name: str, api_key: str, base_url: str = BASE_URL) -> Endpoint:
    """Return the endpoint of Gemini's API."""
    return Endpoint(name=name, base_url=base_url, headers={"x-goog-api-key": api_key})


def model_name(model: str) -> str:
    """Return a model's name as part of a path, quoted."""
    kind, slash, name = model.partition("/")
    return f"{kind}/{quote(name, safe='')}" if slash and kind in _KINDS else f"models/{quote(model, safe='')}"


class Gemini:
    """The dialect. See `dialect.Dialect`."""

    def path(self, model: str, *, stream: bool) -> str:
        """Return the path of a request."""
        name = model_name(model)
        return f"/{name}:streamGenerateContent?alt=sse" if stream else f"/{name}:generateContent"

    def request(self, body: Json, *, venue: str) -> Json:
        """Return a chat request in Gemini's format."""
        return contents_of(body, venue=venue)

    def envelope(self, request: Json, _model: str, *, stream: bool) -> Json:  # noqa: ARG002 - part of the protocol
        """Return the body that is sent: model and stream are in the path."""
        return request

    def headers(self, _request: Json) -> tuple[tuple[str, str], ...]:
        """Return no headers; those of the endpoint suffice."""
        return ()

    def answer(self, answer: Json, *, created_s: int) -> Json:
        """Return an answer as a chat completion."""
        return completion_of(answer, created_s=created_s)

    def stream(self, model: str, *, created_s: int, with_usage: bool) -> ContentStream:
        """Return the translation of a streamed answer."""
        return ContentStream(model, created_s=created_s, with_usage=with_usage)

    def error(self, error: Json) -> tuple[str, str | None, float | None]:
        """Return message, code and `Retry-After` of an error's body; the last is among its details."""
        inner = error["error"]
        for detail in inner.get("details", []):
            if detail.get("@type") == _RETRY_INFO:
                return inner["message"], inner["status"], float(detail["retryDelay"].removesuffix("s"))
        return inner["message"], inner["status"], None
