"""Columns as a user names them: `prompt`, `usage.prompt_tokens`, `attributes."gen_ai.usage.input_tokens"`, `a + b`.

A dotted path reaches into the objects of JSON, the structs and maps of Parquet, and JSON text in a column. Keys that
contain dots themselves need no quotes where only one reading exists; a column of exactly the given name comes first.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import polars as pl
from polars._typing import PolarsDataType

from meritorder.inputs.json_records import decoded

_PART: Final = re.compile(r'"([^"]*)"|([^"]+)')
_SPLIT: Final = {sign: re.compile(rf'\{sign}(?=(?:[^"]*"[^"]*")*[^"]*$)') for sign in "+."}

Path = tuple[str, ...]


def parse_sum(text: str, columns: Sequence[str]) -> tuple[Path, ...]:
    """Return the paths of the columns whose sum is meant.

    Args:
        text: One column or path, or several with "+" between them; quotes keep dots and signs as they are.
        columns: Columns that exist; one of exactly this name is meant as it is.
    """
    if text in columns:
        return ((text,),)
    return tuple(_parse_path(term.strip(), columns) for term in _SPLIT["+"].split(text))


def _parse_path(text: str, columns: Sequence[str]) -> Path:
    if text in columns:
        return (text,)
    return tuple(
        _PART.sub(lambda part: part[1] if part[1] is not None else part[2], key.strip())
        for key in _SPLIT["."].split(text)
    )


def value_at(value: Any, path: Path) -> Any:  # noqa: ANN401  (any JSON)
    """Return the value at a path in nested JSON objects, None if there is none; keys may themselves contain dots."""
    inner = value
    for key in path:
        if not isinstance(inner, dict):
            return _value_behind_dots(value, path)
        inner = inner.get(key)
    return _value_behind_dots(value, path) if inner is None and len(path) > 1 else inner


def _value_behind_dots(value: Any, path: Path) -> Any:  # noqa: ANN401  (any JSON)
    if not path:
        return value
    if isinstance(value, str) and value.startswith("{"):
        value = decoded(value.encode())
    if isinstance(value, dict):
        for end in range(len(path), 0, -1):
            key = ".".join(path[:end])
            if key in value:
                return _value_behind_dots(value[key], path[end:])
    return None


def column_at(schema: pl.Schema, path: Path) -> pl.Expr | None:
    """Return the expression of a path in the columns of a table, None if there is no such column."""
    for end in range(len(path), 0, -1):
        name = ".".join(path[:end])
        if name in schema:
            return _inside(pl.col(name), schema[name], path[end:])
    return None


def _inside(value: pl.Expr, dtype: pl.DataType, path: Path) -> pl.Expr | None:
    """Return the expression of a path in a nested value."""
    if not path:
        return value
    if dtype == pl.String and "'" not in "".join(path):
        # Keys with dots are written as paths, too.
        keys = "".join(f"['{key}']" for key in path)
        return pl.coalesce(
            value.str.json_path_match(f"${nested}") for nested in dict.fromkeys((keys, f"['{'.'.join(path)}']"))
        )
    if isinstance(dtype, pl.Struct):
        fields = {field.name: field.dtype for field in dtype.fields}
        for end in range(len(path), 0, -1):
            name = ".".join(path[:end])
            if name in fields:
                return _inside(value.struct.field(name), _instance(fields[name]), path[end:])
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        return _in_map(value, dtype.inner, ".".join(path))
    return None


def _in_map(value: pl.Expr, entry: pl.Struct, key: str) -> pl.Expr | None:
    """Return the value of a key in a map, which Arrow stores as a list of pairs."""
    names = [field.name for field in entry.fields]
    if names not in (["key", "value"], ["keys", "values"]):
        return None
    matching = pl.when(pl.element().struct.field(names[0]) == key).then(pl.element().struct.field(names[1]))
    return value.list.eval(matching.drop_nulls()).list.first()


def _instance(dtype: PolarsDataType) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype
