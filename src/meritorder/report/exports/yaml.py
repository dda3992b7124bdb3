"""YAML, as far as manifests need it: blocks of mappings and lists, with strings as JSON writes them where need be."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

# Plain scalars that no version of YAML reads as a number, a date, a truth value or a null.
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_RESERVED: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def documents(parts: Sequence[Mapping[str, Any]], comment: str) -> str:
    """Return documents with a comment at the top."""
    lines = ("".join(filter(str.isprintable, line)) for line in comment.splitlines())
    head = "".join(f"# {line}\n" for line in lines)
    return head + "".join(f"---\n{block(part)}\n" for part in parts)


def block(value: Any, indent: int = 0) -> str:  # noqa: ANN401 - whatever JSON has
    """Return a value as a block."""
    pad = " " * indent
    if isinstance(value, Mapping) and value:
        return "\n".join(f"{pad}{_scalar(key)}:{_after(item, indent + 2)}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "\n".join(f"{pad}- {block(item, indent + 2).lstrip(' ')}" for item in value)
    return pad + _scalar(value)


def _after(value: Any, indent: int) -> str:  # noqa: ANN401
    is_block = isinstance(value, Mapping | list) and value
    return f"\n{block(value, indent)}" if is_block else f" {_scalar(value)}"


def _scalar(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value)
