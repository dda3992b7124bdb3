import base64
import hashlib
import hmac
from typing import Any

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.config import WebhookTable
from meritorder.gateway.state import webhooks
from meritorder.gateway.state.webhooks import Webhooks, signature_headers
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


def test_events_reach_their_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[Any] = []
    monkeypatch.setattr(webhooks.webhooks, "add", lambda _connection, event, *, now_s: queued.append((event, now_s)))
    hooks = configured(monkeypatch, "whsec_" + base64.b64encode(KEY).decode(), (None, "t", "other"))
    hooks.announce(None, "t", "batch.completed", "batch_1")  # type: ignore[arg-type]
    assert [event.url for event, _ in queued] == ["http://None", "http://t"]
    assert b'"type":"batch.completed","data":{"id":"batch_1"}' in queued[0][0].body
