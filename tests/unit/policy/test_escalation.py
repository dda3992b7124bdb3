"""How long deferrable work may wait, and how far it escalates."""

import pytest

from meritorder.policy.escalation import (
    EscalationLevel,
    escalation_level,
    fits_provider_batch,
    latest_backfill_s,
    provider_turnaround_s,
    way_back_s,
)


def test_backfill_ends_if_rate_is_short() -> None:
    assert latest_backfill_s(1000.0, 5000.0, 50.0, 100.0) == 800.0
    assert latest_backfill_s(1000.0, 50.0, 0.5, 100.0) == 800.0, "slow is not stopped"
    assert latest_backfill_s(1000.0, 5000.0, 0.0, 100.0) == float("-inf")


def test_work_escalates_to_realtime_then_fallback() -> None:
    def level(now_s: float, *, own_venue_up: bool = True) -> EscalationLevel:
        return escalation_level(1000.0, 50.0, 800.0, own_venue_up=own_venue_up, margin_s=30.0, now_s=now_s)

    assert level(799.0) is EscalationLevel.BACKFILL
    assert level(800.0) is EscalationLevel.REALTIME
    assert level(920.0) is EscalationLevel.REALTIME
    assert level(921.0) is EscalationLevel.FALLBACK
    assert level(799.0, own_venue_up=False) is EscalationLevel.BACKFILL
    assert level(801.0, own_venue_up=False) is EscalationLevel.FALLBACK


def test_provider_batch_leaves_the_way_back() -> None:
    assert fits_provider_batch(1000.0, 800.0, 50.0, 150.0)
    assert not fits_provider_batch(1000.0, 800.0, 50.0, 151.0)


def test_turnaround_follows_what_was_measured() -> None:
    assert provider_turnaround_s([], [], 86400.0) == 43200.0
    assert provider_turnaround_s([100.0] * 9 + [5000.0], [], 86400.0) == pytest.approx(590.0)
    assert provider_turnaround_s([100.0], [7000.0, 50.0], 86400.0) == 7000.0, "a batch still runs"


def test_way_back_is_limited_by_window() -> None:
    assert way_back_s(tokens=6000, tokens_per_s=100.0, reserve_s=660.0, window_s=86400.0) == 720.0
    assert way_back_s(tokens=60_000_000, tokens_per_s=100.0, reserve_s=660.0, window_s=86400.0) == 21600.0
