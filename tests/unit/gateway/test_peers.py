"""Processes of one gateway: their numbers, shares and reports."""

import os
from pathlib import Path

import pytest

from meritorder.gateway import peers
from meritorder.gateway.peers import Peers, Share


@pytest.mark.parametrize(("limit", "count"), [(8, 3), (7, 7), (1, 4), (1_000_001, 6)])
def test_shares_add_up_to_limit(limit: int, count: int) -> None:
    shares = [Share(number=number, count=count).of(limit) for number in range(count)]
    assert sum(shares) == limit
    assert max(shares) - min(shares) <= 1


def test_lowest_free_number_is_taken(tmp_path: Path) -> None:
    first, second, third = (Peers(tmp_path, 2) for _ in range(3))
    assert [peer.share.number for peer in (first, second, third)] == [0, 1, 1], "one more, while they are replaced"
    second.report(b"7 requests")
    os.close(second._lock)
    successor = Peers(tmp_path, 2)
    assert successor.last_report() == b"7 requests"
    assert third.last_report() is None


def test_reports_of_the_dead_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Peers(tmp_path, 2), Peers(tmp_path, 2)
    assert list(first.other_reports()) == []
    second.report(b"old")
    second.report(b"new")
    first.report(b"mine")
    assert list(first.other_reports()) == [(b"new", True)]
    monkeypatch.setattr(peers, "_LIVE_S", 0.0)
    assert list(first.other_reports()) == [(b"new", False)]


def test_last_writer_is_read_by_all(tmp_path: Path) -> None:
    first, second = Peers(tmp_path, 2), Peers(tmp_path, 2)
    assert first.read("drains") is None
    first.write("drains", b"a")
    second.write("drains", b"b")
    assert (first.read("drains"), second.read("drains")) == (b"b", b"b")
