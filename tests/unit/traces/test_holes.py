"""Holes in a log are found by what other days have in the same hours, and cut out of the clock."""

import numpy as np
import pytest

from meritorder.traces.holes import Hole, cut_before, describe_holes, find_holes

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
# Monday 2026-11-02T00:00Z.
MONDAY_S = 1_793_577_600.0


def around_the_clock(days: int, missing: list[tuple[float, float]]) -> np.ndarray:
    """Return a request every five minutes, without those in some hours since the start."""
    arrived_s = np.arange(0, days * DAY_S, 300.0)
    for begin_h, end_h in missing:
        arrived_s = arrived_s[(arrived_s < begin_h * HOUR_S) | (arrived_s >= end_h * HOUR_S)]
    return arrived_s


@pytest.mark.parametrize(
    "missing",
    [
        [(30, 33)],
        [(30, 54)],
        [(48, 72), (110, 113)],
        [(24, 48), (72, 96)],
        [(30, 33), (57, 60)],
    ],
    ids=["three hours", "a day", "a day and three hours", "two days", "the same hours twice"],
)
def test_missing_hours_are_cut(missing: list[tuple[float, float]]) -> None:
    arrived_s = around_the_clock(8, missing)
    holes = find_holes(arrived_s, None)
    assert [hole.start_s / HOUR_S for hole in holes] == pytest.approx([begin_h - 1 / 12 for begin_h, _ in missing])
    assert [hole.end_s / HOUR_S for hole in holes] == pytest.approx([end_h for _, end_h in missing])
    joined = arrived_s - cut_before(arrived_s, holes)
    # What remains is traffic without holes, but for minutes: the time that is cut is the time that is missing.
    assert np.diff(joined).max() <= 600
    assert joined[-1] == pytest.approx(
        arrived_s[-1] - sum(end_h - begin_h for begin_h, end_h in missing) * HOUR_S, abs=600
    )


@pytest.mark.parametrize("epoch_s", [None, MONDAY_S])
def test_quiet_nights_are_no_holes(epoch_s: float | None) -> None:
    nights = [(24 * day, 24 * day + 7) for day in range(8)]
    assert find_holes(around_the_clock(8, nights), epoch_s) == ()


def test_quiet_weekends_are_no_holes() -> None:
    weekends = [(5 * 24, 7 * 24), (12 * 24, 14 * 24)]
    quiet = around_the_clock(17, weekends)
    assert find_holes(quiet, MONDAY_S) == ()
    # Beside them, a Wednesday without requests is one.
    holes = find_holes(around_the_clock(17, [*weekends, (48, 72)]), MONDAY_S)
    assert [round(hole.start_s / HOUR_S) for hole in holes] == [48]


def test_single_burst_is_no_hole() -> None:
    assert find_holes(np.array([0.0, 10.0, 5 * DAY_S]), None) == ()
    assert find_holes(np.array([0.0]), None) == ()


def test_whole_days_keep_the_hour() -> None:
    assert Hole(start_s=0.0, end_s=DAY_S + 1200).cut_s == DAY_S
    assert Hole(start_s=0.0, end_s=3 * HOUR_S + 90).cut_s == 3 * HOUR_S + 60


def test_sentence_counts_the_holes() -> None:
    assert describe_holes(()) == ""
    arrived_s = around_the_clock(8, [(48, 72), (110, 113)])
    sentence = describe_holes(find_holes(arrived_s, None))
    assert sentence.startswith("No request arrives for 24.1 h, from 47.9 h after the start (2 such times, 27.1 h")
