"""Budgets and rates of several gateways on one store: whatever is admitted, ended and killed in whatever order."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples.stores import migrated_store

from meritorder.gateway.state import quotas as quotas_module
from meritorder.gateway.state.journal import Journal
from meritorder.gateway.state.ledger_writer import LedgerWriter
from meritorder.gateway.state.quotas import Quotas
from meritorder.gateway.state.reservations import Reservation, Spending
from meritorder.gateway.store import heartbeats, keys
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Budget, Key
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.quotas.admission import Demand
from meritorder.gateway.wire.errors import ApiError

BUDGET, TEAM_BUDGET, MOST = 400, 560, 60
LENGTH = 150
NOW_S = 1_000_000.0
OPERATIONS = {"call": 8, "end": 5, "flush": 1, "give_back": 1, "kill": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Path]]:
    folder = tmp_path_factory.mktemp("quotas")
    with migrated_store("sqlite", folder) as database:
        yield database, folder


@dataclass
class Gateway:
    """A gateway's quotas, ledger and calls in flight, each with its key and cost."""

    quotas: Quotas
    writer: LedgerWriter
    journal: Journal
    calls: list[tuple[Reservation, Key, int]] = field(default_factory=list)


class Site:
    """Gateways that share a store; a killed one is replaced."""

    def __init__(self, database: Database, folder: Path, number: int) -> None:
        self.database, self.folder, self.number = database, folder, number
        self.started = self.cost = 0
        self.costs = [0, 0]
        self.allowed = [Budget(id=f"key_{number}_{n}", amount_picousd=BUDGET) for n in range(2)]
        team = f"team {number}"
        self.team = Budget(id=keys.team_id(team), amount_picousd=TEAM_BUDGET)
        self.keys = [
            Key(id=budget.id, name="n", tenant="t", team=team, budgets=(budget, self.team)) for budget in self.allowed
        ]
        for key in self.keys:
            database.submit(lambda connection, key=key: keys.add(connection, key, key.id, now_s=0.0)).result()
        for budget in (*self.allowed, self.team):
            self.write(lambda connection, budget=budget: budgets.set_budget(connection, budget, now_s=NOW_S))
        self.gateways = [self.gateway() for _ in range(3)]

    def write(self, change):  # noqa: ANN001, ANN201
        return self.database.submit(change).result()

    def gateway(self) -> Gateway:
        self.started += 1
        holder = f"g{self.number}_{self.started}"
        self.write(lambda connection: heartbeats.beat(connection, holder, lease_s=60.0))
        spending = Spending({key.id: key for key in self.keys}.get)  # type: ignore[arg-type]
        journal = Journal.create(self.folder / f"journals {self.number}", holder)
        writer = LedgerWriter(self.database, journal, spending)
        return Gateway(Quotas(self.database, holder, lambda: NOW_S, spending, writer.flush), writer, journal)

    async def call(self, index: int, key: Key, most: int, percent: int) -> None:
        gateway = self.gateways[index]
        try:
            reservation = await gateway.quotas.admit(key, Demand(cost_picousd=most))
        except ApiError as error:
            assert (error.status, error.code) == (429, "insufficient_quota")  # noqa: PT017
            return
        gateway.calls.append((reservation, key, most * percent // 100))

    async def end(self, index: int, number: int) -> None:
        gateway = self.gateways[index]
        if not gateway.calls:
            return
        reservation, key, cost = gateway.calls.pop(number % len(gateway.calls))
        gateway.writer.add(entry(key, cost))
        reservation.close()
        self.costs[self.keys.index(key)] += cost

    async def kill(self, index: int) -> None:
        """End a gateway as a kill does: its calls vanish, and another takes over its journal."""
        self.gateways[index].journal.close()
        self.gateways[index] = self.gateway()

        async def release(holder: str) -> None:
            await self.database.write(lambda connection: heartbeats.stop(connection, holder))

        await self.gateways[index].writer.recover(release)

    async def run(self, chance: random.Random) -> None:
        """Do what chance decides; most calls are small, and most cost what they may."""
        for name in chance.choices(list(OPERATIONS), list(OPERATIONS.values()), k=LENGTH):
            index = chance.randrange(3)
            gateway = self.gateways[index]
            if name == "call":
                most = chance.choice([chance.randint(1, 20), chance.randint(1, MOST)])
                await self.call(index, chance.choice(self.keys), most, chance.choice([100, 100, 50, 0]))
            elif name == "end":
                await self.end(index, chance.randrange(10))
            elif name == "flush":
                await gateway.writer.flush()
            elif name == "give_back":
                await gateway.quotas.give_back()
            else:
                await self.kill(index)
            self.check()

    def check(self) -> None:
        """A budget is exceeded by at most one call, even if every call in flight costs what it will cost."""
        in_flight = [0, 0]
        for gateway in self.gateways:
            for _, key, cost in gateway.calls:
                in_flight[self.keys.index(key)] += cost
        for cost, flying in zip(self.costs, in_flight, strict=True):
            assert cost + flying <= BUDGET + MOST
        assert sum(self.costs) + sum(in_flight) <= TEAM_BUDGET + MOST

    async def finish(self) -> None:
        """End all calls; what is spent must be what the ledger says, exactly, and nothing stays reserved."""
        for index, gateway in enumerate(self.gateways):
            while gateway.calls:
                await self.end(index, 0)
            await gateway.writer.flush()
            await gateway.quotas.give_back()
        states = self.database.read_now(lambda connection: budgets.states(connection, now_s=NOW_S))
        spent = {state.budget.id: (state.spent_picousd, state.reserved_picousd) for state in states}
        costs = self.database.read_now(ledger.cost_by_key)
        for budget, cost in zip(self.allowed, self.costs, strict=True):
            assert spent[budget.id] == (cost, 0)
            assert costs.get(budget.id, 0) == cost
        assert spent[self.team.id] == (sum(self.costs), 0)
        for gateway in self.gateways:
            await gateway.writer.close()


def entry(key: Key, cost_picousd: int) -> LedgerEntry:
    return LedgerEntry(
        request_id="req_1",
        arrived_s=NOW_S,
        started_s=NOW_S,
        ended_s=NOW_S,
        ttft_s=None,
        lane="realtime",
        tenant=key.tenant,
        key_id=key.id,
        model="m",
        endpoint="/v1/completions",
        venue="v",
        status_code=200,
        input_tokens=1,
        output_tokens=1,
        counted=True,
        cost_picousd=cost_picousd,
    )


NUMBERS = iter(range(10**6))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_budgets_are_exceeded_by_one_call(store: tuple[Database, Path], seed: int) -> None:
    site = Site(*store, next(NUMBERS))

    async def run() -> None:
        await site.run(random.Random(seed))
        await site.finish()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(quotas_module, "_PATIENCE_S", 0.0)
        asyncio.run(run())
