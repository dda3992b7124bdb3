"""Conversations: items of several responses, in order. Each is one row, whose answer has the items as a JSON list."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, select, update

from meritorder.gateway import decoding
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import CONVERSATION, RESPONSE, StoredAnswer
from meritorder.gateway.store.schema import STORED_ANSWERS

Item = dict[str, Any]
_CONVERSATION: Final = b'"conversation"'
_ANSWERED: Final = ("completed", "incomplete")
_PREFIXES: Final = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "reasoning": "rs_",
}


def request_items(request: bytes) -> list[Item]:
    """Return the input of a request to the Responses API as items; what is none is left out."""
    given = msgspec.json.decode(request).get("input")
    return [{"role": "user", "content": given}] if isinstance(given, str) and given else _items(given)


def answer_items(answer: bytes | None) -> list[Item]:
    """Return the output of a response."""
    return _items(msgspec.json.decode(answer).get("output")) if answer else []


def _items(value: object) -> list[Item]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def conversation_id(request: bytes) -> str | None:
    """Return the conversation that a request names."""
    if _CONVERSATION not in request:
        return None
    named = msgspec.json.decode(request).get("conversation")
    if isinstance(named, dict):
        named = named.get("id")
    return named if isinstance(named, str) else None


def items_of(conversation: StoredAnswer) -> list[Item]:
    """Return the items of a conversation, oldest first."""
    items: list[Item] = msgspec.json.decode(conversation.answer or b"[]")
    return items


def with_ids(items: Sequence[Item]) -> list[Item]:
    """Return items as the API shows them: each with an id and, for a message, its content in parts."""
    return [_shown(item) for item in items]


def append(connection: Connection, tenant: str, conversation: str, items: Sequence[Item]) -> bool:
    """Add items at the end of a conversation, if it exists."""
    return _change(connection, tenant, conversation, _with_items, msgspec.json.encode(items))


def remove_item(connection: Connection, tenant: str, conversation: str, item_id: str) -> bool:
    """Delete an item of a conversation."""
    return _change(connection, tenant, conversation, _without_item, item_id)


def add_all(connection: Connection, answers: Sequence[StoredAnswer]) -> Sequence[None]:
    """Store answers, and add the responses among them to their conversations."""
    added = stored_answers.add_all(connection, answers)
    for answer in answers:
        append_turn(connection, answer)
    return added


def append_turn(connection: Connection, response: StoredAnswer | None) -> None:
    """Add the input and the output of a response to the conversation that its request names."""
    if response is None or response.kind != RESPONSE or response.status not in _ANSWERED:
        return
    turn = decoding.run_now(_turn, response) if _CONVERSATION in response.request else None
    if turn is not None:
        _change(connection, response.tenant, turn.conversation, _with_items, turn.items)


class _Turn(NamedTuple):
    """Items of a response, as JSON, and the conversation that they belong to."""

    conversation: str
    items: bytes


def _turn(response: StoredAnswer) -> _Turn | None:
    """Return what a response adds to the conversation that its request names; None if it names none."""
    named = conversation_id(response.request)
    if named is None:
        return None
    items = with_ids([*request_items(response.request), *answer_items(response.answer)])
    return _Turn(named, msgspec.json.encode(items))


def _with_items(present: bytes, added: bytes) -> bytes:
    return msgspec.json.encode([*msgspec.json.decode(present), *msgspec.json.decode(added)])


def _without_item(present: bytes, item_id: str) -> bytes:
    return msgspec.json.encode([item for item in msgspec.json.decode(present) if item.get("id") != item_id])


def _change(
    connection: Connection, tenant: str, conversation: str, change: Callable[..., bytes], *arguments: object
) -> bool:
    """Change the items of a conversation, if it exists."""
    mine = (
        STORED_ANSWERS.c.id == conversation,
        STORED_ANSWERS.c.kind == CONVERSATION,
        STORED_ANSWERS.c.tenant == tenant,
    )
    row = connection.execute(select(STORED_ANSWERS.c.answer).where(*mine).with_for_update()).first()
    if row is None:
        return False
    items = decoding.run_now(change, row.answer or b"[]", *arguments)
    connection.execute(update(STORED_ANSWERS).where(*mine).values(answer=items))
    return True


def _shown(fields: Item) -> Item:
    kind = fields.get("type")
    kind = kind if isinstance(kind, str) and kind else "message"
    item = {"id": _PREFIXES.get(kind, "item_") + secrets.token_hex(24), **fields, "type": kind}
    if kind == "message":
        content = item.get("content")
        if isinstance(content, str):
            text_kind = "output_text" if item.get("role") == "assistant" else "input_text"
            more: Item = {"annotations": [], "logprobs": []} if text_kind == "output_text" else {}
            item["content"] = [{"type": text_kind, "text": content, **more}]
        item.setdefault("status", "completed")
    return item
