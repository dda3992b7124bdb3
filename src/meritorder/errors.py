"""The whole exception tree.

    MeritorderError            anything that this project raises on purpose; exit code 2
    ├── TraceError             a trace that cannot be read, or has nothing in it
    ├── WorkloadsError         a workloads file, a deadline or a lane that makes no sense
    ├── CatalogError           a price, model or hardware that is unknown or nonsense
    ├── PerformanceError       no measured performance for what was asked
    ├── InfeasibleError        no arrangement keeps the promise; says which promise and what would help
    ├── BillError              a bill that cannot be read, or does not add up
    ├── ConfigError            a configuration that cannot be used
    └── MissingExtraError      an optional dependency is needed; says what to install

Every error reads as one line: where, what, what to do.
"""


class MeritorderError(Exception):
    """Something that the user can mend, told in one line.

    Args:
        what: What is wrong, in the user's words.
        where: File, row, column, field or option that it concerns.
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


class TraceError(MeritorderError):
    """A trace cannot be read, or has nothing in it."""


class WorkloadsError(MeritorderError):
    """A workloads file, a deadline or a lane makes no sense."""


class CatalogError(MeritorderError):
    """A price, model or hardware is unknown or nonsense."""


class PerformanceError(MeritorderError):
    """There is no measured performance for what was asked."""


class InfeasibleError(MeritorderError):
    """No arrangement keeps the promise."""


class BillError(MeritorderError):
    """A bill cannot be read, or does not add up."""


class ConfigError(MeritorderError):
    """A configuration cannot be used."""


class MissingExtraError(MeritorderError):
    """An optional dependency is needed."""
