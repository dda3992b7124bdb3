"""Ledgers and prices for findings, without reading a bill."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.offers import Offer
from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, TokenPurchase, UnusedCommitment
from meritorder.study.audit.market import Market
from meritorder.study.audit.pools import BilledFleet, BilledMachine, BilledPool, PaidRates
from meritorder.study.audit.usage import MachineUsage, UncalledEndpoints

START = dt.datetime(2026, 10, 5, tzinfo=dt.UTC)  # a Monday
MACHINE = BilledMachine(provider="aws", region="us-east-1", instance="p5.48xlarge")
OFFER = Offer(
    provider="aws",
    region="us-east-1",
    instance="p5.48xlarge",
    hardware="h100",
    gpus=8,
    pricing_model=PricingModel.ON_DEMAND,
    usd_per_hour=10.0,
    as_of="2026-10-01",
    source="list",
    confidence="high",
)


def pool(on_demand: Sequence[float], usd_per_hour: float = 10.0, **more: object) -> BilledPool:
    """Return machines in these hours, in real time and in production."""
    hours = np.asarray(on_demand, float)
    plain = BilledPool(
        machine=MACHINE,
        may_wait=False,
        non_production=False,
        served=True,
        on_demand=hours,
        usd_per_hour=usd_per_hour,
        committed=np.zeros(len(hours)),
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def ledger(
    *pools: BilledPool,
    step_h: float = 1.0,
    months: float = 1.0,
    tokens: Sequence[TokenPurchase] = (),
    unused: Sequence[UnusedCommitment] = (),
) -> Ledger:
    """Return a ledger of pools of equal length."""
    hours = len(pools[0].on_demand) if pools else 0
    fleet = BilledFleet(start=START, hours=hours, pools=pools, rates=PaidRates(), step_h=step_h)
    return Ledger(fleet=fleet if pools else None, tokens=tuple(tokens), unused=tuple(unused), months=months)


def context(
    *offers: Offer,
    rates: PaidRates | None = None,
    usage: MachineUsage | None = None,
    uncalled: UncalledEndpoints | None = None,
) -> AuditContext:
    """Return a context in which only these offers and rates are known."""
    market = Market(
        catalog=replace(facts.load(()), offers=offers),
        rates=rates or PaidRates(),
        until=dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
    )
    return AuditContext(market=market, usage=usage, bill=("bill.csv",), uncalled=uncalled or UncalledEndpoints())


def usage(idle: Sequence[float], needed: Sequence[float], **more: object) -> MachineUsage:
    """Return the usage of all machines, known in every hour."""
    plain = MachineUsage(
        known=np.ones(len(idle), np.bool_),
        idle=np.asarray(idle, float),
        needed=np.asarray(needed, float),
        confidence="high",
        source="metrics",
        of_all_machines=True,
    )
    return replace(plain, **more)  # type: ignore[arg-type]
