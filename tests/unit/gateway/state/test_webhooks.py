import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from tests.samples.stores import migrated_store

from meritorder.errors import ConfigError
from meritorder.gateway.config import WebhookTable
from meritorder.gateway.state import webhooks
from meritorder.gateway.state.webhooks import Webhooks, signature_headers
from meritorder.gateway.store import webhooks as events
from meritorder.gateway.store.keys import Budget
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.store.webhooks import Event

KEY = b"a secret of this test"


def configured(monkeypatch: pytest.MonkeyPatch, secret: str, tenants: tuple[str | None, ...] = (None,)) -> Webhooks:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    tables = [WebhookTable(url=f"http://{tenant}", secret_env="WEBHOOK_SECRET", tenant=tenant) for tenant in tenants]  # noqa: S106
    return Webhooks(tables, lambda: 1000.0, lambda prefix: prefix + "1")


def test_signature_by_standard_webhooks() -> None:
    event = Event(id="evt_1", url="http://x", body=b"{}")
    headers = signature_headers(event, KEY, 1000)
    digest = hmac.digest(KEY, b"evt_1.1000.{}", hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("evt_1", "1000")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "not base64!"])
def test_invalid_secret_is_refused(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    with pytest.raises(ConfigError, match="its secret is not whsec_"):
        configured(monkeypatch, secret)


def test_missing_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no secret"):
        Webhooks([WebhookTable(url="http://x")], lambda: 0.0, str)


def test_variable_without_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_URL is not set"):
        Webhooks([WebhookTable(url_env="NO_SUCH_URL", format="slack")], lambda: 0.0, str)


def test_events_reach_their_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[Any] = []
    monkeypatch.setattr(webhooks.webhooks, "add", lambda _connection, event, *, now_s: queued.append((event, now_s)))
    hooks = configured(monkeypatch, "whsec_" + base64.b64encode(KEY).decode(), (None, "t", "other"))
    hooks.announce(None, "t", "batch.completed", "batch_1")  # type: ignore[arg-type]
    assert [event.url for event, _ in queued] == ["http://None", "http://t"]
    assert b'"type":"batch.completed","data":{"id":"batch_1"}' in queued[0][0].body


@pytest.mark.parametrize(
    ("webhook", "tenant", "urls"),
    [
        (None, "t", ["http://None", "http://t"]),
        (None, None, ["http://None"]),  # of a team
        ("http://other", "t", ["http://other"]),
        ("http://gone", "t", []),
    ],
)
def test_soft_limit_reaches_its_receiver(
    monkeypatch: pytest.MonkeyPatch, webhook: str | None, tenant: str | None, urls: list[str]
) -> None:
    queued: list[Event] = []
    monkeypatch.setattr(webhooks.webhooks, "add", lambda _connection, event, **_: queued.append(event))
    hooks = configured(monkeypatch, "whsec_" + base64.b64encode(KEY).decode(), (None, "t", "other"))
    budget = Budget(id="key_1", amount_picousd=10**13, period="day", soft_share=0.8, webhook=webhook, tenant=tenant)
    spent = BudgetState(budget=budget, spent_picousd=8_500_000_000_001, start_s=0.0, renews_s=86400.0, exhausted_s=None)
    hooks.announce_budget(None, spent)  # type: ignore[arg-type]
    assert [event.url for event in queued] == urls
    for event in queued:
        content = json.loads(event.body)
        assert content["type"] == "budget.soft_limit_reached"
        assert content["data"] == {
            "id": "key_1",
            "budget_usd": "10",
            "spent_usd": "8.500000000001",
            "soft_limit": 0.8,
            "period": "day",
            "renews_at": "1970-01-02T00:00:00+00:00",
        }


def test_slow_receiver_delays_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hundred events for a receiver that never answers come before one for another."""
    hooks = configured(monkeypatch, "whsec_" + base64.b64encode(KEY).decode(), ("slow", "fast"))
    posted: list[str] = []

    async def deliver() -> None:
        reached = asyncio.Event()

        async def post(_session: object, event: Event, _receiver: object) -> bool:
            posted.append(event.url)
            if event.url == "http://slow":
                await asyncio.Event().wait()
            reached.set()
            return True

        monkeypatch.setattr(hooks, "_post", post)
        running = asyncio.create_task(hooks.run(database))
        await asyncio.wait_for(reached.wait(), timeout=20)
        running.cancel()

    with migrated_store("sqlite", tmp_path) as database:
        for number in range(101):
            event = Event(id=f"evt_{number}", url="http://slow" if number < 100 else "http://fast", body=b"{}")
            database.submit(lambda connection, event=event: events.add(connection, event, now_s=1.0)).result()
        asyncio.run(deliver())
    assert posted.count("http://fast") == 1
    assert posted.count("http://slow") == webhooks._AT_ONCE


def test_failing_receiver_gets_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = configured(monkeypatch, "whsec_" + base64.b64encode(KEY).decode())
    (line,) = hooks._lines.values()
    line.running = 2
    line.end(100.0, delivered=False)
    assert (line.free(101.0), line.free(102.0)) == (0, 0)  # it pauses; then the other delivery is the one
    line.end(102.0, delivered=False)
    assert (line.free(105.0), line.free(106.0)) == (0, 1)
    line.running += 1
    line.end(106.0, delivered=True)
    assert line.free(106.0) == webhooks._AT_ONCE
