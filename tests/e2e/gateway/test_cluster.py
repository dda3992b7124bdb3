"""Gateways that share PostgreSQL, killed at random."""

import pytest
from bench import kills


@pytest.mark.nightly
def test_killed_gateways_lose_nothing() -> None:
    figures = kills.survive("postgresql", 3, 60, gateways=3, faults=("gateway",))
    assert figures["kills"] == {"gateway": 3}
    assert (figures["status"], figures["lost"], figures["doubled"]) == ("completed", 0, 0)
    assert (figures["acknowledged_gone"], figures["ledger_lacks_results"], figures["ledger_doubled"]) == (0, 0, 0)
