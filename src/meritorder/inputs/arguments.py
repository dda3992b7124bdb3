"""Arguments of the Python API: one value where several are declared, paths as text, and ranges of numbers."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from meritorder.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Range(NamedTuple):
    """The values that a number may have, from `least` to `most`; `above` excludes `least` itself."""

    least: float
    most: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether the value is a number within the range."""
        return (value > self.least if self.above else value >= self.least) and value <= self.most and value < math.inf

    def __str__(self) -> str:
        start = f"more than {self.least:g}" if self.above else f"at least {self.least:g}"
        return start if self.most == math.inf else f"{start}, at most {self.most:g}"


POSITIVE = Range(0.0, above=True)
NOT_NEGATIVE = Range(0.0)
COUNT = Range(1)


def convert_arguments(options: "DataclassInstance") -> None:
    """Convert fields of a frozen dataclass to their declared types.

    Where several values are declared, a text or path becomes the only one, and other iterables become tuples; where a
    path is declared, a text becomes a path.
    """
    for field in dataclasses.fields(options):
        value, declared = getattr(options, field.name), _members(field.type)
        is_several = any(getattr(member, "__origin__", None) is tuple for member in declared)
        if is_several and value is not None and not isinstance(value, tuple):
            is_one = isinstance(value, str | Path) or not isinstance(value, Iterable)
            value = (value,) if is_one else tuple(value)
        if is_several and value and Path in _element_types(declared):
            value = tuple(Path(item) if isinstance(item, str) else item for item in value)
        if Path in declared and isinstance(value, str):
            value = Path(value)
        object.__setattr__(options, field.name, value)


def check_ranges(options: "DataclassInstance", ranges: Mapping[str, Range]) -> None:
    """Check the numbers of a dataclass; None is allowed.

    Raises:
        ConfigError: A number is out of its range.
    """
    for name, allowed in ranges.items():
        value = getattr(options, name)
        if value is not None and not allowed.holds(value):
            raise ConfigError(f"{value!r} is out of range", where=name, fix=f"give {allowed}")


def _members(declared: object) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    is_union = not hasattr(declared, "__origin__") and get_args(declared)
    return get_args(declared) if is_union else (declared,)


def _element_types(declared: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(inner for member in declared for element in get_args(member) for inner in _members(element))
