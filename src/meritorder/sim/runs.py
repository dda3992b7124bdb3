"""Runs: what a replica does without a decision, when each ends, and which of them ends first.

A run is one step with prompt chunks in it, or a stretch of decode steps. A stretch has a closed form because a step is
linear in context (perf/profile.py):

    time of k steps = k (base + slope kv) + slope b k (k - 1) / 2        b sequences, kv context tokens at the start

The next run to end is found by a tournament over the replicas, played again along one path when a run is planned:
winners[1] is the replica whose run ends first; winners[n] is the earlier of winners[2n] and winners[2n + 1];
winners[leaves + r] is r. Of two that end at the same time the lower index wins.
"""

import math

import numpy as np
from numpy.typing import NDArray

from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.state import Floats, Ints32, KernelState


def idle_tournament(replicas: int) -> Ints32:
    """Return the tournament of replicas that are all idle, padded to a power of two."""
    leaves = 1 << max(replicas - 1, 0).bit_length()
    winners: NDArray[np.int32] = np.zeros(2 * leaves, np.int32)
    winners[leaves:] = np.arange(leaves)
    for node in range(leaves - 1, 0, -1):
        winners[node] = winners[2 * node]
    return winners


@inlined
def set_run_end(kernel: KernelState, r: int, end_s: float) -> None:
    """Set when the run of a replica ends: infinity if it has none."""
    kernel.run_end_s[r] = end_s
    node = (kernel.run_end_s.shape[0] + r) >> 1
    while node > 0:
        left, right = kernel.winners[2 * node], kernel.winners[2 * node + 1]
        kernel.winners[node] = left if kernel.run_end_s[left] <= kernel.run_end_s[right] else right
        node >>= 1


@inlined
def steps_until(base_s: float, slope_s: float, batch: int, kv_tokens: int, gap_s: float) -> int:
    """Return the fewest decode steps, at least 1, that take at least `gap_s`."""
    first_s = base_s + slope_s * kv_tokens
    growth_s = slope_s * batch
    half_s = first_s - growth_s / 2
    steps = 2 * gap_s / (half_s + math.sqrt(half_s * half_s + 2 * growth_s * gap_s))
    count = max(1, int(math.ceil(steps)) - 1)
    while count * first_s + growth_s * count * (count - 1) / 2 < gap_s:
        count += 1
    return count


@inlined
def decode_for(kernel: KernelState, r: int, steps: int) -> None:
    """Make the run under way a stretch of this many decode steps."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    batch = rep.decoding
    slope_s = pool.decode_per_kv_s[batch]
    first_s = pool.decode_base_s[batch] + slope_s * rep.kv_tokens
    rep.run_steps = steps
    rep.run_batch = batch
    taken_s = steps * first_s + slope_s * batch * steps * (steps - 1) / 2
    set_run_end(kernel, r, rep.run_start_s + taken_s)


@inlined
def shorten(kernel: KernelState, r: int, now: float) -> None:
    """End a stretch of decode steps with the first step that ends now or later."""
    rep = kernel.replicas[r]
    if rep.run_prompt > 0 or rep.run_steps <= 1:
        return
    p = rep.pool
    batch = rep.decoding
    steps = steps_until(
        kernel.pools[p].decode_base_s[batch],
        kernel.pools[p].decode_per_kv_s[batch],
        batch,
        rep.kv_tokens,
        now - rep.run_start_s,
    )
    if steps < rep.run_steps:
        decode_for(kernel, r, steps)


@inlined
def reschedule(kernel: KernelState, r: int, now: float) -> None:
    """Have a replica decide again: now if it is idle, else after the step under way."""
    rep = kernel.replicas[r]
    if kernel.run_end_s[r] == np.inf:
        rep.run_start_s = now
        rep.run_steps = 0
        rep.run_batch = 0
        rep.run_prompt = 0
        set_run_end(kernel, r, now)
    else:
        shorten(kernel, r, now)


@compiled
def retry_blocked(kernel: KernelState, acting: int, now: float) -> None:
    """Have the replicas that had no memory for the first request of the backlog try the next one.

    Replicas with a lower index than the acting one have decided at this moment already, so they try at the end of a
    step after it.
    """
    if kernel.fleet[0].blocked > 0:
        for r in range(kernel.replicas.shape[0]):
            if kernel.replicas[r].blocked:
                shorten(kernel, r, np.nextafter(now, np.inf) if r < acting else now)


@inlined
def add_to_bins(bins: Floats, bin_s: float, start_s: float, end_s: float, weight: float) -> None:
    """Add the time from start to end, times a weight, to time bins; the first and last take what is beyond them."""
    last = bins.shape[0] - 1
    index = max(0, min(int(start_s / bin_s), last))
    while True:
        edge_s = (index + 1) * bin_s
        if end_s <= edge_s or index == last:
            bins[index] += (end_s - start_s) * weight
            return
        bins[index] += (edge_s - start_s) * weight
        start_s = edge_s
        index += 1
