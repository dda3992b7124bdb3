"""Lines of a batch in another API's form, and their answers back in OpenAI's."""

import msgspec

from meritorder.gateway.errors import BrokenAnswerError, UnsupportedError
from meritorder.gateway.upstreams import completions
from meritorder.gateway.upstreams.batches.venue import BatchLine, LineResult
from meritorder.gateway.upstreams.dialect import CHAT, Dialect
from meritorder.gateway.upstreams.fields import Json, decode


def request_of(dialect: Dialect, line: BatchLine, model: str, *, venue: str) -> Json:
    """Return a line's request as it is sent.

    Raises:
        UnsupportedError: It says what the API has no word for.
    """
    if line.path != CHAT:
        raise UnsupportedError(f"{line.path} is not in its API: it takes {CHAT}", venue=venue, param="endpoint")
    return dialect.envelope(dialect.request(decode(line.body, venue=venue), venue=venue), model, stream=False)


def answered(dialect: Dialect, custom_id: str, answer: Json, *, created_s: int, venue: str) -> LineResult:
    """Return the result of a line that was answered.

    Raises:
        BrokenAnswerError: The answer is not of the API.
    """
    try:
        body = msgspec.json.encode(dialect.answer(answer, created_s=created_s))
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswerError(f"the answer to {custom_id} is not of its API: {error}", venue=venue) from None
    return LineResult(custom_id=custom_id, status_code=200, body=body)


def refused(custom_id: str, message: str, *, status: int, code: str | None) -> LineResult:
    """Return the result of a line that was answered with an error."""
    body = completions.error_body(message, status=status, code=code)
    return LineResult(custom_id=custom_id, status_code=status, body=body)
