"""Gateways that share PostgreSQL, and workers that share SQLite, killed at random."""

import pytest
from bench import kills


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("store", "process", "processes"),
    [("postgresql", "gateway", {"gateways": 3}), ("sqlite", "worker", {"gateways": 1, "workers": 2})],
)
def test_killed_processes_lose_nothing(store: str, process: str, processes: dict[str, int]) -> None:
    figures = kills.survive(store, 3, 60, faults=(process,), **processes)
    assert figures["kills"] == {process: 3}
    assert (figures["status"], figures["lost"], figures["doubled"]) == ("completed", 0, 0)
    assert (figures["acknowledged_gone"], figures["ledger_lacks_results"], figures["ledger_doubled"]) == (0, 0, 0)
