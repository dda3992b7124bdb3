"""The OpenAPI document, and its route."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway.routes.answering import json_response
from meritorder.gateway.routes.openapi.operations import JSON, OPERATIONS, Operation
from meritorder.gateway.routes.openapi.schemas import AnthropicError, Error
from meritorder.gateway.wire.objects import JsonObject

_TITLE: Final = "Meritorder's gateway"
_REFERENCE: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_MESSAGES: Final = "/v1/messages"
# The operation whose answer has the id that a path or body needs.
_CREATORS: Final = {
    "completion_id": "createChatCompletion",
    "file_id": "createFile",
    "batch_id": "createBatch",
    "response_id": "createResponse",
    "quote_id": "createQuote",
    "conversation_id": "createConversation",
}
_SHARED: Final = (404, 408, 415, 431, 500, 503)
_KEY_ERROR: Final = 401
_READ_ONLY_ERROR: Final = 403
_DESCRIPTIONS: Final = {
    400: "The request is invalid, or a venue refuses it.",
    401: "The key is missing or wrong.",
    402: "A venue refuses the request.",
    403: "The key may not do this.",
    404: "There is no such object, model or URL.",
    408: "The request arrived too slowly.",
    409: "The state of the object does not allow it.",
    413: "The request is too large.",
    415: "The body is compressed.",
    422: "The request contradicts an earlier one, or a venue refuses it.",
    429: "A rate, a budget or a venue's limit is reached.",
    431: "The head of the request is too large.",
    500: "The gateway failed.",
    502: "The answer of a venue was unusable.",
    503: "No venue or store can serve it now, or the gateway stops.",
    504: "A venue took too long.",
    529: "No venue or store can serve it now, or the gateway stops.",
}


class OpenApi:
    """The route of the document.

    Args:
        requires_keys: Whether callers need keys.
    """

    def __init__(self, *, requires_keys: bool) -> None:
        self._requires_keys = requires_keys

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/openapi.json", self.show, methods=["GET"])]

    async def show(self, _request: Request) -> Response:
        """Return the document."""
        return json_response(document(requires_keys=self._requires_keys))


@cache
def document(*, requires_keys: bool = True) -> JsonObject:
    """Return the API as an OpenAPI document."""
    types = list({id(kind): kind for operation in OPERATIONS for kind in _types(operation)}.values())
    described, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schemas = dict(zip(map(id, types), described, strict=True))
    paths: dict[str, JsonObject] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, schemas, requires_keys=requires_keys
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": version("meritorder")},
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                **_error_responses(Error, schemas[id(Error)]),
                **_error_responses(AnthropicError, schemas[id(AnthropicError)]),
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "anthropicKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _types(operation: Operation) -> Iterator[Any]:
    """Yield the types whose schemas an operation needs."""
    yield _error_type(operation)
    if operation.answer is not None:
        yield operation.answer
    if operation.body is not None:
        yield operation.body
    for fields in (operation.query, operation.headers):
        if fields is not None:
            yield from (field.type for field in msgspec.structs.fields(fields))


def _operation(operation: Operation, schemas: dict[int, Any], *, requires_keys: bool) -> JsonObject:
    described: JsonObject = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": list(_parameters(operation, schemas)),
        "responses": _responses(operation, schemas, requires_keys=requires_keys),
    }
    if operation.body is not None:
        content = {operation.body_type: {"schema": schemas[id(operation.body)]}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    if requires_keys and not operation.is_public:
        described["security"] = [{"key": []}, *([{"anthropicKey": []}] if _is_anthropic(operation) else [])]
    return described


def _parameters(operation: Operation, schemas: dict[int, Any]) -> Iterator[JsonObject]:
    for name in _PARAMETER.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    for place, struct in (("query", operation.query), ("header", operation.headers)):
        for field in () if struct is None else msgspec.structs.fields(struct):
            yield {
                "name": field.encode_name,
                "in": place,
                "required": field.required,
                "schema": schemas[id(field.type)],
            }


def _responses(operation: Operation, schemas: dict[int, Any], *, requires_keys: bool) -> JsonObject:
    answer = {} if operation.answer is None else {"schema": schemas[id(operation.answer)]}
    content = {media_type: answer if media_type == JSON else {} for media_type in operation.media_types}
    success = {"description": operation.summary, "content": content, "links": _links(operation)}
    responses: JsonObject = {str(status): success for status in operation.statuses}
    statuses = {*_SHARED, *operation.errors}
    if requires_keys and not operation.is_public:
        statuses |= {_KEY_ERROR} if operation.method == "GET" else {_KEY_ERROR, _READ_ONLY_ERROR}
    if _is_anthropic(operation):
        statuses.add(529)
    name = _error_type(operation).__name__
    for status in sorted(statuses):
        responses[str(status)] = {"$ref": f"#/components/responses/{name}{status}"}
    return responses


def _links(operation: Operation) -> JsonObject:
    """Return the operations that take the id which an operation creates."""
    links: JsonObject = {}
    for later in OPERATIONS:
        names = _PARAMETER.findall(later.path)
        if len(names) == 1 and _CREATORS.get(names[0]) == operation.id and not _is_anthropic(later):
            links[later.id] = {"operationId": later.id, "parameters": {names[0]: "$response.body#/id"}}
    return links


def _error_responses(error: type, schema: JsonObject) -> JsonObject:
    """Return the answers with an error in one form, by name."""
    return {
        f"{error.__name__}{status}": {"description": description, "content": {JSON: {"schema": schema}}}
        for status, description in _DESCRIPTIONS.items()
    }


def _error_type(operation: Operation) -> type:
    return AnthropicError if _is_anthropic(operation) else Error


def _is_anthropic(operation: Operation) -> bool:
    return operation.path.startswith(_MESSAGES)
