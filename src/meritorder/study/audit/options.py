"""What to audit, and what is known beside the bill."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to audit, and what is known beside the bill.

    Args:
        bill: The bill's files, as the user named them; commands that findings recommend repeat them.
        trace: The trace's files, as the user named them.
        serving: Machines that served the trace, as (column, glob) or ("tag:KEY", glob); empty takes all in real time.
        metrics: Utilisation metrics.
        model: Model that the machines serve, "" if that is not said.
        by: Columns or tags (`tag:team`) to break the dollars down by.
        catalogs: Files that add prices or override them.
    """

    bill: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()
    serving: tuple[tuple[str, str], ...] = ()
    metrics: Path | None = None
    model: str = ""
    by: tuple[str, ...] = ()
    catalogs: tuple[Path, ...] = ()
