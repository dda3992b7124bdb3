"""The exception tree.

    MeritorderError            any error that this project raises on purpose; exit code 2
    ├── InputError             a file cannot be opened or its columns not be read; a reader raises it as its own
    ├── TraceError             a trace cannot be read, or is empty
    ├── WorkloadsError         a workloads file, a deadline or a lane is invalid
    ├── CatalogError           a price, model or hardware is unknown or invalid
    ├── PerformanceError       there is no measured performance of a model on hardware
    ├── InfeasibleError        no arrangement keeps the promise; names the promise and a remedy
    ├── BillError              a bill cannot be read, or does not add up
    ├── ConfigError            a configuration is invalid
    └── MissingExtraError      an optional dependency is missing; names the package to install

Every error reads as one line: where, what, and what to do about it; `lines` may show what to add to a file.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from typing import Final

_OF_EXTRA: Final = re.compile(r"([\w-]+).*extra == '(\w+)'")  # as in the metadata of an installed package
_EXTRAS_OF_COMMANDS: Final = frozenset({"study", "gateway", "client", "mcp", "ray"})


class MeritorderError(Exception):
    """An error that the user can correct, as one line.

    Args:
        what: What is wrong, in the user's terms.
        where: File, row, column, field or option.
        fix: What to do about it.
        lines: Lines for a file of the user, if that is what to do; the command line shows them below the error.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None, lines: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        self.lines = lines
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{text}; {self.fix}" if self.fix else text
        # Names that a file gives its columns may have line breaks.
        return " ".join(text.splitlines())


class InputError(MeritorderError):
    """A file cannot be opened, or its columns cannot be read."""


class TraceError(MeritorderError):
    """A trace cannot be read, or is empty."""


class WorkloadsError(MeritorderError):
    """A workloads file, a deadline or a lane is invalid."""


class CatalogError(MeritorderError):
    """A price, model or hardware is unknown or invalid."""


class PerformanceError(MeritorderError):
    """There is no measured performance of a model on hardware."""


class InfeasibleError(MeritorderError):
    """No arrangement keeps the promise."""


class BillError(MeritorderError):
    """A bill cannot be read, or does not add up."""


class ConfigError(MeritorderError):
    """A configuration is invalid."""


class MissingExtraError(MeritorderError):
    """An optional dependency is missing."""


def missing_extra(module: str) -> MissingExtraError | None:
    """Return what to install for a module that is not there, or None if no extra of this package has it."""
    package = module.partition(".")[0]
    declared = filter(None, map(_OF_EXTRA.match, requires("meritorder") or ()))
    extras = {extra for name, extra in (found.groups() for found in declared) if name.replace("-", "_") == package}
    extras &= _EXTRAS_OF_COMMANDS
    if not extras:
        return None
    extra = extras.pop() if len(extras) == 1 else "all"
    return MissingExtraError(f"the package {package} is not installed", fix=f"pip install 'meritorder[{extra}]'")


@contextmanager
def input_errors_as(error: type[MeritorderError]) -> Iterator[None]:
    """Raise an InputError as an error of another class, with the same text."""
    try:
        yield
    except InputError as cause:
        raise error(cause.what, where=cause.where, fix=cause.fix) from cause
