"""The rows of a job as requests: whatever a row holds, it is a request or has its error."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meritorder.inputs.prompts import ID_COLUMNS, LIMITS, PromptRules, to_request
from meritorder.jobs.sources import FAULT, LINE

_API: Final = "/v1/"
_BOM: Final = "\ufeff"
_CHOICES: Final = ("n", "best_of")
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class RowRequest:
    """A row as a request.

    Args:
        id: Identifies the row: its own id, or a hash of its content.
        path: Path of its endpoint, from `/v1` on.
        body: Its body, as JSON; empty if the row is no request.
        error: Why the row is no request; empty if it is one.
        max_tokens: Most tokens of the answer, all its choices together; None if the row sets no limit.
        row: The row, where it has no id to find it by: its line, or a table's row as JSON.
    """

    id: str
    path: str = ""
    body: bytes = b""
    error: str = ""
    max_tokens: int | None = None
    row: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """How rows become requests.

    Args:
        id_column: Column of the ids; `custom_id` or `id` if empty, and a hash of the row where it has neither.
        are_prompts: Whether each line is a prompt, not JSON.
        prompts: How prompts become requests.
    """

    id_column: str
    are_prompts: bool
    prompts: PromptRules

    def to_request(self, row: Mapping[str, Any]) -> RowRequest:
        """Return a row as a request; a row that is none has its error, and no row ends the job."""
        row_id = ""
        try:
            values = self._parse(row[LINE]) if LINE in row else dict(row)
            row_id = self._id_of(values)
            if fault := values.pop(FAULT, None):
                raise ValueError(fault)  # noqa: TRY301
            request = to_request(values, "", self.prompts)
            body, path = request["body"], request["url"]
            if body.get("stream"):
                raise ValueError("asks for a stream")  # noqa: TRY301
            if not (isinstance(path, str) and path.startswith(_API)):
                raise ValueError(f"has the url {path!r}, which does not begin with {_API}")  # noqa: TRY301
            encoded = json.dumps(body, ensure_ascii=False, default=str).encode()
        except UnicodeError:
            return _identified(row, row_id, error="the row is not Unicode")
        except RecursionError:
            return _identified(row, row_id, error="the row is nested too deeply")
        except (ValueError, TypeError) as error:
            return _identified(row, row_id, error=f"the row {error}")
        return _identified(row, row_id, path=path, body=encoded, max_tokens=_most_tokens(body))

    def _parse(self, line: bytes) -> dict[str, Any]:
        text = line.decode().rstrip("\r\n").removeprefix(_BOM)
        try:
            value = text if self.are_prompts else json.loads(text)
        except ValueError as error:
            raise ValueError(f"is not JSON: {error}") from None
        return value if isinstance(value, dict) else {self.prompts.prompt: value}

    def _id_of(self, values: Mapping[str, Any]) -> str:
        ids = [str(values[name]) for name in self._id_columns if values.get(name) is not None]
        if self.id_column and not ids:
            raise ValueError(f"has no {self.id_column!r}")
        return ids[0] if ids else ""

    @property
    def _id_columns(self) -> tuple[str, ...]:
        return (self.id_column,) if self.id_column else ID_COLUMNS


def _most_tokens(body: Mapping[str, Any]) -> int | None:
    """Return the most tokens that all choices of an answer have together; None if the body sets no limit."""
    limits, choices = (
        [body[name] for name in names if type(body.get(name)) is int and body[name] > 0] for names in (LIMITS, _CHOICES)
    )
    return max(limits) * max(choices, default=1) if limits else None


def _identified(row: Mapping[str, Any], row_id: str, **fields: Any) -> RowRequest:  # noqa: ANN401 - those of the record
    """Return the request of a row under its id, or under a hash of its content and with the row itself."""
    fields = {name: _storable(value) if isinstance(value, str) else value for name, value in fields.items()}
    if row_id:
        return RowRequest(_storable(row_id), **fields)
    line = row.get(LINE)
    content = json.dumps(row, sort_keys=True, default=str) if line is None else line.decode(errors="backslashreplace")
    content = content.rstrip("\r\n")
    return RowRequest(hashlib.blake2b(content.encode(), digest_size=_ID_BYTES).hexdigest(), row=content, **fields)


def _storable(text: str) -> str:
    """Return a text as Unicode, with escapes for what is not."""
    return text.encode(errors="backslashreplace").decode()
