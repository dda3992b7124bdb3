"""For any bill, no dollar is in two findings, and findings never exceed what was paid."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples.charges import Row, line, machine, reservation, tokens, write

from meritorder import bills
from meritorder import catalog as facts
from meritorder.records.findings import Audit
from meritorder.study.audit import pools
from meritorder.study.audit.answer import STEPS, audit
from meritorder.study.audit.context import AuditContext, AuditOptions
from meritorder.study.audit.ledger import open_ledger
from meritorder.study.audit.market import Market
from meritorder.study.audit.usage import MachineUsage

HOURS = 7 * 24
INSTANCES = ("p5.48xlarge", "p4de.24xlarge", "g6e.12xlarge", "g5.2xlarge", "g5.12xlarge", "ml.g5.2xlarge")
TAGS = (
    {},
    {"latency_class": "deferrable"},
    {"latency_class": "interactive", "service": "chat"},
    {"environment": "dev"},
    {"environment": "dev", "latency_class": "batch"},
)


@st.composite
def hour_ranges(draw: st.DrawFn) -> list[int]:
    start, length = draw(st.integers(0, HOURS - 1)), draw(st.integers(1, HOURS))
    every = draw(st.sampled_from([1, 1, 2, 5]))
    return list(range(start, min(HOURS, start + length), every))


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Draw a bill of machines bought in every way, tokens, commitments, refunds and discounts."""
    found: list[Row] = []
    for place in range(draw(st.integers(1, 4))):
        found += _machine(draw, place)
    for _ in range(draw(st.integers(0, 3))):
        found += tokens(
            draw(hour_ranges()),
            usd=draw(st.floats(0.01, 50)),
            thousands=draw(st.floats(0.1, 10_000)),
            kind=draw(st.sampled_from(["input", "output", "cache-read-input"])),
            batch=draw(st.booleans()),
            tags=draw(st.sampled_from(TAGS)),
        )
    for place in range(draw(st.integers(0, 2))):
        instance = draw(st.sampled_from(INSTANCES))
        rate, listed = draw(st.floats(0.1, 60)), draw(st.floats(0.1, 60))
        name = f"ri-{place}"
        found += reservation(draw(hour_ranges()), HOURS, instance=instance, rate=rate, listed=listed, name=name)
    for kind in draw(st.lists(st.sampled_from(["EdpDiscount", "Refund", "Credit", "Tax"]), max_size=3)):
        usd = draw(st.floats(0.01, 2000)) * (1 if kind == "Tax" else -1)
        found.append(line(kind, 0, usd, line_item_usage_type="BoxUsage:p5.48xlarge"))
    return found


def _machine(draw: st.DrawFn, place: int) -> Iterator[Row]:
    return machine(
        draw(hour_ranges()),
        instance=draw(st.sampled_from(INSTANCES)),
        usd=draw(st.floats(0.1, 100)),
        region=draw(st.sampled_from(["us-east-1", "us-west-2", "ap-northeast-1", ""])),
        name=f"i-{place}",
        count=draw(st.sampled_from([0.25, 1, 1, 3])),
        tags=draw(st.sampled_from(TAGS)),
        spot=draw(st.sampled_from([False, False, True])),
    )


def read(lines: list[Row], folder: str) -> bills.Bill:
    return bills.read(write(Path(folder) / "bill.csv", lines))


@settings(max_examples=60, deadline=None)
@given(rows())
def test_findings_never_exceed_what_was_paid(lines: list[Row]) -> None:
    with TemporaryDirectory() as folder:
        answer: Audit = audit(read(lines, folder), AuditOptions(bill=("bill.csv",)))
    assert all(finding.usd > 0 for finding in answer.findings)
    assert answer.overpaid_usd == pytest.approx(sum(finding.usd for finding in answer.findings))
    assert answer.overpaid_usd <= max(float(answer.inference_usd), 0.0) + 0.01
    assert answer.optimised_usd == pytest.approx(float(answer.inference_usd) - answer.overpaid_usd)
    amounts = [finding.usd_per_month for finding in answer.findings]
    assert amounts == sorted(amounts, reverse=True)
    assert all(finding.evidence and finding.fix and finding.where for finding in answer.findings)


@st.composite
def usages(draw: st.DrawFn) -> MachineUsage:
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    idle = random.uniform(0, 1, HOURS) * random.integers(0, 2, HOURS)
    return MachineUsage(
        known=random.integers(0, 2, HOURS) > 0,
        idle=idle,
        needed=np.minimum(random.uniform(0, 1, HOURS), 1 - idle),
        confidence="high",
        source="metrics",
        of_all_machines=True,
    )


@settings(max_examples=60, deadline=None)
@given(rows(), usages())
def test_each_step_takes_what_it_reports(lines: list[Row], usage: MachineUsage) -> None:
    with TemporaryDirectory() as folder:
        bill = read(lines, folder)
        groups = bills.select_inference(bill.groups)
        fleet = pools.read_fleet(bill, bills.hourly_groups(bill.spans, groups))
        ledger = open_ledger(bill, fleet, months=1.0)
    if fleet is None:
        return
    resized = _resized(usage, fleet.hours)
    until = bill.report.period_end
    assert until is not None
    market = Market(catalog=facts.load(()), rates=fleet.rates, until=until)
    context = AuditContext(market=market, usage=resized, bill=("bill.csv",))
    for step in STEPS:
        left, found = step(ledger, context)
        # Less than a cent is neither reported nor taken.
        assert ledger.usd - left.usd == pytest.approx(sum(finding.usd for finding in found), abs=0.011 * 12)
        assert all((pool.on_demand >= -1e-9).all() and pool.usd_per_hour >= 0 for pool in left.pools)
        assert all(item.usd >= 0 for item in (*left.tokens, *left.unused))
        ledger = left


def _resized(usage: MachineUsage, hours: int) -> MachineUsage:
    def cut(values: Any) -> Any:  # noqa: ANN401 - any array
        return np.resize(values, hours)

    return MachineUsage(
        known=cut(usage.known),
        idle=cut(usage.idle),
        needed=cut(usage.needed),
        confidence=usage.confidence,
        source=usage.source,
        of_all_machines=True,
    )
