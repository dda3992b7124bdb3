"""Files of prompts and Parquet files as input of a batch: one request per line, as the Batch API takes them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from meritorder.errors import ConfigError

Json = dict[str, Any]
ID_COLUMNS: Final = ("custom_id", "id")
"""Columns that name a request, the first of which counts."""

LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""Fields of a body that limit its answer."""

_ENDPOINT: Final = "/v1/chat/completions"
_TABLES: Final[dict[str, Callable[[Path], pl.DataFrame]]] = {
    ".parquet": pl.read_parquet,
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),
}
_FIX: Final = "give a column with --prompt, or columns `messages` or `body`"


def is_batch_file(path: Path) -> bool:
    """Tell whether a file has requests in the format of the Batch API already.

    Raises:
        ConfigError: It cannot be read.
    """
    if path.suffix.lower() in _TABLES or path.suffix.lower() == ".txt":
        return False
    try:
        with path.open("rb") as file:
            first = json.loads(next((line for line in file if line.strip()), b"{}"))
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path)) from error
    except ValueError:
        return True  # its reader says what is wrong
    return not isinstance(first, str) and not (isinstance(first, dict) and {"prompt", "messages"} & first.keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRules:
    """How prompts become requests.

    Args:
        model: Model of requests that name none.
        prompt: Column of the prompts.
        max_tokens: Limit on the answers of requests that set none.
    """

    model: str
    prompt: str = "prompt"
    max_tokens: int | None = None


def write_batch_file(source: Path, target: Path, rules: PromptRules) -> int:
    """Write the requests of a file of prompts; return their number.

    Args:
        source: A text file with a prompt per line, or a table or JSON lines with prompts, messages or bodies.
        target: The file to write.
        rules: How its rows become requests.

    Raises:
        ConfigError: The file cannot be read, or has no prompts.
    """
    count = 0
    with target.open("w", encoding="utf-8") as file:
        for count, row in enumerate(_rows(source, rules.prompt), 1):
            try:
                request = to_request(row, f"line-{count}", rules)
            except (ValueError, TypeError) as error:
                raise ConfigError(f"row {count} {error}", where=str(source), fix=_FIX) from error
            file.write(json.dumps(request, ensure_ascii=False) + "\n")
    if not count:
        raise ConfigError("has no prompts", where=str(source), fix="write one per line")
    return count


def _rows(path: Path, prompt: str) -> Iterator[Json]:
    read_table = _TABLES.get(path.suffix.lower())
    try:
        if read_table is not None:
            yield from read_table(path).iter_rows(named=True)
            return
        with path.open(encoding="utf-8") as file:
            for line in filter(str.strip, file):
                row = line.rstrip("\r\n") if path.suffix.lower() == ".txt" else json.loads(line)
                yield row if isinstance(row, dict) else {prompt: row}
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path)) from error
    except (pl.exceptions.PolarsError, UnicodeDecodeError, ValueError) as error:
        what = f"cannot be read: {str(error).splitlines()[0]}"
        raise ConfigError(what, where=str(path), fix="give text, JSON lines, CSV or Parquet") from error


def to_request(row: Json, default_id: str, rules: PromptRules) -> Json:
    """Return a row as a request of a batch, under the id of the row if it has one.

    Raises:
        ValueError, TypeError: It has no prompt, or a body that is none.
    """
    body = _nested(row.get("body"))
    if body is None:
        messages, text = _nested(row.get("messages")), row.get(rules.prompt)
        if messages is None and text is None:
            raise ValueError(f"has no {rules.prompt!r}: it has {', '.join(row) or 'nothing'}")
        body = {"messages": [{"role": "user", "content": str(text)}] if messages is None else messages}
    if not isinstance(body, dict):
        raise TypeError("has a body that is no JSON object")
    body = {"model": row.get("model") or rules.model, **body}
    url = row.get("url") or _ENDPOINT
    if rules.max_tokens is not None and not any(body.get(limit) for limit in LIMITS):
        body["max_output_tokens" if str(url).endswith("/responses") else "max_tokens"] = rules.max_tokens
    custom_id = next((str(row[name]) for name in ID_COLUMNS if row.get(name) is not None), default_id)
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def _nested(cell: object) -> object:
    """Return a nested value, which tables may have as JSON text, without its null fields."""
    return json.loads(cell) if isinstance(cell, str) else _without_null(cell)


def _without_null(cell: object) -> object:
    if isinstance(cell, dict):
        return {name: _without_null(value) for name, value in cell.items() if value is not None}
    return [_without_null(item) for item in cell] if isinstance(cell, list) else cell
