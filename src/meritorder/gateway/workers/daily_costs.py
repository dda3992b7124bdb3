"""Costs by day: summed once a day is over, by the rules by which `meritorder ledger` attributes them."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from sqlalchemy import Connection

from meritorder.gateway.store.billing import capacity, daily
from meritorder.gateway.store.billing.daily import GROUP, DailyCost, MachineAttempts
from meritorder.gateway.store.database import Database
from meritorder.metering.capacity import PaidCapacity, PaidCommitment, Span, microseconds, spans
from meritorder.metering.sharing import Integers, columns, crowded_venues, hourly, prices, serving_units, share
from meritorder.records.accounting import Use
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

_SETTLED_S: Final = SECONDS_PER_HOUR  # until what ran at the end of a day is in the ledger; later rows are added later
_HALF_BITS: Final = 32
_Key = tuple[tuple[str | None, ...], str]  # the values of `GROUP`, and the use


async def sum_days(database: Database, now_s: float) -> int:
    """Sum the days that are over and have no sums yet, one after the other; return how many were summed.

    Raises:
        StoreUnavailableError: The database cannot be reached.
    """
    before = int((now_s - _SETTLED_S) // SECONDS_PER_DAY)
    days = await database.read(partial(daily.unsummed_days, before=before))
    count = 0
    for day in days:
        after_seq = await database.write(daily.last_seq)
        costs = await database.read(partial(costs_of_day, day=day))
        count += await database.write(partial(daily.save, day=day, costs=costs, after_seq=after_seq))
        await asyncio.sleep(0)
    return count


def costs_of_day(connection: Connection, day: int) -> Sequence[DailyCost]:
    """Return what was paid in a day and for what, and the attempts that ended in it."""
    from_s, to_s = daily.bounds_s(day)
    paid = capacity.paid(connection)
    replicas = [record for record in paid if isinstance(record, PaidCapacity)]
    commitments = [record for record in paid if isinstance(record, PaidCommitment)]
    venues = {record.venue for record in paid}
    of_day = spans(replicas, commitments, from_us=microseconds(from_s), to_us=microseconds(to_s))
    attempts = daily.machine_attempts(connection, day, venues)
    costs = {(cost.group, cost.use): cost for cost in daily.work(connection, day, venues)}
    for key, changes in _machine_costs(of_day, attempts, microseconds(from_s), microseconds(to_s)).items():
        if changes == _Change():
            continue
        cost = costs.get(key) or daily.daily_cost(day, (*key[0], key[1]))
        costs[key] = replace(
            cost, paid_picousd=cost.paid_picousd + changes.paid_picousd, unpaid=cost.unpaid + changes.unpaid
        )
    return list(costs.values())


@dataclass(slots=True)
class _Change:
    """What machines add to a sum: what was paid, and the attempts that nothing was paid for."""

    paid_picousd: int = 0
    unpaid: int = 0


def _machine_costs(
    of_day: Sequence[Span], attempts: MachineAttempts, from_us: int, to_us: int
) -> Mapping[_Key, _Change]:
    """Return what machines cost by group and use, idle time and unused commitments included."""
    changes: defaultdict[_Key, _Change] = defaultdict(_Change)
    for span in of_day:
        if span.use is not Use.BUSY:
            changes[_unowned(span.venue, span.use)].paid_picousd += sum(hourly(*columns([span]))[2].tolist())
    by_group = np.zeros((2, len(attempts.groups)), dtype=np.int64)
    paid_for = np.zeros(len(attempts.group), dtype=bool)
    pooled = crowded_venues(of_day) & {venue for venue, replica in attempts.places if replica is None and venue}
    for (venue, replica), unit in serving_units(of_day, pooled).items():
        members = _members(attempts, venue, None if venue in pooled else replica)
        shares = share(attempts.ran.take(members), *prices(unit))
        is_idle = shares.attempt < 0
        changes[_unowned(venue, Use.IDLE)].paid_picousd += sum(shares.picousd[is_idle].tolist())
        ran = members[shares.attempt[~is_idle]]
        paid_for[ran] = True
        _add(by_group, attempts.group[ran], shares.picousd[~is_idle])
    starts_us, ends_us = attempts.ran.starts_us, attempts.ran.ends_us
    unpaid = ~paid_for & (starts_us < ends_us) & (ends_us >= from_us) & (ends_us < to_us)
    counts = np.bincount(attempts.group[unpaid], minlength=len(attempts.groups)).tolist()
    for group, upper, lower, count in zip(attempts.groups, *by_group.tolist(), counts, strict=True):
        changes[group, Use.BUSY] = _Change((upper << _HALF_BITS) + lower, count)
    return changes


def _add(halves: Integers, group: Integers, picousd: Integers) -> None:
    """Add costs to the sums of their groups; 64 bits may not hold a sum, but its upper and its lower half."""
    np.add.at(halves[0], group, picousd >> _HALF_BITS)
    np.add.at(halves[1], group, picousd & ((1 << _HALF_BITS) - 1))


def _members(attempts: MachineAttempts, venue: str, replica: str | None) -> Integers:
    """Return the indexes of the attempts that share a price: of a replica and of none known, or of a whole venue."""
    of_venue = [index for index, (name, _) in enumerate(attempts.places) if name == venue]
    if replica is None:
        return np.flatnonzero(np.isin(attempts.place, of_venue))
    groups = [[index for index in of_venue if attempts.places[index][1] == name] for name in (None, replica)]
    return np.concatenate([np.flatnonzero(np.isin(attempts.place, group)) for group in groups])


def _unowned(venue: str, use: Use) -> _Key:
    return (*[None] * (len(GROUP) - 1), venue), use.value
