"""Clients that break rules, on a real gateway: nothing of them is left, and the others are served."""

from bench import hostile


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
