"""Translates lines of a batch to another API, and their results to OpenAI's."""

import msgspec

from meritorder.gateway.errors import BrokenAnswerError, UnsupportedError
from meritorder.gateway.upstreams import completions
from meritorder.gateway.upstreams.batches.venue import BatchLine, LineResult
from meritorder.gateway.upstreams.dialect import CHAT, Dialect
from meritorder.gateway.upstreams.fields import Json, decode


def translate_line(dialect: Dialect, line: BatchLine, model: str, *, venue: str) -> Json:
    """Return the body of a line in the other API.

    Raises:
        UnsupportedError: The API cannot express it.
    """
    if line.path != CHAT:
        raise UnsupportedError(f"its API has no {line.path}, only {CHAT}", venue=venue, param="endpoint")
    return dialect.envelope(dialect.request(decode(line.body, venue=venue), venue=venue), model, stream=False)


def answered_line(dialect: Dialect, custom_id: str, answer: Json, *, created_s: int, venue: str) -> LineResult:
    """Return the result of an answered line.

    Raises:
        BrokenAnswerError: The answer violates the API's contract.
    """
    try:
        body = msgspec.json.encode(dialect.answer(answer, created_s=created_s))
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswerError(f"the answer to {custom_id} violates its API: {error}", venue=venue) from None
    return LineResult(custom_id=custom_id, status_code=200, body=body)


def failed_line(custom_id: str, message: str, *, status: int, code: str | None) -> LineResult:
    """Return the result of a line with an error."""
    body = completions.error_body(message, status=status, code=code)
    return LineResult(custom_id=custom_id, status_code=status, body=body)
