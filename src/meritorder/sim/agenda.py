"""Whose run ends first: a tournament over the replicas, played again along one path when a run is planned.

winners[1] is the replica that acts next; winners[n] is the earlier of winners[2n] and winners[2n + 1];
winners[leaves + r] is r. Of two that end at once the lower index wins.
"""

import numpy as np
from numpy.typing import NDArray

from meritorder.sim.compiled import inlined
from meritorder.sim.state import Ints32, World


def seeding(replicas: int) -> Ints32:
    """Return the tournament of replicas that are all idle, padded to a power of two."""
    leaves = 1 << max(replicas - 1, 0).bit_length()
    winners: NDArray[np.int32] = np.zeros(2 * leaves, np.int32)
    winners[leaves:] = np.arange(leaves)
    for node in range(leaves - 1, 0, -1):
        winners[node] = winners[2 * node]
    return winners


@inlined
def run_ends(world: World, r: int, end_s: float) -> None:
    """Note when the run of a replica ends, infinity if it has none."""
    world.next_s[r] = end_s
    node = (world.next_s.shape[0] + r) >> 1
    while node > 0:
        left, right = world.winners[2 * node], world.winners[2 * node + 1]
        world.winners[node] = left if world.next_s[left] <= world.next_s[right] else right
        node >>= 1
