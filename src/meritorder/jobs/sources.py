"""Files of rows as a dataset: each part of a file is read by a task of its own, a few rows at a time."""

import csv
import functools
import io
import posixpath
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import ray.data
from pyarrow import fs, ipc, parquet
from pyarrow.lib import ArrowException
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from meritorder.errors import ConfigError

LINE: Final = "meritorder.line"
"""The column of lines, as bytes, so that a line that is not UTF-8 ends nothing."""

FAULT: Final = "meritorder.fault"
"""The column that says why a row of a CSV file is none; null where it is one."""

_PARQUET: Final = ".parquet"
_PROMPTS: Final = ".txt"
_JSON: Final = ".jsonl"
_JSON_LINES: Final = (_JSON, ".ndjson", ".json")
_COMPRESSIONS: Final = (".gz", ".bz2", ".zst")
_BLOCK_ROWS: Final = 1000
_LEAST_PART_BYTES: Final = 2**16
_MOST_PART_BYTES: Final = 32 * 2**20
_BUFFER_BYTES: Final = 2**20

T = TypeVar("T")

csv.field_size_limit(sys.maxsize)


class Part(NamedTuple):
    """A part of a file: bytes of lines, or row groups of Parquet, the last excluded; all of it if it has no end."""

    path: str
    size_bytes: int
    start: int = 0
    end: int | None = None


def read_files(
    paths: Sequence[str], *, tasks: int, readers: int, num_cpus: float, share: float = 1.0, seed: int = 0
) -> tuple[ray.data.Dataset, bool]:
    """Return files and folders as a dataset, and whether its lines are prompts, not JSON.

    Args:
        paths: Paths or URLs.
        tasks: Parts to read them in at least, where their kind and size allow it.
        readers: Parts that are read at once, each by a process of its own.
        num_cpus: CPUs that the read of a part occupies.
        share: Share of the rows to read, drawn at random.
        seed: Seed of that draw.

    Raises:
        ConfigError: A path does not exist or cannot be read, or the files are of several kinds.
    """
    files = [file for path in paths for file in files_of(path)]
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise ConfigError(f"files of several kinds: {', '.join(sorted(kinds))}", where="run", fix="run a job for each")
    kind = kinds.pop()
    sizes_bytes = [filesystem.get_file_info(inside).size for filesystem, inside in map(open_path, files)]
    most_bytes = min(max(sum(sizes_bytes) // tasks, _LEAST_PART_BYTES), _MOST_PART_BYTES)
    parts = [
        part
        for file, size_bytes in zip(files, sizes_bytes, strict=True)
        for part in _split(file, kind, size_bytes, most_bytes)
    ]
    source = _Parts(parts, _READERS[kind], share, seed)
    dataset = ray.data.read_datasource(
        source, override_num_blocks=len(parts), num_cpus=num_cpus, concurrency=min(readers, len(parts))
    )
    return dataset, kind == _PROMPTS


def absolute(path: str) -> str:
    """Return a path as workers find it, which run in other folders."""
    return path if "://" in path else str(Path(path).absolute())


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
    """Return a file as it is, and for a folder all files in it that can hold rows.

    Raises:
        ConfigError: There is no such path, it cannot be read, or it has no rows.
    """
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
        if _kind(path) not in _READERS:
            known = ", ".join((*_READERS, *_JSON_LINES[1:]))
            raise ConfigError("is of an unknown kind", where=path, fix=f"name files that end in {known}")
        return [path]
    # Tools leave notes beside the rows: hidden, in names that begin with `_`, as small .json files, or as .txt.
    names = sorted(
        posixpath.relpath(file.path, inside)
        for file in listed
        if file.is_file and _kind(file.path) in _READERS and not file.path.lower().endswith((_PROMPTS, ".json"))
    )
    names = [name for name in names if not any(folder[0] in "._" for folder in name.split("/"))]
    # `datasets` keeps what it computed from its Arrow files beside them.
    names = [name for name in names if not (name.endswith(".arrow") and posixpath.basename(name).startswith("cache-"))]
    if not names:
        fix = "name a folder of such files"
        raise ConfigError("has no Parquet, Arrow, CSV or JSON lines", where=path, fix=fix)
    return [posixpath.join(path, name) for name in names]


class _Parts(Datasource):  # type: ignore[misc]  # untyped
    """Parts of files of one kind, or a share of their rows."""

    def __init__(
        self, parts: Sequence[Part], read: Callable[[Part], Iterator[pa.Table]], share: float, seed: int
    ) -> None:
        super().__init__()
        self._parts, self._read, self._share, self._seed = parts, read, share, seed

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of the files."""
        return sum(part.size_bytes for part in self._parts)

    def get_read_tasks(self, parallelism: int, *_: object, **__: object) -> list[ReadTask]:  # noqa: ARG002
        """Return a task for each part."""
        return [
            ReadTask(
                functools.partial(_blocks, self._read, part, self._share, (self._seed, number)),
                BlockMetadata(None, part.size_bytes, None, None),
            )
            for number, part in enumerate(self._parts)
        ]


def _blocks(
    read: Callable[[Part], Iterator[pa.Table]], part: Part, share: float, seed: tuple[int, int]
) -> Iterator[pa.Table]:
    """Yield a share of the rows of a part, and name its file where it cannot be read."""
    draw = np.random.default_rng(seed)
    try:
        for block in read(part):
            drawn = block if share >= 1.0 else block.filter(pa.array(draw.random(block.num_rows) < share))
            if drawn.num_rows:
                yield drawn
    except (ArrowException, OSError, EOFError, csv.Error) as error:
        raise OSError(f"{part.path} cannot be read: {error}") from None


def _split(path: str, kind: str, size_bytes: int, most_bytes: int) -> list[Part]:
    """Return the parts of a file: one, if it is small or can only be read from its start."""
    if size_bytes <= most_bytes or kind not in (_PARQUET, _JSON, _PROMPTS) or path.endswith(_COMPRESSIONS):
        return [Part(path, size_bytes)]
    filesystem, inside = open_path(path)
    units = parquet.read_metadata(inside, filesystem=filesystem).num_row_groups if kind == _PARQUET else size_bytes
    count = min(-(-size_bytes // most_bytes), units)
    bounds = [units * number // count for number in range(count + 1)]
    return [Part(path, size_bytes // count, start, end) for start, end in pairwise(bounds)]


def _stream(path: str) -> io.BufferedReader:
    """Open a file, unpacked by its ending, to be read from its start."""
    filesystem, inside = open_path(path)
    return io.BufferedReader(filesystem.open_input_stream(inside, compression="detect"), _BUFFER_BYTES)


def _read_lines(part: Part) -> Iterator[pa.Table]:
    """Read the lines that begin in a part."""
    for lines in _batched(filter(bytes.strip, _lines(part))):
        yield pa.table({LINE: pa.array(lines, pa.binary())})


def _lines(part: Part) -> Iterator[bytes]:
    if part.end is None:
        with _stream(part.path) as stream:
            yield from stream
        return
    filesystem, inside = open_path(part.path)
    with io.BufferedReader(filesystem.open_input_file(inside), _BUFFER_BYTES) as file:
        position = max(part.start - 1, 0)
        file.seek(position)
        if part.start:
            position += len(file.readline())  # the part before reads the line that is cut here
        while position < part.end and (line := file.readline()):
            position += len(line)
            yield line


def _read_csv(part: Part) -> Iterator[pa.Table]:
    """Read a CSV file as text, as it was written: no number loses its zeros."""
    with io.TextIOWrapper(_stream(part.path), "utf-8-sig", errors="backslashreplace", newline="") as text:
        rows = csv.reader(text)
        header = next(rows, [])
        schema = pa.schema([(name, pa.string()) for name in (*dict.fromkeys(header), FAULT)])
        for cells in _batched(filter(None, rows)):
            yield pa.Table.from_pylist([_named(header, row) for row in cells], schema)


def _named(header: Sequence[str], cells: Sequence[str]) -> dict[str, str | None]:
    """Return a row of a CSV file by its columns; an empty cell has no value."""
    values: dict[str, str | None] = {name: cell or None for name, cell in zip(header, cells, strict=False)}
    if len(cells) != len(header):
        values[FAULT] = f"has {len(cells)} cells, but the file has {len(header)} columns"
    return values


def _read_arrow(part: Part) -> Iterator[pa.Table]:
    """Read Arrow's stream format, in which `datasets` writes, or its file format."""
    filesystem, inside = open_path(part.path)
    with filesystem.open_input_file(inside) as file:
        try:
            batches: Iterator[pa.RecordBatch] = iter(ipc.open_stream(file))
        except pa.ArrowInvalid:
            batches = map((reader := ipc.open_file(file)).get_batch, range(reader.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, _BLOCK_ROWS):
                yield pa.Table.from_batches([batch.slice(start, _BLOCK_ROWS)]).replace_schema_metadata()


def _read_parquet(part: Part) -> Iterator[pa.Table]:
    filesystem, inside = open_path(part.path)
    with parquet.ParquetFile(inside, filesystem=filesystem, pre_buffer=True) as file:
        groups = range(part.start, file.num_row_groups if part.end is None else part.end)
        for batch in file.iter_batches(_BLOCK_ROWS, row_groups=list(groups)):
            yield pa.Table.from_batches([batch]).replace_schema_metadata()


def _batched(items: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(islice(items, _BLOCK_ROWS)):
        yield batch


def _kind(path: str) -> str:
    """Return the ending of a file without its compression; that of JSON lines for all of theirs."""
    name = posixpath.basename(path).lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    suffix = posixpath.splitext(name)[1]
    return _JSON if suffix in _JSON_LINES else suffix


_READERS: Final[dict[str, Callable[[Part], Iterator[pa.Table]]]] = {
    _PARQUET: _read_parquet,
    ".arrow": _read_arrow,
    ".csv": _read_csv,
    _JSON: _read_lines,
    _PROMPTS: _read_lines,
}
