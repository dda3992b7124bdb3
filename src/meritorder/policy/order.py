"""Which deferrable request goes first: the urgent, then the tenant served least, then the prefix in the cache.

Fairness counts the tokens served to each tenant and picks the tenant with the fewest.

Source: the virtual token counter of Y. Sheng et al., Fairness in Serving Large Language Models, OSDI 2024.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchCandidate:
    """Deferrable requests that could be dispatched now, all alike.

    Args:
        latest_start_s: As of `escalation.latest_backfill_s`.
        tenant: Their tenant.
        tokens: Input and output of each, as far as known.
        prefix: Digest of the start of their prompts; empty if they share none.
        count: Number of requests.
    """

    latest_start_s: float
    tenant: str
    tokens: int
    prefix: str = ""
    count: int = 1


class _Queue:
    """The candidates of a tenant, by latest start."""

    def __init__(self) -> None:
        self.positions: deque[int] = deque()
        self.by_prefix: defaultdict[str, deque[int]] = defaultdict(deque)

    def next(self, remaining: Sequence[int], prefix: str) -> int | None:
        """Return the next candidate, of the same prefix if there is one; None if none has requests left."""
        for positions in (self.by_prefix[prefix], self.positions) if prefix else (self.positions,):
            while positions and not remaining[positions[0]]:
                positions.popleft()
            if positions:
                return positions[0]
        return None


def dispatch_order(
    candidates: Sequence[DispatchCandidate],
    *,
    served_tokens: Mapping[str, float],
    now_s: float,
    count: int,
    prefix: str = "",
) -> list[int]:
    """Return the position of the candidate of each request to dispatch, first to last.

    Args:
        candidates: In any order; ties go to the first.
        served_tokens: Tokens served to each tenant recently. A tenant without an entry starts at the least of the
            others, so that an idle tenant accumulates no claim.
        now_s: On the clock of the latest starts.
        count: Most requests to dispatch.
        prefix: Of the request dispatched last: its tokens are in the engine's cache.
    """
    least = min(served_tokens.values(), default=0.0)
    counters = defaultdict(lambda: least, served_tokens)
    remaining = [candidate.count for candidate in candidates]
    queues: defaultdict[str, _Queue] = defaultdict(_Queue)
    chosen: list[int] = []
    for position in sorted(range(len(candidates)), key=lambda index: candidates[index].latest_start_s):
        candidate = candidates[position]
        if candidate.latest_start_s <= now_s:  # urgent
            urgent = min(candidate.count, count - len(chosen))
            remaining[position] -= urgent
            counters[candidate.tenant] += urgent * candidate.tokens
            chosen += [position] * urgent
            prefix = candidate.prefix if urgent else prefix
        queues[candidate.tenant].positions.append(position)
        queues[candidate.tenant].by_prefix[candidate.prefix].append(position)
    tenants = [(counters[tenant], order, tenant) for order, tenant in enumerate(queues)]
    heapq.heapify(tenants)
    while tenants and len(chosen) < count:
        _, order, tenant = tenants[0]
        following = queues[tenant].next(remaining, prefix)
        if following is None:
            heapq.heappop(tenants)
            continue
        remaining[following] -= 1
        counters[tenant] += candidates[following].tokens
        heapq.heapreplace(tenants, (counters[tenant], order, tenant))
        prefix = candidates[following].prefix
        chosen.append(following)
    return chosen
