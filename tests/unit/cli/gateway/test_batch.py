"""What `batch` shows while it waits."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from meritorder.cli.gateway.batch import _watch

SPENT = {"code": "insufficient_quota", "message": "Paused: the budget is spent.", "renews_at": None}
COUNTS = {"total": 4, "completed": 1, "failed": 0}


def state(status: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"id": "batch_1", "status": status, "request_counts": COUNTS, **fields}


def test_waiting_says_why_it_pauses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Once for each pause, also where no progress is drawn, and that it goes on if it does."""
    spent, on_request = state("in_progress", paused_at=5, paused_reason=SPENT), state("in_progress", paused_at=7)
    states = iter([spent, spent, state("in_progress"), on_request, state("completed")])
    monkeypatch.setattr(time, "sleep", lambda _: None)
    client: Any = SimpleNamespace(batch=lambda _: next(states))
    assert _watch(client, state("validating"))["status"] == "completed"
    shown = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert shown == [
        "Paused: the budget is spent.",
        "The batch goes on.",
        "Paused; to go on: meritorder batch resume batch_1",
    ]
