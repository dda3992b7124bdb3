"""Write the reference pages that follow from the program: its commands, the gateway's configuration and its API.

    python tools/write_reference.py docs/reference

A test compares the committed pages with fresh ones.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import msgspec
import typer.main

from meritorder.cli import app
from meritorder.gateway import config
from meritorder.gateway.routes.openapi.document import document

_WIDTH: Final = 100
_ABOUT_CONFIGURATION: Final = """\
Written from the schema by `make docs`. One TOML file, `meritorder serve --config gateway.toml`, is checked as a whole
at the start; an unknown field is an error. Durations are written as `90s`, `30m`, `4h` or `2d`. A secret is never in
the file: a field that ends in `_env` names an environment variable, one that ends in `_file` a file that holds it.
"""


def commands() -> str:
    """Return the page of all commands: each with its help text as the program prints it."""
    group: Any = typer.main.get_command(app)  # typer keeps a click of its own
    top = group.context_class(group, info_name="meritorder", terminal_width=_WIDTH, max_content_width=_WIDTH)
    parts = ["# Commands\n", "Written from the program by `make docs`: `meritorder COMMAND --help` prints the same.\n"]
    for name, command in group.commands.items():
        context = command.context_class(command, info_name=name, parent=top)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def configuration() -> str:
    """Return the page of the gateway's configuration: a table for each part of the TOML file."""
    parts = [
        "# Gateway configuration\n",
        _ABOUT_CONFIGURATION,
        *_tables(config.Settings, ""),
    ]
    return "\n".join(parts)


def openapi() -> str:
    """Return the gateway's API as an OpenAPI document."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=1).decode() + "\n"


def _tables(struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    """Yield the section of a table, then those of the tables inside it."""
    own, inner = [], []
    for field in msgspec.structs.fields(struct):
        nested = _struct_of(field.type)
        if nested is None:
            own.append(field)
        else:
            inner.append((field, nested))
    array = path.endswith("[]")
    name = path.removesuffix("[]")
    heading = f"## `[[{name}]]`" if array else f"## `[{name}]`" if path else "## Top level"
    yield f"{heading}\n\n{inspect.getdoc(struct) or ''}\n"
    if own:
        rows = [f"| `{field.encode_name}` | {_default(field)} | {_description(field.type)} |" for field in own]
        yield "\n".join(["| field | default | meaning |", "|---|---|---|", *rows]) + "\n"
    for field, nested in inner:
        below = f"{name}.{field.encode_name}" if path else field.encode_name
        yield from _tables(nested, below + ("[]" if _is_array(field.type) else ""))


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct that a field holds, alone, optionally or in a list; None if it holds plain values."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in get_args(kind) if (found := _struct_of(part))), None)


def _is_array(kind: Any) -> bool:
    return get_origin(kind) in {list, tuple}


def _description(kind: Any) -> str:
    for part in (kind, *get_args(kind)):
        for note in getattr(part, "__metadata__", ()):
            if isinstance(note, msgspec.Meta) and note.description:
                return note.description.replace("|", "\\|")
    return ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if value is None or value == "" or (not value and isinstance(value, list | dict | tuple)):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{', '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


PAGES: Final = {"commands.md": commands, "configuration.md": configuration, "openapi.json": openapi}


def main() -> None:
    """Write every page into the folder that is named on the command line."""
    for name, page in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
