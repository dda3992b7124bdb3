"""The bill of an hour of use under several savings plans, by the provider's documented rules.

The linear program applies savings plans optimally (`constraints.define_savings_plans`). Its cost equals this bill with
one plan, and is never higher with several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meritorder.planner.model.supply import SavingsPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class HourBill:
    """The bill of an hour.

    Args:
        committed_usd: The plans' dollars, used or not.
        on_demand_usd: Use that no plan covered.
        unused_usd: Dollars committed to that nothing used.
        covered_hours: Machine-hours covered, by plan and machine.
    """

    committed_usd: float
    on_demand_usd: float
    unused_usd: float
    covered_hours: Mapping[tuple[str, str], float]

    @property
    def total_usd(self) -> float:
        """Cost of the hour."""
        return self.committed_usd + self.on_demand_usd


def bill_hour(
    use_hours: Mapping[str, float],
    on_demand_usd: Mapping[str, float],
    plans: Sequence[tuple[SavingsPlan, float]],
    reserved: Mapping[str, float] | None = None,
) -> HourBill:
    """Charge an hour of use.

    Reserved machines cover first. Then each plan in turn, narrower scopes before wider ones, covers the use with the
    highest saving in per cent; between equal savings the lowest rate; until its dollars for the hour are spent. What is
    left is charged on demand.

    Args:
        use_hours: Machine-hours used, by machine.
        on_demand_usd: Price on demand, by machine.
        plans: Plans with their dollars an hour.
        reserved: Reserved machines, by machine.

    Source: AWS, Savings Plans user guide, "How Savings Plans apply to your AWS usage" (Reserved Instances first,
    then EC2 Instance Savings Plans, then Compute Savings Plans; highest savings percentage first,
    ties by lowest rate), 2025.
    """
    left = {machine: max(0.0, hours - (reserved or {}).get(machine, 0.0)) for machine, hours in use_hours.items()}
    covered: dict[tuple[str, str], float] = {}
    unused_usd = 0.0
    for plan, dollars in sorted(plans, key=lambda scope: len(scope[0].usd_per_hour)):
        budget_usd = dollars
        rates = plan.usd_per_hour
        for machine in sorted(
            rates.keys() & left.keys(), key=lambda m: (-(1 - rates[m] / on_demand_usd[m]), rates[m], m)
        ):
            hours = min(left[machine], budget_usd / rates[machine])
            left[machine] -= hours
            budget_usd -= hours * rates[machine]
            covered[plan.name, machine] = hours
        unused_usd += max(0.0, budget_usd)
    return HourBill(
        committed_usd=sum(dollars for _, dollars in plans),
        on_demand_usd=sum(hours * on_demand_usd[machine] for machine, hours in left.items()),
        unused_usd=unused_usd,
        covered_hours=covered,
    )
