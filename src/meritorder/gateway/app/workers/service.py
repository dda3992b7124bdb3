"""The service of one of several processes of a gateway."""

import asyncio
import os
import time
from typing import Final

import msgspec

from meritorder.gateway.app.server import tune_interpreter
from meritorder.gateway.app.service import Service
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.peers import Peers
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.metrics import DEFERRABLE, REALTIME, Report
from meritorder.gateway.venues.plans.in_force import NO_PLAN, PlanInForce
from meritorder.gateway.venues.venues import Venues

_EXCHANGE_S: Final = 1.0  # less than the interval of any scrape, so that no sum of counters falls
_RETRY_S: Final = 1.0
_REPLACE_ME: Final = 1


class Worker(Service):
    """A process that shares the socket, the limits, the drains and the metrics of its gateway.

    Args:
        context: The shared state.
        venues: The venues.
        plan: The plan to execute.
        peers: The processes.
    """

    def __init__(self, context: Context, venues: Venues, plan: PlanInForce = NO_PLAN, *, peers: Peers) -> None:
        super().__init__(context, venues, plan, peers=peers)
        self._peers = peers
        self._operations.metrics.others = self._other_reports

    async def start(self) -> None:
        """Go on from what a process before it has counted, and start the background tasks."""
        if (last := self._peers.last_report()) is not None:
            self._operations.live_cost.resume(msgspec.msgpack.decode(last, type=Report))
        try:
            await super().start()
        except StoreUnavailableError:  # the database has logged it
            give_up()
        self.context.supervisor.start("peers", self._exchange)
        tune_interpreter()

    async def stop(self) -> None:
        """Stop, and leave what was counted to the others."""
        await super().stop()
        self._report()

    async def _exchange(self) -> None:
        metrics = self._operations.metrics
        while True:
            self._report()
            for venue in self.venues.all:
                venue.realtime_elsewhere = metrics.elsewhere(REALTIME, venue.name)
                venue.deferrable_elsewhere = metrics.elsewhere(DEFERRABLE, venue.name)
            await asyncio.sleep(_EXCHANGE_S)

    def _report(self) -> None:
        self._peers.report(msgspec.msgpack.encode(self._operations.live_cost.report()))

    def _other_reports(self) -> list[Report]:
        reports = []
        for content, is_alive in self._peers.other_reports():
            report = msgspec.msgpack.decode(content, type=Report)
            reports.append(report if is_alive else msgspec.structs.replace(report, gauges={}))
        return reports


def give_up() -> None:
    """End this process at once, to be replaced: the exit code of uvicorn would end all."""
    time.sleep(_RETRY_S)
    os._exit(_REPLACE_ME)
