"""How much of the room for deferrable work beside real-time work is used in each slot, and how full that leaves it."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.plan.bursts import AIM, strictest, worst_slots
from meritorder.study.plan.capacity import filled_with
from meritorder.study.plan.check import ModelRun
from meritorder.study.plan.supply import Serving

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Factors on the seats of a slot where the SLO breaks beside deferrable work.
_STEP: Final = 0.9
_LEAST_STEP: Final = 0.5
_POWER: Final = 0.25
# A step is so much longer for each step that was taken before in vain.
_PERSISTENT: Final = 0.5
_LEAST: Final = 0.01
# Of the requests that may break the SLO, the share that is left to deferrable work where real time alone takes all.
_SPARED: Final = 0.1
# Replicas are tried with these shares of their seats: so many for each halving.
_TRIED_A_HALVING: Final = 2


class Filling:
    """How full replicas are with a share of their seats, from the simulator; each is tried once.

    Args:
        loads: Requests by model.
    """

    def __init__(self, loads: Mapping[str, TraceLoad]) -> None:
        self._samples = {model: load.sample(SATURATION_REQUESTS) for model, load in loads.items()}
        self._found: dict[tuple[str, str, int], float] = {}

    def utilization(self, serving: Serving, shares: Floats) -> Floats:
        """Return how full a replica is with those shares of its seats, interpolated; shapes (slots,)."""
        steps = -np.log2(shares) * _TRIED_A_HALVING
        below = np.floor(steps + 1e-9).astype(np.int64)
        tried = np.unique([below, below + 1])
        found = [self._tried(serving, step) for step in tried.tolist()]
        return np.asarray(np.interp(steps, tried, found))

    def _tried(self, serving: Serving, step: int) -> float:
        if step == 0:
            return serving.fullest
        machine = serving.machine
        model = machine.profile.model
        key = model, serving.kind, step
        if key not in self._found:
            backfill = serving.backfill.scaled(2.0 ** (-step / _TRIED_A_HALVING))
            filled = filled_with(machine, self._samples[model], backfill)
            self._found[key] = min(serving.fullest, filled.utilization)
        return self._found[key]


def fewer_seats(before: Floats, run: ModelRun, alone: ModelRun, slot_s: float) -> Floats:
    """Return the shares of the seats that deferrable work may take, less where real time broke the SLO beside it.

    What counts is how many more requests of a slot broke the SLO than without deferrable work. As many slots, the worst
    first, as bring the rest below what real time alone leaves of the requests that may. A slot's step is the longer,
    the more of its requests it is; and the more was taken before: beside bursts few seats do nearly as much harm as
    many.

    Args:
        before: The shares so far, shape (slots,).
        run: What became of the plan.
        alone: What became of it with real-time work alone.
        slot_s: Length of a slot.
    """
    count, bad = _by_slot(run, ~run.load.deferrable, slot_s, before), _by_slot(run, run.broken, slot_s, before)
    bad_alone = _by_slot(alone, alone.broken, slot_s, before)
    more = np.maximum(bad - bad_alone, 0.0)
    may_break = 1 - strictest(run.load)
    harm = np.divide(more, count, out=np.zeros_like(more), where=count > 0)
    step = np.clip((may_break / np.maximum(harm, 1e-9)) ** _POWER, _LEAST_STEP, _STEP)
    step **= 1 + _PERSISTENT * np.log(before) / np.log(_STEP)
    may = may_break * count.sum()
    chosen = worst_slots(more, AIM * max(may - bad_alone.sum(), _SPARED * may))
    shares = before.copy()
    shares[chosen] = np.maximum(before[chosen] * step[chosen], _LEAST)
    return shares


def _by_slot(run: ModelRun, chosen: Bools, slot_s: float, slots: Floats) -> Floats:
    """Count the requests that arrive in each slot, shape (slots,)."""
    slot = np.minimum((run.load.arrived_s[chosen] / slot_s).astype(np.int64), len(slots) - 1)
    return np.bincount(slot, minlength=len(slots)).astype(np.float64)
