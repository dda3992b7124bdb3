"""Turns of queued work: what is dispatched next, and how much of it, fairly between tenants."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.policy.escalation import EscalationLevel
from meritorder.policy.order import DispatchCandidate, dispatch_order

_MAX_SERVED_TOKENS: Final = 1e7


@dataclass(frozen=True, slots=True)
class Urgency:
    """How far work has escalated.

    Args:
        level: The capacity that it may use now.
        latest_backfill_s: Until when it may wait for backfill.
        plan_wait_s: Until when it may wait for its slot of the plan.
    """

    level: EscalationLevel
    latest_backfill_s: float
    plan_wait_s: float


class Turns:
    """Orders work by urgency, and by how little its tenants were served."""

    def __init__(self) -> None:
        self.served_tokens: dict[str, float] = {}

    def order(
        self, works: list[QueuedRequests], urgency: dict[QueuedRequests, Urgency], capacity: int, now_s: float
    ) -> list[tuple[QueuedRequests, int]]:
        """Return the work to dispatch in order, and how many requests of each."""
        candidates = [
            DispatchCandidate(
                latest_start_s=urgency[work].latest_backfill_s,
                tenant=work.tenant,
                tokens=max(1, work.tokens // max(1, work.count)),
                prefix=f"{work.batch_seq or work.seq}",
                count=work.count,
            )
            for work in works
        ]
        order = dispatch_order(candidates, served_tokens=self.served_tokens, now_s=now_s, count=capacity)
        return [(works[position], count) for position, count in Counter(order).items()]

    def add_served(self, tenant: str, tokens: int) -> None:
        """Add to the tokens served to a tenant; halve all counts now and then, so that the past fades."""
        if self.served_tokens.get(tenant, 0.0) > _MAX_SERVED_TOKENS:
            self.served_tokens = {name: served / 2 for name, served in self.served_tokens.items()}
        self.served_tokens[tenant] = self.served_tokens.get(tenant, 0.0) + tokens
