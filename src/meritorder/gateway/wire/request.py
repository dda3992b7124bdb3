"""What the gateway reads of a request to a model: no more than it acts on. The body goes on untouched."""

import zlib
from typing import Any, Final

import msgspec

from meritorder.gateway.wire.errors import ApiError, invalid_request

ENDPOINTS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""What may be called, and what a batch may call."""

_BYTES_PER_TOKEN: Final = 4  # of English text, about; only where nobody has counted
_UNSAID_OUTPUT_TOKENS: Final = 512
_MOST_OUTPUT_TOKENS: Final = 10_000_000  # more than any model makes
_PREFIX_BYTES: Final = 256


BESIDE: Final = ("/v1/responses/compact", "/v1/responses/input_tokens")
"""What is passed on as well, in the real-time lane alone."""


class BackgroundOptions(msgspec.Struct, frozen=True, gc=False):
    """How long a background response may take."""

    completion_window: str | None = None


class CallFields(msgspec.Struct, frozen=True, gc=False):
    """The fields that the gateway acts on, of all endpoints."""

    model: str | None = None
    stream: bool | None = None
    service_tier: str | None = None
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    store: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None

    @property
    def output_tokens(self) -> int:
        """Most tokens that the answer may have, or a guess where the request does not say."""
        for said in (self.max_completion_tokens, self.max_tokens, self.max_output_tokens):
            if said is not None:
                # What makes no sense is for the venue to refuse; here it must not undo what others have used.
                return min(max(0, said), _MOST_OUTPUT_TOKENS)
        return _UNSAID_OUTPUT_TOKENS


class LineFields(msgspec.Struct, frozen=True, gc=False):
    """One line of a batch's input."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Streamed(msgspec.Struct, frozen=True):
    stream_options: _StreamOptions | None = None


_CALL: Final = msgspec.json.Decoder(CallFields)
_STREAMED: Final = msgspec.json.Decoder(_Streamed)
_LINE: Final = msgspec.json.Decoder(LineFields)


def read_call(body: bytes, default_model: str | None = None) -> CallFields:
    """Read the fields of a call.

    Args:
        body: JSON.
        default_model: Taken where the call names no model, as responses need not.

    Raises:
        ApiError: It is not JSON, names no model, or a field is of another type.
    """
    try:
        call = _CALL.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_field(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid_request(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if call.model is None:
        if default_model is None:
            raise invalid_request("you must provide a model parameter")
        return msgspec.structs.replace(call, model=default_model)
    return call


def wants_usage(body: bytes) -> bool:
    """Tell whether a streamed call asks for its usage."""
    try:
        options = _STREAMED.decode(body).stream_options
    except msgspec.DecodeError:
        return False  # for the venue to refuse
    return bool(options and options.include_usage)


def read_line(line: bytes) -> LineFields:
    """Read a line of a batch. Raises msgspec's errors."""
    return _LINE.decode(line)


def estimated_tokens(body_bytes: int) -> int:
    """Guess the tokens of a body that nobody has counted."""
    return max(1, body_bytes // _BYTES_PER_TOKEN)


def prefix_of(body: bytes) -> int:
    """Return a number that is alike for bodies that begin alike, so that they can share a prefix cache."""
    return zlib.crc32(body[:_PREFIX_BYTES])


def with_fields(body: bytes, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a body with some fields set; None takes a field out. The others stay as they were written."""
    if all(value is None and name.encode() not in body for name, value in fields.items()):
        return body
    whole = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for name, value in fields.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(whole)


def _wrong_field(error: msgspec.ValidationError) -> ApiError:
    said = str(error)
    field = said.rpartition("`$.")[2].rstrip("`") if "`$." in said else None
    return invalid_request(f"Invalid type: {said}.", param=field, code="invalid_type")


def with_default(body: bytes, name: str, value: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a body with a field set where it says nothing; untouched where it does."""
    if name.encode() in body and msgspec.json.decode(body).get(name) is not None:
        return body
    return with_fields(body, **{name: value})


def is_json(body: bytes) -> bool:
    """Tell whether a body is JSON."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def encode(content: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return JSON."""
    return msgspec.json.encode(content)
