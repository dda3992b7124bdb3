"""Which deferrable request goes first: the urgent, then the tenant who had least, then the shared prefix.

Fairness counts the tokens that each tenant was served, and serves who has fewest.

Source: the virtual token counter of Y. Sheng et al., Fairness in Serving Large Language Models, OSDI 2024.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A deferrable request that could go now.

    Args:
        latest_start_s: As of `release.latest_release_s`.
        tenant: Whose it is.
        tokens: Input and output, as far as known.
        prefix: What its prompt begins with, as a digest; empty if it shares nothing.
    """

    latest_start_s: float
    tenant: str
    tokens: int
    prefix: str = ""


def arrange(
    candidates: Sequence[Candidate], *, served_tokens: Mapping[str, float], now_s: float, count: int, prefix: str = ""
) -> list[int]:
    """Return the positions of those that go, first to last.

    Args:
        candidates: In any order; ties go to the first.
        served_tokens: What each tenant was served lately; a tenant who is not there begins at the least of the others,
            so that nobody saves up for later by staying away.
        now_s: On the clock of the latest starts.
        count: Most that go.
        prefix: Of the request that went last: its tokens are in the engine's cache.
    """
    counters = dict(served_tokens)
    begin = min(counters.values(), default=0.0)
    queues: dict[str, list[int]] = {}
    for position in sorted(range(len(candidates)), key=lambda at: candidates[at].latest_start_s):
        queues.setdefault(candidates[position].tenant, []).append(position)
    for tenant in queues:
        counters.setdefault(tenant, begin)
    chosen: list[int] = []
    while queues and len(chosen) < count:
        tenant, at = _next(candidates, queues, counters, prefix=prefix, now_s=now_s)
        position = queues[tenant].pop(at)
        if not queues[tenant]:
            del queues[tenant]
        counters[tenant] += candidates[position].tokens
        prefix = candidates[position].prefix
        chosen.append(position)
    return chosen


def _next(
    candidates: Sequence[Candidate],
    queues: Mapping[str, list[int]],
    counters: Mapping[str, float],
    *,
    prefix: str,
    now_s: float,
) -> tuple[str, int]:
    """Return whose turn it is, and the place in that tenant's queue, which is in order of latest starts."""
    urgent = min(queues, key=lambda tenant: candidates[queues[tenant][0]].latest_start_s)
    if candidates[queues[urgent][0]].latest_start_s <= now_s:
        return urgent, 0
    tenant = min(queues, key=lambda each: counters[each])
    if prefix:
        for at, position in enumerate(queues[tenant]):
            if candidates[position].prefix == prefix:
                return tenant, at
    return tenant, 0
