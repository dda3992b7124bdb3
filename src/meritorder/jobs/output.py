"""The output of a job: Parquet files, each written whole, and which rows they answer."""

import hashlib
import posixpath
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import fs, parquet
from pyarrow.lib import ArrowException

from meritorder.errors import ConfigError
from meritorder.jobs.sources import open_path
from meritorder.jobs.spending import Tokens

SCHEMA: Final = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "error": pa.string(),
        "status": pa.int32(),
        "input_tokens": pa.int64(),
        "output_tokens": pa.int64(),
        "attempts": pa.int32(),
        "answer": pa.string(),
        "row": pa.string(),
    }
)
"""Columns of the answers: `text` of the first choice, the whole `answer` as JSON, and the `row` where it has no id."""

_SUFFIX: Final = ".parquet"
_HASH_BYTES: Final = 8
_TOKENS: Final = ("input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Stored:
    """The answers of a folder, one of each id.

    Args:
        hashes: Hashes of their ids, sorted.
        newest: Name of the newest file.
        repeated: Answers that were removed, since their ids had others.
        repeated_tokens: Tokens of these.
    """

    hashes: NDArray[np.uint64]
    newest: str = ""
    repeated: int = 0
    repeated_tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the answers of a folder.

    Args:
        rows: Answers.
        failed: Answers among them that have an error.
        attempts: Attempts at them.
        tokens: Their tokens.
    """

    rows: int
    failed: int
    attempts: int
    tokens: Tokens


class OutputFolder:
    """The folder of a job's answers, on a disk or in an object store.

    Args:
        path: Its path or URL.

    Raises:
        ConfigError: It cannot be created.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._filesystem, self._inside = open_path(path)
        try:
            self._filesystem.create_dir(self._inside)
        except OSError as error:
            raise ConfigError(str(error), where=path, fix="name a folder that can be written") from None

    def write(self, answers: Sequence[dict[str, Any]]) -> None:
        """Write answers as a file of their own; a reader sees it whole, or not at all."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
        self._replace(name, pa.Table.from_pylist(list(answers), schema=SCHEMA))

    def remove_repeated(self) -> Stored:
        """Keep the first answer of each id; return what the folder has then, and what was removed.

        An id has several answers where two rows have it, where a task of Ray ran twice, or where a run was killed
        between an answer and its report.
        """
        names = self._names()
        by_file = [self._hashes(name) for name in names]
        hashes = _joined(by_file)
        stored, first = np.unique(hashes, return_index=True)
        removed_tokens = Tokens()
        if stored.size < hashes.size:
            is_first = np.zeros(hashes.size, dtype=bool)
            is_first[first] = True
            ends = np.cumsum([part.size for part in by_file])
            for name, keep in zip(names, np.split(is_first, ends[:-1]), strict=True):
                if not keep.all():
                    table = self._read(name)
                    removed_tokens += _sum_tokens(table.filter(pa.array(~keep)))
                    self._replace(name, table.filter(pa.array(keep)))
        newest = names[-1] if names else ""
        return Stored(stored, newest, hashes.size - stored.size, removed_tokens)

    def hashes(self, after: str) -> NDArray[np.uint64]:
        """Return the hashes of all ids in files that are newer than a file."""
        return _joined([self._hashes(name) for name in self._names() if name > after])

    def totals(self) -> Totals:
        """Return sums over all answers."""
        rows = failed = attempts = 0
        tokens = Tokens()
        for name in self._names():
            table = self._read(name, columns=["error", "attempts", *_TOKENS])
            rows += table.num_rows
            failed += table.num_rows - table.column("error").null_count
            attempts += pc.sum(table.column("attempts")).as_py() or 0
            tokens += _sum_tokens(table)
        return Totals(rows, failed, attempts, tokens)

    def newer_tokens(self, after: str) -> NDArray[np.int64]:
        """Return the tokens of each answer without an error in files that are newer than a file, shape (answers, 2)."""
        tables = [self._read(name, columns=["error", *_TOKENS]) for name in self._names() if name > after]
        good = [table.filter(table.column("error").is_null()) for table in tables]
        return np.concatenate(
            [np.empty((0, len(_TOKENS)), np.int64)]
            + [np.column_stack([table.column(name).to_numpy() for name in _TOKENS]) for table in good]
        )

    def _hashes(self, name: str) -> NDArray[np.uint64]:
        return hash_ids(self._read(name, columns=["id"]).column("id").to_pylist())

    def _names(self) -> list[str]:
        """Return the names of the files of answers, the oldest first."""
        listed = self._filesystem.get_file_info(fs.FileSelector(self._inside))
        return sorted(file.base_name for file in listed if file.extension == _SUFFIX[1:] and file.base_name[0] != ".")

    def _read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Return a file of answers; a file of anything else in the folder is refused before one is changed."""
        path = posixpath.join(self._inside, name)
        try:
            is_ours = parquet.read_schema(path, filesystem=self._filesystem).equals(SCHEMA)
            if is_ours:
                return parquet.read_table(path, filesystem=self._filesystem, columns=columns)
            fault = "its columns are others"
        except (ArrowException, OSError) as error:
            fault = str(error)
        fix = "give the answers a folder of their own with --out"
        raise ConfigError(f"is no file of answers: {fault}", where=posixpath.join(self.path, name), fix=fix)

    def _replace(self, name: str, table: pa.Table) -> None:
        path = posixpath.join(self._inside, name)
        is_local = isinstance(self._filesystem, fs.LocalFileSystem)
        # An object store shows an object only once it is whole.
        target = posixpath.join(self._inside, f".{name}.part") if is_local else path
        parquet.write_table(table, target, filesystem=self._filesystem, compression="zstd")
        if is_local:
            self._filesystem.move(target, path)


def hash_ids(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return 64-bit hashes of ids, the same in every process."""
    digests = b"".join(hashlib.blake2b(value.encode(), digest_size=_HASH_BYTES).digest() for value in ids)
    return np.frombuffer(digests, dtype=np.uint64)


def _joined(hashes: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate([np.empty(0, np.uint64), *hashes])


def _sum_tokens(answers: pa.Table) -> Tokens:
    return Tokens(*(pc.sum(answers.column(name)).as_py() or 0 for name in _TOKENS))
