"""Which deferrable request goes first: the urgent, then the tenant served least, then the prefix in the cache.

Fairness counts the tokens served to each tenant and picks the tenant with the fewest.

Source: the virtual token counter of Y. Sheng et al., Fairness in Serving Large Language Models, OSDI 2024.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchCandidate:
    """A deferrable request that could be dispatched now.

    Args:
        latest_start_s: As of `escalation.latest_backfill_s`.
        tenant: Its tenant.
        tokens: Input and output, as far as known.
        prefix: Digest of the start of its prompt; empty if it shares none.
    """

    latest_start_s: float
    tenant: str
    tokens: int
    prefix: str = ""


def dispatch_order(
    candidates: Sequence[DispatchCandidate],
    *,
    served_tokens: Mapping[str, float],
    now_s: float,
    count: int,
    prefix: str = "",
) -> list[int]:
    """Return the positions of the candidates to dispatch, first to last.

    Args:
        candidates: In any order; ties go to the first.
        served_tokens: Tokens served to each tenant recently. A tenant without an entry starts at the least of the
            others, so that an idle tenant accumulates no claim.
        now_s: On the clock of the latest starts.
        count: Most candidates to dispatch.
        prefix: Of the request dispatched last: its tokens are in the engine's cache.
    """
    counters = dict(served_tokens)
    least = min(counters.values(), default=0.0)
    queues: dict[str, list[int]] = {}
    for position in sorted(range(len(candidates)), key=lambda index: candidates[index].latest_start_s):
        queues.setdefault(candidates[position].tenant, []).append(position)
    for tenant in queues:
        counters.setdefault(tenant, least)
    chosen: list[int] = []
    while queues and len(chosen) < count:
        tenant, index = _next(candidates, queues, counters, prefix=prefix, now_s=now_s)
        position = queues[tenant].pop(index)
        if not queues[tenant]:
            del queues[tenant]
        counters[tenant] += candidates[position].tokens
        prefix = candidates[position].prefix
        chosen.append(position)
    return chosen


def _next(
    candidates: Sequence[DispatchCandidate],
    queues: Mapping[str, list[int]],
    counters: Mapping[str, float],
    *,
    prefix: str,
    now_s: float,
) -> tuple[str, int]:
    """Return the tenant to serve next, and an index into its queue, which is sorted by latest start."""
    urgent = min(queues, key=lambda tenant: candidates[queues[tenant][0]].latest_start_s)
    if candidates[queues[urgent][0]].latest_start_s <= now_s:
        return urgent, 0
    tenant = min(queues, key=lambda name: counters[name])
    if prefix:
        for index, position in enumerate(queues[tenant]):
            if candidates[position].prefix == prefix:
                return tenant, index
    return tenant, 0
