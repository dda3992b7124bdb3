"""Clients that break rules, on a real gateway: nothing of them is left, and the others are served."""

import pytest
from bench import hostile, poisoned


def test_hostile_clients_leave_nothing() -> None:
    figures = hostile.run(200, batches=1, idle=100, seed=1)
    wanted = {
        "faults": 0,
        "hung": 0,
        "tracebacks": 0,
        "places_left": 0,
        "queued_left": 0,
        "batches_open": 0,
        "descriptors_left": 0,
        "blobs_left": 0,
        "failing_tasks": "",
        "other_tenant_failed": 0,
        "crowd_failed": 0,
        "crowd_left": 0,
    }
    assert {name: figures[name] for name in wanted} == wanted
    assert figures["peak_rss_growth_bytes"] < 300 << 20


@pytest.mark.slow
def test_poisoned_batches_harm_nobody() -> None:
    """Of each kind of bad lines, the documented ones fail, and all lines of other tenants are answered."""
    figures = poisoned.run(30, good_lines=20)
    wanted = {"wrong_outcomes": 0, "good_batches_incomplete": 0, "other_tenant_failed": 0, "tracebacks": 0}
    assert {name: figures[name] for name in wanted} == wanted
