"""Options that several commands share."""

import typing
from collections import defaultdict

from typer.models import OptionInfo

from meritorder.cli import app


def test_shared_options_are_declared_once() -> None:
    declarations = defaultdict(set)
    for command in app.registered_commands:
        for name, hint in typing.get_type_hints(command.callback, include_extras=True).items():
            for option in getattr(hint, "__metadata__", ()):
                if isinstance(option, OptionInfo):
                    key = option.param_decls or (name,), option.help, str(typing.get_args(hint)[0])
                    declarations[key].add(id(option))
    assert len(declarations) > 50
    assert [key for key, options in declarations.items() if len(options) > 1] == []
