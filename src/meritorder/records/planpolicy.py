"""The policy of a plan: how many machines run at a load that the plan has not seen."""

from collections.abc import Set as AbstractSet
from typing import Self

import msgspec

from meritorder.errors import ConfigError


class PaymentRule(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a policy: it is about the machines of a pool under one payment."""

    pool: str
    payment: str

    @property
    def machines_of(self) -> tuple[str, str]:
        """The pool and the payment."""
        return self.pool, self.payment


class PolicyFloor(PaymentRule, frozen=True, kw_only=True):
    """The fewest machines of a pool under one payment, in each slot of the policy; the slots repeat."""

    machines: list[int]


class ReactiveRule(PaymentRule, frozen=True, kw_only=True):
    """Machines that real-time requests in flight add to the floor, `ceil(in flight / target_in_flight)` replicas.

    The requests are those of the whole pool, and its replicas under other payments count. Scale-down waits until all
    recommendations of `stabilization_s` are lower. `initial` machines are on when the policy starts, unless the floor
    or the minimum is higher.
    """

    target_in_flight: float
    minimum: int
    maximum: int
    stabilization_s: float = 300.0
    initial: int = 0


class BacklogRule(PaymentRule, frozen=True, kw_only=True):
    """Machines that start when deferrable work would otherwise be late, and stop when none of it is left.

    `margin_s` is reserved before each latest start. `tokens_per_s` is what one full replica completes of this work,
    prompt included; 0 if unknown.
    """

    maximum: int
    margin_s: float
    tokens_per_s: float = 0.0


class PaymentRules(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a policy about a pool under one payment; without a rule, no machines run."""

    floor: list[int] = []
    reactive: ReactiveRule | None = None
    backlog: BacklogRule | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it never runs a machine."""
        rule = self.reactive or self.backlog
        return not any(self.floor) and (rule is None or rule.maximum == 0)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A floor of machines by slot, and the rules that add to it. `slot_s` is the length of the floor's slots.

    Without `defer`, deferrable requests are served in real time as they arrive, because waiting saves nothing. With it,
    those of the workloads `at_once` are.
    """

    slot_s: float
    defer: bool = True
    at_once: list[str] = []
    floor: list[PolicyFloor] = []
    reactive: list[ReactiveRule] = []
    backlog: list[BacklogRule] = []

    @property
    def slots(self) -> int:
        """Slots of the floor, after which it repeats; 1 without a floor."""
        return max((len(floor.machines) for floor in self.floor), default=1)

    def rules_of(self, pool: str, payment: str) -> PaymentRules:
        """Return what the policy says about a pool under one payment."""
        name = pool, payment
        return PaymentRules(
            floor=next((floor.machines for floor in self.floor if floor.machines_of == name), []),
            reactive=next((rule for rule in self.reactive if rule.machines_of == name), None),
            backlog=next((rule for rule in self.backlog if rule.machines_of == name), None),
        )

    def check(self, payments: AbstractSet[tuple[str, str]], where: str) -> Self:
        """Return the policy if it is consistent.

        Args:
            payments: The pools and payments of the plan's schedule.
            where: The plan's file, for messages.

        Raises:
            ConfigError: It names a pool or payment that the plan lacks, or contradicts itself.
        """
        for problem in (self._unknown(payments), self._contradiction()):
            if problem:
                raise ConfigError(f"policy: {problem}", where=where, fix="write the plan again with `meritorder plan`")
        return self

    def _unknown(self, payments: AbstractSet[tuple[str, str]]) -> str:
        rules: tuple[PaymentRule, ...] = (*self.floor, *self.reactive, *self.backlog)
        for rule in rules:
            if rule.machines_of not in payments:
                return f"the schedule has no pool {rule.pool!r} with the payment {rule.payment!r}"
        return ""

    def _contradiction(self) -> str:
        floors, reactive, backlog = (
            [rule.machines_of for rule in kind] for kind in (self.floor, self.reactive, self.backlog)
        )
        checks = {
            "slot_s must be positive": self.slot_s > 0,
            f"each floor needs a machine count for each of {self.slots} slots": all(
                len(floor.machines) == self.slots and min(floor.machines, default=-1) >= 0 for floor in self.floor
            ),
            "a reactive rule needs a positive target, and 0 <= minimum <= maximum": all(
                rule.target_in_flight > 0 and 0 <= rule.minimum <= rule.maximum for rule in self.reactive
            ),
            "a backlog rule needs a maximum and a margin of 0 or more": all(
                min(rule.maximum, rule.margin_s, rule.tokens_per_s) >= 0 for rule in self.backlog
            ),
            "a pool has two rules of one kind under one payment": all(
                len(set(names)) == len(names) for names in (floors, reactive, backlog)
            ),
            "a pool has reactive rules under two payments": len({pool for pool, _ in reactive}) == len({*reactive}),
            "a pool has a backlog rule beside a floor or a reactive rule under one payment": not (
                {*backlog} & {*floors, *reactive}
            ),
        }
        return next((problem for problem, holds in checks.items() if not holds), "")
