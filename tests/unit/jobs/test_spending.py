"""The budget of a job: what its workers reserve is never more than what it has."""

import asyncio
from itertools import pairwise

import pytest

from meritorder.jobs.spending import Allowance, Budget


class Worker(Allowance):
    """A worker whose budget is in this process."""

    def __init__(self, budget: Budget) -> None:
        async def lease(usd: float) -> float:
            await asyncio.sleep(0)
            return budget.lease(usd)

        super().__init__(lease)


async def spend(worker: Worker, most_usd: float, paid_usd: float, calls: int) -> int:
    """Ask calls at once; return how many were allowed."""

    async def call() -> bool:
        if not await worker.reserve(most_usd):
            return False
        await asyncio.sleep(0)
        await worker.settle(most_usd, paid_usd)
        return True

    return sum(await asyncio.gather(*(call() for _ in range(calls))))


@pytest.mark.asyncio
async def test_calls_stay_within_budget() -> None:
    budget = Budget(1.0)
    allowed = await asyncio.gather(*(spend(Worker(budget), 0.03, 0.03, 40) for _ in range(3)))
    # 33 calls of $0.03 fit into $1; each of three workers may hold back less than one.
    assert 31 <= sum(allowed) <= 33


@pytest.mark.asyncio
async def test_unused_reservations_are_spent_again() -> None:
    # At most eleven are reserved at once, but each costs a tenth of it, so that all hundred fit.
    assert await spend(Worker(Budget(1.1)), 0.1, 0.01, 100) == 100


@pytest.mark.asyncio
async def test_budget_is_refused_without_calls_in_flight() -> None:
    worker = Worker(Budget(0.5))
    assert not await worker.reserve(0.6)
    assert await worker.reserve(0.5)


@pytest.mark.asyncio
async def test_refused_worker_returns_its_rest() -> None:
    budget = Budget(0.5)
    assert not await Worker(budget).reserve(0.6)
    assert budget.lease(0.5) == pytest.approx(0.5)


def test_lease_never_exceeds_the_rest() -> None:
    budget = Budget(1.0)
    leases = [budget.lease(0.3) for _ in range(5)]
    assert sum(leases) == pytest.approx(1.0)
    assert all(later <= earlier for earlier, later in pairwise(leases))
