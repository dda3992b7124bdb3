"""Alerts: what an operator should know, from the gauges that Prometheus reads, as events for webhooks.

`deploy/chart/files/alerts.yaml` has the same conditions for Prometheus.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from meritorder.gateway.config import duration_s
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.metrics import Gauge, StoreGauges
from meritorder.records.accounting import NOTICE_DAYS
from meritorder.units import format_share

_ROUND_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A condition on a gauge.

    Args:
        kind: The type of the event.
        gauge: Name of the gauge.
        above: It holds while the value is above this,
        below: and below this.
        value: Name of the value in the event; empty to leave it out.
        label: Name of the first label's value in the event; empty without labels.
        rounds: Rounds that it must hold one after the other.
    """

    kind: str
    gauge: str
    above: float = -math.inf
    below: float = math.inf
    value: str = ""
    label: str = ""
    rounds: int = 1


_RULES: Final = (
    _Rule(
        kind="alert.deadlines_at_risk",
        gauge="meritorder_queued_at_risk",
        above=0,
        value="requests",
        label="model",
        rounds=3,
    ),
    _Rule(kind="alert.slo_missed", gauge="meritorder_slo_burn_rate", above=1, label="venue", rounds=3),
    _Rule(
        kind="alert.commitment_ends",
        gauge="meritorder_commitment_days_left",
        below=NOTICE_DAYS,
        value="days",
        label="venue",
    ),
    _Rule(kind="alert.plan_refused", gauge="meritorder_plan_fault", above=0),
    _Rule(kind="alert.prices_old", gauge="meritorder_plan_price_age_days", above=90, value="days"),
)


@dataclass(slots=True, kw_only=True)
class Alerts:
    """Announces each alert once, and again a day later if it goes on.

    Args:
        context: The shared state.
        gauges: Returns the gauges beside those of the store.
        fault: Returns what is wrong with the plan's file.
    """

    context: Context
    gauges: Callable[[], Iterable[Gauge]]
    fault: Callable[[], str | None]
    _store: StoreGauges = field(init=False)
    _rounds: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        context = self.context
        self._store = StoreGauges(context.database, duration_s(context.settings.lanes.margin), context.now_s)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while self.context.webhooks.has_receivers:
            await asyncio.sleep(_ROUND_S)
            with contextlib.suppress(StoreUnavailableError):  # the next round finds what goes on
                await self.look()

    async def look(self) -> None:
        """Look once.

        Raises:
            StoreUnavailableError: The store cannot be reached.
        """
        await self._store.read()
        holding = {(rule.kind, subject): (rule, value) for rule, subject, value in self._holding()}
        self._rounds = {key: self._rounds.get(key, 0) + 1 for key in holding}
        due = [(key, *holding[key]) for key, rounds in self._rounds.items() if rounds >= holding[key][0].rounds]
        if not due:
            return

        def alert(connection: Connection) -> None:
            for (kind, subject), rule, value in due:
                self.context.webhooks.alert(connection, None, kind, subject, **self._content(rule, subject, value))

        await self.context.database.write(alert)

    def _holding(self) -> Iterable[tuple[_Rule, str, float]]:
        """Yield the rules that hold, with what they hold of and its value."""
        values = {name: samples for name, _, _, samples in (*self._store.gauges(), *self.gauges())}
        for rule in _RULES:
            for labels, value in values.get(rule.gauge, ()):
                if rule.above < value < rule.below:
                    yield rule, labels[0] if labels else "plan", value

    def _content(self, rule: _Rule, subject: str, value: float) -> Mapping[str, object]:
        lanes = self.context.settings.lanes
        content: dict[str, object] = {rule.value: int(value)} if rule.value else {}
        if not rule.label:
            return content or {"fault": self.fault()}
        slo = {"ttft": lanes.ttft, "tpot": lanes.tpot, "share": format_share(lanes.attainment)}
        return content | {rule.label: subject, "margin": lanes.margin} | slo
