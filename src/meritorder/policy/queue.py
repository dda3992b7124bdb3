"""What goes first among work that waits."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Work that waits for one model: a batch, or a request.

    Args:
        tenant: Whose.
        deadline_s: When all of it must be done.
        tokens: Tokens still to be made.
        running: Requests that the tenant has running now.
    """

    tenant: str
    deadline_s: float
    tokens: float
    running: int


def latest_starts_s(work: Sequence[Queued], *, drain_tokens_per_s: float, margin_s: float) -> list[float]:
    """Return when each must be begun at the latest, if the most urgent goes first.

        latest start_i = deadline_i - (tokens of all that is due by then) / drain rate - margin

    Args:
        work: All that waits for one model.
        drain_tokens_per_s: Tokens a second that the capacity makes, as measured; 0 while nothing is known.
        margin_s: To be on the safe side.
    """
    by_deadline = sorted(range(len(work)), key=lambda i: work[i].deadline_s)
    latest = [0.0] * len(work)
    due_tokens = 0.0
    for i in by_deadline:
        due_tokens += work[i].tokens
        needed_s = due_tokens / drain_tokens_per_s if drain_tokens_per_s > 0 else 0.0
        latest[i] = work[i].deadline_s - needed_s - margin_s
    return latest


def order(work: Sequence[Queued], latest_start_s: Sequence[float], *, now_s: float) -> list[int]:
    """Return the work in the order in which it gets seats.

    What is at its latest start goes first, by that time. Of the rest the tenant with the fewest requests running goes
    first, then the earlier latest start: who brings a million requests does not make others wait behind them.
    """

    def place(i: int) -> tuple[bool, float, float]:
        if latest_start_s[i] <= now_s:
            return (False, latest_start_s[i], 0.0)
        return (True, work[i].running, latest_start_s[i])

    return sorted(range(len(work)), key=place)
