"""The rows of a job: files as a dataset of Ray Data, and each row as a request."""

import hashlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray.data
from pyarrow import fs
from pyarrow.lib import ArrowException

from meritorder.errors import ConfigError
from meritorder.inputs.prompts import ID_COLUMNS, LIMITS, PromptRules, to_request

LINE: Final = "text"
"""The column of a dataset that was read line by line."""

_TABLES: Final = (".parquet", ".csv")
_JSON_LINES: Final = (".jsonl", ".ndjson", ".json")
_PROMPTS: Final = ".txt"
_COMPRESSIONS: Final = (".gz", ".bz2", ".zst")
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class RowRequest:
    """A row as a request.

    Args:
        id: Identifies the row: its own id, or a hash of its content.
        path: Path of its endpoint, from `/v1` on.
        body: Its body, as JSON; empty if the row is no request.
        error: Why the row is no request; empty if it is one.
        max_tokens: Most tokens of the answer; None if the row sets no limit.
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
            values = self._parse(row[LINE]) if row.keys() == {LINE} else dict(row)
            row_id = self._id_of(values)
            request = to_request(values, "", self.prompts)
            if request["body"].get("stream"):
                raise ValueError("asks for a stream")  # noqa: TRY301
        except (ValueError, TypeError) as error:
            return _identified(row, row_id, error=f"the row {error}")
        body = request["body"]
        limits = [body[name] for name in LIMITS if isinstance(body.get(name), int)]
        return _identified(
            row,
            row_id,
            path=request["url"],
            body=json.dumps(body, ensure_ascii=False, default=str).encode(),
            max_tokens=limits[0] if limits else None,
        )

    def _parse(self, line: str) -> dict[str, Any]:
        try:
            value = line if self.are_prompts else json.loads(line)
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


def read_files(paths: Sequence[str]) -> tuple[ray.data.Dataset, bool]:
    """Return files and folders as a dataset, and whether its lines are prompts, not JSON.

    Raises:
        ConfigError: A path does not exist or cannot be read, or the files are of several kinds.
    """
    files = [file for path in paths for file in files_of(path)]
    suffixes = {_suffix(file) for file in files}
    suffixes = {_JSON_LINES[0] if suffix in _JSON_LINES else suffix for suffix in suffixes}
    if len(suffixes) > 1:
        kinds = ", ".join(sorted(suffixes))
        raise ConfigError(f"files of several kinds: {kinds}", where="run", fix="run a job for each kind")
    suffix = suffixes.pop()
    if suffix == ".parquet":
        return ray.data.read_parquet(files), False
    if suffix == ".csv":
        return ray.data.read_csv(files), False
    return ray.data.read_text(files), suffix == _PROMPTS


def open_path(path: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or URL, and the path inside it.

    Raises:
        ConfigError: No such file system is known.
    """
    try:
        filesystem, inside = fs.FileSystem.from_uri(path if "://" in path else Path(path).absolute().as_uri())
    except (ArrowException, OSError) as error:
        raise ConfigError(str(error), where=path, fix="write a path, s3://... or gs://...") from None
    return filesystem, inside


def files_of(path: str) -> list[str]:
    """Return a file as it is, and for a folder all files in it that can hold rows."""
    filesystem, inside = open_path(path)
    try:
        kind = filesystem.get_file_info(inside).type
        listed = filesystem.get_file_info(fs.FileSelector(inside, recursive=True, allow_not_found=True))
    except NotADirectoryError:
        listed = []
    except OSError as error:
        raise ConfigError(str(error), where=path, fix="check the path and the credentials") from None
    if kind is fs.FileType.NotFound:
        raise ConfigError("no such file or folder", where=path, fix="check the path")
    if kind is fs.FileType.File:
        if _suffix(path) not in (*_TABLES, *_JSON_LINES, _PROMPTS):
            known = ", ".join((*_TABLES, *_JSON_LINES, _PROMPTS))
            raise ConfigError("is of no known kind", where=path, fix=f"name files that end in {known}")
        return [path]
    # Tools leave notes beside the rows, in names that begin with `.` or `_`, and as small .json files.
    names = sorted(
        file.path
        for file in listed
        if file.is_file and _suffix(file.path) in (*_TABLES, *_JSON_LINES[:2]) and file.base_name[0] not in "._"
    )
    if not names:
        raise ConfigError("has no Parquet, CSV or JSON lines", where=path, fix="name a folder of such files")
    return [posixpath.join(path, posixpath.relpath(name, inside)) for name in names]


def _suffix(path: str) -> str:
    name = posixpath.basename(path).lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return posixpath.splitext(name)[1]


def _identified(row: Mapping[str, Any], row_id: str, **fields: Any) -> RowRequest:  # noqa: ANN401 - those of the record
    """Return the request of a row under its id, or under a hash of its content and with the row itself."""
    if row_id:
        return RowRequest(row_id, **fields)
    content = row[LINE] if row.keys() == {LINE} else json.dumps(row, sort_keys=True, default=str)
    return RowRequest(hashlib.blake2b(content.encode(), digest_size=_ID_BYTES).hexdigest(), row=content, **fields)
