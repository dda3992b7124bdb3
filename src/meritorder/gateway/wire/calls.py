"""The fields of a model call that the gateway acts on; the body is forwarded untouched."""

import zlib
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from meritorder.gateway.wire.checks import MAX_DEPTH, MAX_VALUES, has_too_many_values, is_too_deep, is_unicode
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, invalid_request

ENDPOINTS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""Endpoints of calls and of batches."""

_BYTES_PER_TOKEN: Final = 4  # roughly, of English text
_DEFAULT_OUTPUT_TOKENS: Final = 512
_MAX_OUTPUT_TOKENS: Final = 10_000_000  # more than any model generates
_PREFIX_BYTES: Final = 256
_MIN_BYTES_PER_TOKEN: Final = 2  # of dense scripts and code
_TEMPLATE_TOKENS: Final = 64  # what an engine's chat template may add
_EMBEDDINGS: Final = "/v1/embeddings"
_RESPONSES: Final = "/v1/responses"
_EARLIER: Final = (b"previous_response_id", b"conversation")

REALTIME_ENDPOINTS: Final = ("/v1/responses/compact", "/v1/responses/input_tokens")
"""Endpoints that are served in the real-time lane only."""

STREAMED_ENDPOINTS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
"""Endpoints whose answers can be streams."""

_Call = TypeVar("_Call", bound="CallFields")
_NULL: Final = msgspec.Raw(b"null")
_EMPTY: Final[tuple[Any, ...]] = (None, [], {})


class BackgroundOptions(msgspec.Struct, frozen=True, gc=False):
    """The completion window of a background response."""

    completion_window: str | None = None


class CallFields(msgspec.Struct, frozen=True, gc=False):
    """The fields that the gateway acts on, over all endpoints."""

    model: str | None = None
    stream: bool | None = None
    service_tier: str | None = None
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    store: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: Any = None
    best_of: Any = None
    prompt: msgspec.Raw = _NULL

    @property
    def output_limit(self) -> int | None:
        """The limit on output tokens of one choice; None if the call sets none."""
        for limit in (self.max_completion_tokens, self.max_tokens, self.max_output_tokens):
            if limit is not None:
                # The venue rejects nonsense; here it must not refund the rate limit of other calls.
                return min(max(0, limit), _MAX_OUTPUT_TOKENS)
        return None

    @property
    def output_tokens(self) -> int:
        """The limit on output tokens, or an estimate if the call sets none."""
        limit = self.output_limit
        return _DEFAULT_OUTPUT_TOKENS if limit is None else limit

    @property
    def choices(self) -> int:
        """The number of choices, each within the limit on tokens, over all prompts."""
        most = max(count for count in (1, self.n, self.best_of) if isinstance(count, int))
        return most if self.prompt is _NULL else most * _prompts(self.prompt)


class _LineMessage(msgspec.Struct, frozen=True, gc=False):
    role: str


class _LineCallFields(CallFields, frozen=True, gc=False):
    """The fields of a call in a line of a batch, with those that its endpoint requires."""

    messages: list[_LineMessage] | None = None
    input: Any = None
    conversation: Any = None
    previous_response_id: str | None = None


class LineFields(msgspec.Struct, frozen=True, gc=False):
    """One line of a batch input file."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _StreamFields(msgspec.Struct, frozen=True):
    n: int | None = None
    stream_options: _StreamOptions | None = None


_LINE_CALL: Final = msgspec.json.Decoder(_LineCallFields)
# Fields of which a call needs one; the first is named if there is none.
_REQUIRED: Final = {
    "/v1/chat/completions": ("messages",),
    "/v1/completions": ("prompt",),
    "/v1/embeddings": ("input",),
    "/v1/responses": ("input", "prompt", "conversation", "previous_response_id"),
}
_CALL: Final = msgspec.json.Decoder(CallFields)
_STREAMED: Final = msgspec.json.Decoder(_StreamFields)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


_LINE: Final = msgspec.json.Decoder(LineFields)


def parse_call(body: bytes, default_model: str | None = None) -> CallFields:
    """Parse the fields of a call.

    Args:
        body: The request body.
        default_model: Used if the call names no model; responses need not.

    Raises:
        ApiError: The body is not JSON, nested too deeply, names no model, or a field has the wrong type.
    """
    call = _with_prompts_counted(_decode_call(_CALL, body))
    if call.model is None:
        if default_model is None:
            raise invalid_request("you must provide a model parameter")
        return msgspec.structs.replace(call, model=default_model)
    return call


class ReadCall(NamedTuple):
    """The fields of a call, its body if a default completes it, and whether it may go on from earlier turns."""

    fields: CallFields
    completed: bytes | None
    has_earlier: bool


def read_call(body: bytes, endpoint: str, default_model: str | None) -> ReadCall:
    """Return what the gateway acts on in a call.

    Raises:
        ApiError: As `parse_call`, or the endpoint does not stream, or the body is kept and could not be read again.
    """
    call = parse_call(body, default_model)
    if call.stream and endpoint not in STREAMED_ENDPOINTS:
        raise invalid_request("This endpoint does not stream.", param="stream", code="unsupported_parameter")
    if endpoint == _RESPONSES or call.store or call.background:
        _check_kept(body)
    whole = body if default_model is None else with_default(body, "model", default_model)
    has_earlier = endpoint == _RESPONSES and any(name in body for name in _EARLIER)
    return ReadCall(call, None if whole is body else whole, has_earlier)


def parse_line_call(body: bytes, endpoint: str) -> CallFields:
    """Parse the call in a line of a batch, and check that it has what its endpoint requires.

    Raises:
        ApiError: As `parse_call`, and a required field is missing or empty.
    """
    call = _decode_call(_LINE_CALL, body)
    required = _REQUIRED[endpoint]
    if call.model is None:
        raise _missing("model")
    if all(_is_empty(getattr(call, name)) for name in required):
        raise _missing(required[0])
    return _with_prompts_counted(call)


def _is_empty(value: object) -> bool:
    return (msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value) in _EMPTY


def _with_prompts_counted(call: "_Call") -> "_Call":
    """Return a call without its prompts, whose number of choices is over all of them."""
    return call if call.prompt is _NULL else msgspec.structs.replace(call, n=call.choices, best_of=None, prompt=_NULL)


def _prompts(prompt: msgspec.Raw) -> int:
    """Return the number of prompts in a field; a list of numbers is one."""
    prompts = msgspec.json.decode(prompt)
    return 1 if not isinstance(prompts, list) or all(isinstance(part, int) for part in prompts) else len(prompts)


def _missing(field: str) -> ApiError:
    message = f"Missing required parameter: '{field}'."
    return invalid_request(message, param=field, code="missing_required_parameter")


def _decode_call(decoder: "msgspec.json.Decoder[_Call]", body: bytes) -> "_Call":
    if has_too_many_values(body):
        raise invalid_request(f"The JSON body of your request has more than {MAX_VALUES:,} values.")
    if is_too_deep(body):
        raise invalid_request(f"The JSON body of your request is nested more than {MAX_DEPTH} levels deep.")
    if not is_unicode(body):
        raise _not_json()
    try:
        call = decoder.decode(body)
        if call.prompt is not _NULL:
            msgspec.json.decode(call.prompt)  # it is counted later, and may hold a number that is too large
    except msgspec.ValidationError as error:
        raise _wrong_field(error) from None
    except INVALID_JSON:
        raise _not_json() from None
    return call


def _not_json() -> ApiError:
    return invalid_request(
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
        "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
    )


def total_output_limit(body: bytes) -> int | None:
    """Return the limit on output tokens of all choices of a call; None if it sets none."""
    try:
        call = _CALL.decode(body)
    except INVALID_JSON:
        return None
    limit = call.output_limit
    return None if limit is None else limit * call.choices


def _check_kept(body: bytes) -> None:
    """Check that a body that is kept can be read again.

    Raises:
        ApiError: A number is too large to hold, or a text is not Unicode.
    """
    try:
        msgspec.json.decode(body)
    except INVALID_JSON as error:
        raise invalid_request(f"We could not parse the JSON body of your request: {error}.") from None


def wants_usage(body: bytes) -> bool:
    """Return whether a streamed call asks for its usage."""
    try:
        options = _STREAMED.decode(body).stream_options
    except INVALID_JSON:
        return False  # the venue rejects it
    return bool(options and options.include_usage)


def choices(body: bytes) -> int:
    """Return the number of choices that a call asks for."""
    try:
        return _STREAMED.decode(body).n or 1
    except msgspec.DecodeError:
        return 1  # the venue rejects it


def parse_line(line: bytes) -> LineFields:
    """Parse a line of a batch; raises one of `INVALID_JSON`."""
    if has_too_many_values(line):
        raise msgspec.DecodeError(f"it has more than {MAX_VALUES:,} values")
    if is_too_deep(line):
        raise msgspec.DecodeError(f"it is nested more than {MAX_DEPTH} levels deep")
    if not is_unicode(line):
        raise msgspec.DecodeError("it is not Unicode")
    return _LINE.decode(line)


def estimate_tokens(body_bytes: int) -> int:
    """Estimate the tokens of a body."""
    return max(1, body_bytes // _BYTES_PER_TOKEN)


def most_input_tokens(body_bytes: int) -> int:
    """Return the most tokens that a body may have, except for images that it only links to."""
    return body_bytes // _MIN_BYTES_PER_TOKEN + _TEMPLATE_TOKENS


def output_bound(endpoint: str, call: CallFields) -> tuple[int | None, int]:
    """Return the limit on output tokens of a choice, None without one, and the number of choices."""
    return (0, 1) if endpoint == _EMBEDDINGS else (call.output_limit, call.choices)


def prefix_hash(body: bytes) -> int:
    """Hash the start of a body: calls with equal hashes can share a prefix cache."""
    return zlib.crc32(body[:_PREFIX_BYTES])


def with_fields(body: bytes, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a body with some fields set, or removed if None; the other fields keep their bytes."""
    if all(value is None and name.encode() not in body for name, value in fields.items()):
        return body
    whole = _FIELDS.decode(body)
    for name, value in fields.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(whole)


def _wrong_field(error: msgspec.ValidationError) -> ApiError:
    message = str(error)
    field = message.rpartition("`$.")[2].rstrip("`") if "`$." in message else None
    return invalid_request(f"Invalid type: {message}.", param=field, code="invalid_type")


def with_default(body: bytes, name: str, value: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a body with a field set if it is missing or null."""
    if name.encode() in body and bytes(_FIELDS.decode(body).get(name, b"null")) != b"null":
        return body
    return with_fields(body, **{name: value})


def is_object(body: bytes) -> bool:
    """Return whether a body is a JSON object."""
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except (*INVALID_JSON, RecursionError):
        return False


def is_json(body: bytes) -> bool:
    """Return whether a body is JSON."""
    try:
        msgspec.json.decode(body)
    except INVALID_JSON:
        return False
    return True
