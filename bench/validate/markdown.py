"""Tables and shares of the page."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def share(value: float) -> str:
    """Return a share in percent."""
    return f"{value:.1%}".replace("%", " %") if abs(value) < 10 else "> 1000 %"
