"""What a source has: the columns and nested paths in its first records."""

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, Self

import msgspec

from meritorder.inputs.unpacking import READ_ERRORS
from meritorder.traces.sources import Record, Source, SourceKind

_RECORDS: Final = 1000
_MEMBERS: Final = 5
_EMPTY: Final = (None, "")
_DEPTH: Final = 12
_LEAF_DEPTH: Final = 6
_DECODE: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The paths in the first records of a source.

    Args:
        source: The source.
        records: Its first records, JSON text in a cell read as JSON.
        paths: Dotted paths of all values in them; a list has the paths of its members.
        texts: Columns of JSON that hold JSON as text.
        objects: Columns that hold objects, also as text.
    """

    source: Source
    records: tuple[Record, ...]
    paths: frozenset[str]
    texts: frozenset[str]
    objects: frozenset[str]

    def has(self, path: str) -> bool:
        """Whether any of the first records has this path."""
        return path.removesuffix("[0]").replace('"', "") in self.paths

    def may_have(self, path: str) -> bool:
        """Whether a later record may have this path: JSON leaves out keys, such as those of an unused cache."""
        first, _, inner = path.partition(".")
        if self.has(path):
            return True
        if self.source.kind is SourceKind.JSONL:
            return not inner or first in self.paths
        return bool(inner) and self.source.kind is SourceKind.CSV and first in self.objects

    def places(self) -> list[str]:
        """Return the prefixes of paths, each with its dot, the outermost first: "", `usage.`, `response.usage.`."""
        prefixes = {name[: place + 1] for name in self.leaves() for place, sign in enumerate(name) if sign == "."}
        return ["", *sorted(prefixes, key=lambda prefix: (prefix.count("."), prefix))]

    def without(self, names: Container[str], *, same: Collection[str]) -> Self | None:
        """Return the shape of the records that have no value under some names, None if all or none have.

        Args:
            names: Columns and paths.
            same: Columns that say what a record is: if these records differ in one from all others, None.
        """
        groups: dict[bool, list[Record]] = {True: [], False: []}
        for record in self.records:
            leaves = _leaves(record, "", 0)
            groups[any(name in names and value not in _EMPTY for name, value in leaves)].append(record)
        missing = [{name: value for name, value in record.items() if value not in _EMPTY} for record in groups[False]]
        if not any(missing) or not groups[True] or any(_differ(missing, groups[True], name) for name in same):
            return None
        present = {name for record in missing for name in record}
        source = replace(self.source, columns=tuple(name for name in self.source.columns if name in present))
        paths = {path for record in missing for path in _paths(record, "", 0)}
        return replace(self, source=source, records=tuple(missing), paths=frozenset(paths))

    def leaves(self) -> dict[str, list[Any]]:
        """Return the values of the columns, and of the members of objects under their dotted paths."""
        rows = [dict(_leaves(record, "", 0)) for record in self.records]
        names = dict.fromkeys((*self.source.columns, *(name for row in rows for name in row)))
        return {name: [row.get(name) for row in rows] for name in names}


def _differ(records: Collection[Record], others: Collection[Record], name: str) -> bool:
    """Whether both have values under a name, and none in common."""
    texts, other_texts = ({str(record[name]) for record in part if record.get(name)} for part in (records, others))
    return bool(texts and other_texts and not texts & other_texts)


def shape_of(source: Source) -> Shape:
    """Return the shape of a source; a source that cannot be read has its columns only."""
    records = _first_records(source)
    texts = {
        name
        for record in records
        for name, value in record.items()
        if source.kind is SourceKind.JSONL and json_in(value)
    }
    decoded = tuple({name: _with_json_in(value, 0) for name, value in record.items()} for record in records)
    paths = {path for record in decoded for path in _paths(record, "", 0)}
    objects = {name for record in decoded for name, value in record.items() if isinstance(value, dict)}
    if source.kind is SourceKind.JSONL:
        source = replace(
            source, columns=tuple(dict.fromkeys((*source.columns, *(name for record in records for name in record))))
        )
    return Shape(
        source=source,
        records=decoded,
        paths=frozenset(paths | set(source.columns)),
        texts=frozenset(texts),
        objects=frozenset(objects),
    )


def _first_records(source: Source) -> list[Record]:
    if source.kind is SourceKind.JSONL:
        return [record for _, record in islice(source.records(), _RECORDS) if record is not None]
    try:
        table = source.table({f"column {place}": name for place, name in enumerate(source.columns)})
        rows = table.drop("line").head(_RECORDS).collect().rows()
    except READ_ERRORS:
        return []
    return [dict(zip(source.columns, row, strict=True)) for row in rows]


def json_in(value: object) -> Any:  # noqa: ANN401  (any JSON)
    """Return the JSON object or list that a text holds, None for anything else."""
    if not isinstance(value, str) or value[:1] not in {"{", "["}:
        return None
    try:
        return _DECODE(value)
    except (msgspec.DecodeError, RecursionError):
        return None


def _with_json_in(value: Any, depth: int) -> Any:  # noqa: ANN401  (any JSON)
    """Return a value with the JSON that texts in it hold."""
    if isinstance(value, dict) and depth < _DEPTH:
        return {name: _with_json_in(member, depth + 1) for name, member in value.items()}
    return json_in(value) or value


def _paths(value: object, prefix: str, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        return
    if isinstance(value, dict):
        for key, member in value.items():
            path = f"{prefix}.{key}" if prefix else str(key)
            if member is not None:
                yield path
                yield from _paths(member, path, depth + 1)
    elif isinstance(value, list):
        for member in value[:_MEMBERS]:
            yield from _paths(member, prefix, depth + 1)


def _leaves(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, member in value.items():
        if not isinstance(member, dict):
            yield f"{prefix}{name}", member
        elif depth < _LEAF_DEPTH:
            yield from _leaves(member, f"{prefix}{name}.", depth + 1)
