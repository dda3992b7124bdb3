"""The operations of the API: what each takes, returns and refuses. A test compares them with the routes."""

from dataclasses import dataclass
from typing import Any, Final

from meritorder.gateway.routes.messages.schema import BatchCreation, MessageCreation, TokenCount
from meritorder.gateway.routes.openapi import schemas
from meritorder.gateway.routes.openapi.schemas import Object
from meritorder.gateway.wire.calls import ENDPOINTS
from meritorder.gateway.wire.objects import BatchObject, ConversationObject, FileObject, Page

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
_FORM: Final = "multipart/form-data"
_VENUES: Final = (400, 402, 403, 409, 413, 422, 429, 502, 504)  # a venue's own statuses beside those of the gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Args:
        id: Its name in the document.
        method: HTTP method.
        path: Path with its parameters in braces.
        summary: What it does.
        answer: Type of a successful answer in JSON.
        media_types: Content types of a successful answer.
        body: Type of the body; None without one.
        body_type: Content type of the body.
        query: Type of the query parameters.
        headers: Type of the headers.
        statuses: Statuses of a successful answer.
        errors: Statuses that only some operations have.
        needs_body: Whether a body, if it takes one, must be there.
        is_public: Whether it needs no key.
    """

    id: str
    method: str
    path: str
    summary: str
    answer: Any = Object
    media_types: tuple[str, ...] = (JSON,)
    body: Any = None
    body_type: str = JSON
    query: Any = None
    headers: Any = None
    statuses: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()
    needs_body: bool = True
    is_public: bool = False


def _call(name: str, path: str, summary: str, *media_types: str, body: object = schemas.Call) -> Operation:
    return Operation(
        id=name,
        method="POST",
        path=path,
        summary=summary,
        media_types=media_types or (JSON, EVENTS),
        body=body,
        headers=schemas.CallHeaders if path in ENDPOINTS else None,
        errors=_VENUES,
    )


def _get(name: str, path: str, summary: str, answer: object, **more: Any) -> Operation:  # noqa: ANN401 - fields of it
    return Operation(id=name, method="GET", path=path, summary=summary, answer=answer, **more)


def _post(name: str, path: str, summary: str, answer: object, **more: Any) -> Operation:  # noqa: ANN401 - fields of it
    if more.get("body") is not None:
        more["errors"] = (400, 413, *more.get("errors", ()))
    return Operation(id=name, method="POST", path=path, summary=summary, answer=answer, **more)


def _delete(name: str, path: str, summary: str, answer: object = schemas.Deleted, **more: Any) -> Operation:  # noqa: ANN401 - as above
    return Operation(id=name, method="DELETE", path=path, summary=summary, answer=answer, **more)


_CHAT: Final = "/v1/chat/completions"
_FILES: Final = "/v1/files"
_BATCHES: Final = "/v1/batches"
_RESPONSES: Final = "/v1/responses"
_CONVERSATIONS: Final = "/v1/conversations"
_MESSAGES: Final = "/v1/messages"
_MODELS: Final = "/v1/models"
_COMPLETION: Final = _CHAT + "/{completion_id}"
_FILE: Final = _FILES + "/{file_id}"
_BATCH: Final = _BATCHES + "/{batch_id}"
_RESPONSE: Final = _RESPONSES + "/{response_id}"
_CONVERSATION: Final = _CONVERSATIONS + "/{conversation_id}"
_ITEM: Final = _CONVERSATION + "/items/{item_id}"
_MESSAGE_BATCHES: Final = _MESSAGES + "/batches"
_MESSAGE_BATCH: Final = _MESSAGE_BATCHES + "/{batch_id}"
_MODEL: Final = _MODELS + "/{model}"
_DRAIN: Final = "/v1/venues/{name}/drain"

OPERATIONS: Final = (
    _call("createChatCompletion", _CHAT, "Complete a chat."),
    _call("createCompletion", "/v1/completions", "Complete a prompt."),
    _call("createEmbedding", "/v1/embeddings", "Embed texts.", JSON, body=schemas.WholeCall),
    _call("createResponse", _RESPONSES, "Create a response.", body=schemas.ResponseCall),
    _call(
        "compactResponse",
        _RESPONSES + "/compact",
        "Compact the items of a conversation.",
        JSON,
        body=schemas.WholeResponseCall,
    ),
    _call(
        "countInputTokens",
        _RESPONSES + "/input_tokens",
        "Count the input tokens of a response.",
        JSON,
        body=schemas.WholeResponseCall,
    ),
    _get(
        "listChatCompletions",
        _CHAT,
        "List stored completions, oldest first.",
        Page[Object],
        query=schemas.CompletionsQuery,
        errors=(400,),
    ),
    _get("getChatCompletion", _COMPLETION, "Return a stored completion.", Object),
    _post(
        "updateChatCompletion",
        _COMPLETION,
        "Replace the metadata of a stored completion.",
        Object,
        body=schemas.MetadataUpdate,
    ),
    _delete("deleteChatCompletion", _COMPLETION, "Delete a stored completion."),
    _get(
        "listChatMessages",
        _COMPLETION + "/messages",
        "List the messages of the request of a stored completion.",
        Page[Object],
        query=schemas.OrderedQuery,
        errors=(400,),
    ),
    _get("listFiles", _FILES, "List files, newest first.", Page[FileObject], query=schemas.FilesQuery, errors=(400,)),
    _post("createFile", _FILES, "Upload a file.", FileObject, body=schemas.FileForm, body_type=_FORM),
    _get("getFile", _FILE, "Return what is known of a file.", FileObject),
    _delete("deleteFile", _FILE, "Delete a file."),
    _get(
        "downloadFile",
        _FILE + "/content",
        "Return the content of a file.",
        None,
        media_types=("application/octet-stream",),
    ),
    _get(
        "listBatches",
        _BATCHES,
        "List batches, newest first.",
        Page[BatchObject],
        query=schemas.PageQuery,
        errors=(400,),
    ),
    _post(
        "createBatch",
        _BATCHES,
        "Create a batch; its input is checked afterwards.",
        BatchObject,
        body=schemas.BatchCreation,
        headers=schemas.BatchHeaders,
        errors=(422, 429),
    ),
    _get("getBatch", _BATCH, "Return a batch.", BatchObject),
    _post("cancelBatch", _BATCH + "/cancel", "Cancel a batch; answers are kept.", BatchObject, errors=(409,)),
    _post("pauseBatch", _BATCH + "/pause", "Pause a batch; its window goes on.", BatchObject, errors=(409,)),
    _post("resumeBatch", _BATCH + "/resume", "Resume a paused batch.", BatchObject, errors=(409,)),
    _get(
        "getReceipt",
        _BATCH + "/receipt",
        "Return the signed receipt of a batch; 202 while there is none.",
        Object,
        statuses=(200, 202),
    ),
    _get(
        "getRequestReceipt",
        "/v1/requests/{request_id}/receipt",
        "Return the signed receipt of a request outside batches that has ended; 202 while there is none.",
        Object,
        statuses=(200, 202),
    ),
    _post(
        "verifyReceipt",
        "/v1/receipts/verify",
        "Tell whether a receipt is as this gateway has signed it.",
        Object,
        body=schemas.SignedReceipt,
    ),
    _post(
        "createQuote",
        "/v1/quotes",
        "Quote a batch of an uploaded file, by how long it may wait.",
        Object,
        body=schemas.QuoteCreation,
    ),
    _get("getQuote", "/v1/quotes/{quote_id}", "Return a quote.", Object),
    _get(
        "getResponse",
        _RESPONSE,
        "Return a stored response, whole or as events.",
        Object,
        media_types=(JSON, EVENTS),
        query=schemas.ResponseQuery,
        errors=(400,),
    ),
    _delete("deleteResponse", _RESPONSE, "Delete a response, and cancel its request."),
    _post("cancelResponse", _RESPONSE + "/cancel", "Cancel a background response.", Object, errors=(400,)),
    _get(
        "listInputItems",
        _RESPONSE + "/input_items",
        "List the input items of a response, newest first.",
        Page[Object],
        query=schemas.OrderedQuery,
        errors=(400,),
    ),
    _post(
        "createConversation",
        _CONVERSATIONS,
        "Create a conversation.",
        ConversationObject,
        body=schemas.ConversationCreation,
        needs_body=False,
    ),
    _get("getConversation", _CONVERSATION, "Return a conversation.", ConversationObject),
    _post(
        "updateConversation",
        _CONVERSATION,
        "Replace the metadata of a conversation.",
        ConversationObject,
        body=schemas.MetadataUpdate,
    ),
    _delete("deleteConversation", _CONVERSATION, "Delete a conversation; its responses stay."),
    _get(
        "listConversationItems",
        _CONVERSATION + "/items",
        "List the items of a conversation, newest first.",
        Page[Object],
        query=schemas.OrderedQuery,
        errors=(400,),
    ),
    _post(
        "createConversationItems",
        _CONVERSATION + "/items",
        "Add items at the end of a conversation.",
        Page[Object],
        body=schemas.NewItems,
    ),
    _get("getConversationItem", _ITEM, "Return an item.", Object),
    _delete("deleteConversationItem", _ITEM, "Delete an item; return the conversation.", ConversationObject),
    _post(
        "createMessage",
        _MESSAGES,
        "Create a message, in Anthropic's form.",
        Object,
        media_types=(JSON, EVENTS),
        body=MessageCreation,
        headers=schemas.CallHeaders,
        errors=(402, 403, 409, 422, 429, 502, 504),
    ),
    _post(
        "countMessageTokens",
        _MESSAGES + "/count_tokens",
        "Count the input tokens of a message; `is_estimate` if its venue cannot.",
        schemas.CountedTokens,
        body=TokenCount,
        errors=(429,),
    ),
    _post(
        "createMessageBatch",
        _MESSAGE_BATCHES,
        "Create a batch of messages to one model.",
        Object,
        body=BatchCreation,
        headers=schemas.BatchHeaders,
        errors=(422, 429),
    ),
    _post(
        "createMessageFile",
        _MESSAGE_BATCHES + "/files",
        "Store the requests of a batch as chat completions, the input of `/v1/quotes` and `/v1/batches`.",
        Object,
        body=BatchCreation,
        errors=(422, 429),
    ),
    _get(
        "listMessageBatches",
        _MESSAGE_BATCHES,
        "List batches of messages, newest first.",
        schemas.MessageBatchPage,
        query=schemas.MessageBatchesQuery,
        errors=(400,),
    ),
    _get("getMessageBatch", _MESSAGE_BATCH, "Return a batch of messages.", Object),
    _post("cancelMessageBatch", _MESSAGE_BATCH + "/cancel", "Cancel a batch of messages.", Object, errors=(409,)),
    _get(
        "getMessageBatchResults",
        _MESSAGE_BATCH + "/results",
        "Return the results of a batch that has ended, one a line.",
        None,
        media_types=("application/x-jsonl",),
        errors=(400,),
    ),
    _get("listModels", _MODELS, "List the models that the venues serve.", schemas.PlainList[Object]),
    _get("getModel", _MODEL, "Return a model.", Object),
    _delete("deleteModel", _MODEL, "Refused: models are configured.", errors=(403,)),
    _get("getHealth", "/health", "Return whether the gateway accepts requests.", schemas.Health, is_public=True),
    _get(
        "getMetrics",
        "/metrics",
        "Return metrics in Prometheus's form.",
        None,
        media_types=("text/plain",),
        errors=(403,),
    ),
    _get("getStatus", "/meritorder/status", "Return venues, plan, queues and spending.", Object, errors=(403,)),
    _post(
        "drainVenue",
        _DRAIN,
        "Admit nothing more at a venue, finish what fits into the notice, and queue the rest again.",
        schemas.VenueState,
        body=schemas.DrainRequest,
        needs_body=False,
        errors=(403,),
    ),
    _delete("resumeVenue", _DRAIN, "Admit requests at a venue again.", schemas.VenueState, errors=(403,)),
    _get(
        "getScale",
        "/v1/scale/{pool}",
        "Return the replicas that the plan wants of a pool.",
        schemas.Scale,
        errors=(403,),
    ),
    _get("getKey", "/meritorder/key", "Return whose key this is, and what it permits.", Object),
    _get("getOpenApi", "/openapi.json", "Return this document.", Object, is_public=True),
)
"""Every operation."""
