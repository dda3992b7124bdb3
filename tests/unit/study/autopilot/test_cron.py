"""Windows by cron, in UTC."""

import datetime as dt

import pytest

from meritorder.errors import ConfigError
from meritorder.study.autopilot.cron import parse_window, seconds_until

HOUR_S = 3600.0


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def test_window_lasts_from_each_begin() -> None:
    office = parse_window("0 9 * * mon-fri", 8 * HOUR_S, "b")
    assert office.contains(at("2026-11-30T09:00"))  # a Monday
    assert office.contains(at("2026-11-30T16:59:59"))
    assert not office.contains(at("2026-11-30T17:00"))
    assert not office.contains(at("2026-11-29T10:00"))  # a Sunday


def test_window_runs_over_midnight() -> None:
    night = parse_window("30 22 * * *", 3 * HOUR_S, "b")
    assert night.contains(at("2026-12-01T01:29"))
    assert not night.contains(at("2026-12-01T01:30"))


@pytest.mark.parametrize(
    ("schedule", "inside"),
    [
        ("*/15 * * * *", "2026-11-30T10:45"),
        ("0 0 1 * *", "2026-12-01T00:00"),
        ("0 0 * * 7", "2026-11-29T00:00"),
        ("0 0 * * 0", "2026-11-29T00:00"),
        ("0 0 13 * fri", "2026-11-13T00:00"),
        ("0 0 13 * fri", "2026-11-20T00:00"),  # cron: day or weekday where both are given
        ("5 4 * nov,dec *", "2026-11-07T04:05"),
        ("@weekly", "2026-11-29T00:00"),
    ],
)
def test_schedules_mean_what_cron_means(schedule: str, inside: str) -> None:
    window = parse_window(schedule, 60.0, "b")
    assert window.contains(at(inside))
    assert not window.contains(at(inside) + dt.timedelta(minutes=1))


@pytest.mark.parametrize(
    "schedule", ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "a b c d e"]
)
def test_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ConfigError, match="write minute hour day month weekday"):
        parse_window(schedule, 60.0, "b")


def test_next_time_of_a_schedule() -> None:
    """From Monday at eight, the next Monday at eight is a week away; a second earlier it is a second away."""
    eight = at("2026-11-30T08:00")
    assert seconds_until("0 8 * * mon", eight) == 7 * 86_400
    assert seconds_until("0 8 * * mon", eight - dt.timedelta(seconds=1)) == 1


@pytest.mark.parametrize("duration_s", [0.0, 59.0, 32 * 86_400.0])
def test_duration_has_bounds(duration_s: float) -> None:
    with pytest.raises(ConfigError, match=r"b\.duration"):
        parse_window("@daily", duration_s, "b")
