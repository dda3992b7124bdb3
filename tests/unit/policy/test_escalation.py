"""How long deferrable work may wait, and how far it escalates."""

import numpy as np

from meritorder.policy.escalation import (
    EscalationLevel,
    escalation_level,
    latest_backfill_s,
    latest_start_s,
    needs_provider_batch,
)


def test_latest_start_never_before_arrival() -> None:
    deadline_s, work_s, arrived_s = np.array([1000.0, 1000.0]), np.array([150.0, 950.0]), np.array([100.0, 100.0])
    np.testing.assert_array_equal(latest_start_s(deadline_s, work_s, arrived_s), [850.0, 100.0])


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


def test_provider_batch_if_backfill_is_late() -> None:
    def needed(latest_s: float, *, own: bool = True, now_s: float = 0.0) -> bool:
        return needs_provider_batch(1000.0, latest_s, 800.0, 50.0, own=own, now_s=now_s)

    assert needed(-1.0)
    assert needed(0.0), "at its latest start backfill is over"
    assert not needed(1.0)
    assert needed(1.0, own=False)
    assert needed(-1.0, now_s=150.0)
    assert not needed(-1.0, now_s=151.0)
