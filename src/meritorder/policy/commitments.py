"""How many machines to commit to, from the hours in which they are used; shared by plans and audits."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def break_even_use(committed_usd_per_hour: float, on_demand_usd_per_hour: float) -> float:
    """Return the share of hours in which a machine must be used for a commitment to it to pay off."""
    return committed_usd_per_hour / on_demand_usd_per_hour


def machines_to_commit(use: Floats, committed_usd_per_hour: float, on_demand_usd_per_hour: float) -> int:
    """Return how many machines to commit to: level k if P(use >= k) > committed / on-demand price.

    The k-th machine saves the on-demand price in the hours in which k are used, and costs the committed price in all.

    Args:
        use: Machines used in each hour, over all scenarios, shape (hours,).
        committed_usd_per_hour: Price in every hour of the term.
        on_demand_usd_per_hour: Price of an hour that is used.

    Source: the newsvendor's critical ratio; Arrow, Harris and Marschak, "Optimal inventory policy", Econometrica 19,
    1951.
    """
    levels_below = range(math.ceil(float(np.max(use, initial=0.0))))
    # A machine used for a part of an hour saves that part of it.
    used_share = np.array([float(np.mean(np.clip(use - below, 0.0, 1.0))) for below in levels_below])
    return int(np.count_nonzero(used_share > break_even_use(committed_usd_per_hour, on_demand_usd_per_hour)))


def cost_with_commitment(
    use: Floats, machines: float, committed_usd_per_hour: float, on_demand_usd_per_hour: float
) -> float:
    """Return what hours of use cost with machines committed: those in every hour, the rest on demand.

    cost = sum_hours (committed * K + on demand * max(use - K, 0))

    Args:
        use: Machines used in each hour, shape (hours,).
        machines: Machines committed, K; under a savings plan not necessarily whole.
        committed_usd_per_hour: Price in every hour of the term.
        on_demand_usd_per_hour: Price of an hour that is used.
    """
    beyond = np.maximum(use - machines, 0.0)
    return float(len(use) * machines * committed_usd_per_hour + beyond.sum() * on_demand_usd_per_hour)
