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

Every error reads as one line: where, what, and what to do about it.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class MeritorderError(Exception):
    """An error that the user can correct, as one line.

    Args:
        what: What is wrong, in the user's terms.
        where: File, row, column, field or option.
        fix: What to do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}; {self.fix}" if self.fix else line


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


@contextmanager
def input_errors_as(error: type[MeritorderError]) -> Iterator[None]:
    """Raise an InputError as an error of another class, with the same text."""
    try:
        yield
    except InputError as cause:
        raise error(cause.what, where=cause.where, fix=cause.fix) from cause
