"""Schemas of the bodies, queries and answers that have no type elsewhere; `wire/` has the checks themselves."""

from typing import Annotated, Any, Final, Generic, Literal, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from meritorder.gateway.routes.answering import DEFAULT_PAGE, MAX_PAGE
from meritorder.gateway.routes.conversations import MAX_NEW_ITEMS
from meritorder.gateway.routes.files import MAX_PAGE as MAX_FILES_PAGE
from meritorder.gateway.routes.files import PURPOSES
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.calls import ENDPOINTS, CallFields
from meritorder.gateway.wire.objects import JsonObject
from meritorder.records.receipts import Signature

_Item = TypeVar("_Item")
_NO_NUL: Final = r"^[^\u0000]*$"
_DURATION: Final = r"^[1-9][0-9]{0,1}(m|min|h)$"

Unset = Annotated[bool | None, Meta(extra_json_schema={"enum": [False, None]})]
Limit = Annotated[int, Meta(ge=0, le=MAX_PAGE)]
Order = Literal["asc", "desc"]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(max_length=checks.MAX_METADATA_KEY)],
        Annotated[str, Meta(max_length=checks.MAX_METADATA_VALUE)],
    ],
    Meta(max_length=checks.MAX_METADATA_PAIRS),
]
LifetimeSeconds = Annotated[int, Meta(ge=checks.MIN_LIFETIME_S, le=checks.MAX_LIFETIME_S)]


class Object(TypedDict):
    """An object with the fields that its API gives it."""


class ErrorFields(TypedDict):
    """What went wrong, and in which field."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(TypedDict):
    """An error in OpenAI's form."""

    error: ErrorFields


class AnthropicErrorFields(TypedDict):
    """What went wrong."""

    type: str
    message: str


class AnthropicError(TypedDict):
    """An error in Anthropic's form."""

    type: Literal["error"]
    error: AnthropicErrorFields
    request_id: str | None


class Deleted(TypedDict):
    """What was deleted."""

    id: str
    object: str
    deleted: Literal[True]


class PlainList(TypedDict, Generic[_Item]):
    """A list without pages."""

    object: Literal["list"]
    data: list[_Item]


class _CountedTokens(TypedDict):
    input_tokens: int


class CountedTokens(_CountedTokens, total=False):
    """The input tokens of a message, counted by its venue or estimated."""

    is_estimate: bool


class MessageBatchPage(TypedDict):
    """One page of batches of messages."""

    data: list[Object]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Health(TypedDict, total=False):
    """Whether the gateway accepts requests, and what fails now."""

    status: Literal["ok", "degraded", "stopping"]
    failing: list[str]


class VenueState(TypedDict):
    """Whether a venue is draining, and what runs there."""

    name: str
    draining: bool
    realtime: int
    deferrable: int


class Scale(TypedDict):
    """What the plan wants of a pool now, ahead by the start-up time, and in the next slot."""

    pool: str
    machines: int
    machines_next: int
    replicas: int
    replicas_next: int


class ResponseCall(CallFields, frozen=True, kw_only=True):
    """The fields of a call that the gateway reads; the venue gets the body as it is, and checks the others."""

    prompt: Any = None


class Call(ResponseCall, frozen=True, kw_only=True):
    """A call that names its model and does not run in the background."""

    model: str
    background: Unset = None


class WholeCall(Call, frozen=True, kw_only=True):
    """A call whose answer cannot be streamed."""

    stream: Unset = None


class WholeResponseCall(ResponseCall, frozen=True, kw_only=True):
    """A call about a response, whose answer cannot be streamed; without a model it goes to the default one."""

    stream: Unset = None


class FileUpload(msgspec.Struct, rename={"anchor": "expires_after[anchor]", "seconds": "expires_after[seconds]"}):
    """A file as a form."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]
    purpose: Literal[PURPOSES]  # type: ignore[valid-type] # a tuple that others read too
    anchor: Literal["created_at"] = "created_at"
    seconds: LifetimeSeconds = checks.MIN_LIFETIME_S


_EXPIRY: Final = ("expires_after[anchor]", "expires_after[seconds]")
FileForm = Annotated[
    FileUpload, Meta(extra_json_schema={"dependentRequired": {_EXPIRY[0]: [_EXPIRY[1]], _EXPIRY[1]: [_EXPIRY[0]]}})
]


class ExpiresAfter(msgspec.Struct):
    """How long a file is kept."""

    anchor: Literal["created_at"]
    seconds: LifetimeSeconds


class BatchCreation(msgspec.Struct):
    """A batch of calls to one endpoint."""

    input_file_id: Annotated[str, Meta(pattern=_NO_NUL)]
    endpoint: Literal[ENDPOINTS]  # type: ignore[valid-type] # a tuple that others read too
    completion_window: Annotated[
        str, Meta(pattern=_DURATION, description="Any duration up to `limits.longest_window`, such as 24h.")
    ]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class SignedReceipt(msgspec.Struct):
    """A receipt and its signature."""

    receipt: Any
    signature: Signature


class DrainRequest(msgspec.Struct):
    """How soon the machine will be taken away."""

    notice_s: Annotated[float, Meta(ge=0, le=86_400)] = 120.0


class QuoteCreation(msgspec.Struct):
    """What a quote is for."""

    input_file_id: Annotated[str, Meta(pattern=_NO_NUL)]
    endpoint: Literal[ENDPOINTS]  # type: ignore[valid-type] # a tuple that others read too


class MetadataUpdate(msgspec.Struct):
    """Metadata that replaces what an object has."""

    metadata: Metadata | None


class ConversationCreation(msgspec.Struct):
    """A conversation and its first items."""

    items: Annotated[list[JsonObject], Meta(max_length=MAX_NEW_ITEMS)] | None = None
    metadata: Metadata | None = None


class NewItems(msgspec.Struct):
    """Items that are added to a conversation."""

    items: Annotated[list[JsonObject], Meta(min_length=1, max_length=MAX_NEW_ITEMS)]


class PageQuery(msgspec.Struct):
    """The page of a list."""

    after: str = ""
    limit: Limit = DEFAULT_PAGE


class OrderedQuery(PageQuery):
    """The page of a list in either order."""

    order: Order = "desc"


class CompletionsQuery(OrderedQuery):
    """The page of stored completions of one model."""

    model: str = ""


class FilesQuery(msgspec.Struct):
    """The page of files of one purpose."""

    after: str = ""
    limit: Annotated[int, Meta(ge=0, le=MAX_FILES_PAGE)] = MAX_FILES_PAGE
    order: Order = "desc"
    purpose: str = ""


class ResponseQuery(msgspec.Struct):
    """Whether a response is returned as events, and from which one on."""

    stream: bool = False
    starting_after: Annotated[int, Meta(ge=-(10**9), le=10**9)] = -1


class MessageBatchesQuery(msgspec.Struct):
    """The page of a list of batches of messages."""

    after_id: str = ""
    limit: Limit = DEFAULT_PAGE


class BatchHeaders(msgspec.Struct, rename={"idempotency_key": "Idempotency-Key"}):
    """Headers of the creation of a batch."""

    idempotency_key: str = ""


class CallHeaders(msgspec.Struct, rename={"deadline": "Meritorder-Deadline"}):
    """Headers of a call."""

    deadline: Annotated[str, Meta(pattern=_DURATION)] = ""
