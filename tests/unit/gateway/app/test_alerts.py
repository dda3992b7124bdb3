"""Alerts reach their webhooks once each, in the form of their receivers."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.samples.service import open_service
from tests.unit.gateway.workers.test_maintenance import queue_call

from meritorder.gateway.app.alerts import Alerts
from meritorder.gateway.app.service import Service
from meritorder.gateway.store.schema import WEBHOOKS
from meritorder.gateway.venues.venues import LatencySample

_HOUR_S = 3600.0
_SLACK = "https://hooks.slack.test/T/B/secret"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("SLACK_URL", _SLACK)
    monkeypatch.setenv("HOOK_SECRET", "whsec_c2VjcmV0")
    receivers = [
        {"url_env": "SLACK_URL", "format": "slack", "events": ["alert.*"]},
        {"url": "http://all.test", "secret_env": "HOOK_SECRET"},
        {"url": "http://other.test", "secret_env": "HOOK_SECRET", "tenant": "other"},
    ]
    with open_service(tmp_path, webhook=receivers) as opened:  # type: ignore[arg-type]
        yield opened


def queued(service: Service) -> list[tuple[str, dict[str, Any]]]:
    """Return the events in the outbox."""
    query = select(WEBHOOKS.c.url, WEBHOOKS.c.body).order_by(WEBHOOKS.c.seq)
    rows = service.context.database.read_now(lambda connection: connection.execute(query).all())
    return [(url, json.loads(body)) for url, body in rows]


def alerts(service: Service, fault: str | None = None) -> Alerts:
    gauge: Any = ("meritorder_plan_fault", "", (), [((), float(fault is not None))])
    return Alerts(context=service.context, gauges=lambda: [gauge], fault=lambda: fault)


def test_refused_plan_is_sent_once(service: Service) -> None:
    looking = alerts(service, "plan.json: <not> a plan & more")
    for _ in range(3):
        asyncio.run(looking.look())
    (slack, to_slack), (other, event) = queued(service)
    assert (slack, other) == (_SLACK, "http://all.test")
    assert to_slack["text"].endswith("stays in force: plan.json: &lt;not&gt; a plan &amp; more")
    assert (event["type"], event["data"]["fault"]) == ("alert.plan_refused", "plan.json: <not> a plan & more")
    asyncio.run(alerts(service).look())
    assert len(queued(service)) == 2


def test_alert_returns_after_quiet_and_after_a_day(service: Service) -> None:
    """It is on at 0:00, 0:05, 0:14, then again from 1:00 on, each five minutes for more than a day."""
    outbox, now_s = service.context.webhooks, 0.0
    outbox._now_s = lambda: now_s

    def is_sent(at_s: float) -> bool:
        nonlocal now_s
        before, now_s = len(queued(service)), at_s
        alert: Any = lambda connection: outbox.alert(connection, None, "alert.x", "plan", fault="f")  # noqa: E731
        service.context.database.submit(alert).result()
        return len(queued(service)) > before

    assert [is_sent(minutes * 60.0) for minutes in (0, 5, 14)] == [True, False, False]
    later = [is_sent(_HOUR_S + place * 300.0) for place in range(12 * 25)]
    assert [place for place, sent in enumerate(later) if sent] == [0, 12 * 24 + 1]


def test_deadline_at_risk_must_last(service: Service) -> None:
    queue_call(service.context, deadline_s=service.context.now_s() + 30)
    looking = alerts(service)
    for expected in (0, 0, 2, 2):
        asyncio.run(looking.look())
        assert len(queued(service)) == expected
    text = queued(service)[0][1]["text"]
    assert text == "1 requests for m are queued although they are due within 1m."


def test_missed_slo_must_last_and_be_many(service: Service) -> None:
    """With 99 % promised, four slow first tokens of a hundred may be chance; six are more than one in a hundred."""
    (venue, *_) = service.venues.all
    looking = Alerts(context=service.context, gauges=service.headroom.gauges, fault=lambda: None)
    for number in range(100):
        venue.ttfts.append(LatencySample(time.monotonic(), 9.0 if number < 4 else 0.1))
    for _ in range(4):
        asyncio.run(looking.look())
    assert queued(service) == []
    venue.ttfts.extend(LatencySample(time.monotonic(), 9.0) for _ in range(2))
    for expected in (0, 0, 2, 2):
        asyncio.run(looking.look())
        assert len(queued(service)) == expected
    text = queued(service)[0][1]["text"]
    assert text == f"Fewer than 99 % of the real-time requests at {venue.name} meet TTFT 2s and TPOT 100ms."


def test_old_misses_are_forgotten(service: Service) -> None:
    (venue, *_) = service.venues.all
    venue.tpots.extend(LatencySample(time.monotonic() - 70, 9.0) for _ in range(200))
    ((_, _, _, rates),) = service.headroom.gauges()
    assert rates == [((venue.name,), 0.0)]


@pytest.mark.parametrize(("days", "sent"), [(29.5, 2), (30.5, 0)])
def test_end_of_commitment_is_announced(service: Service, days: float, sent: int) -> None:
    gauge: Any = ("meritorder_commitment_days_left", "", ("venue",), [(("gpu",), days)])
    asyncio.run(Alerts(context=service.context, gauges=lambda: [gauge], fault=lambda: None).look())
    events = queued(service)
    assert len(events) == sent
    if sent:
        assert events[0][1]["text"] == "The commitment of gpu ends in 29 days."
        assert (events[1][1]["data"]["venue"], events[1][1]["data"]["days"]) == ("gpu", 29)


def test_missed_deadline_is_sent_with_its_tenant(service: Service) -> None:
    for _ in range(2):
        queue_call(service.context, deadline_s=1.0)
    asyncio.run(service.maintenance._end_batches())
    by_url = queued(service)
    assert [url for url, _ in by_url] == [_SLACK, "http://all.test"]
    assert by_url[1][1]["data"]["tenant"] == "t"
    assert "of t was not done before its deadline" in by_url[0][1]["text"]
