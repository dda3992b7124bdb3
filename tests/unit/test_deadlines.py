"""The grammar of a deadline, and the deadlines of requests that arrive at given times."""

import numpy as np
import pytest

from meritorder.deadlines import Instant, Patience, TimeOfDay, parse_deadline
from meritorder.errors import WorkloadsError

HOUR_S = 3600.0
MIDNIGHT_S = 1_767_571_200.0  # 2026-01-05T00:00:00Z


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("30m", Patience(text="30m", wait_s=1800)),
        (" 4h", Patience(text="4h", wait_s=14400)),
        ("2d", Patience(text="2d", wait_s=172800)),
        ("06:00", TimeOfDay(text="06:00", time_of_day_s=21600)),
        ("2026-01-05T06:00", Instant(text="2026-01-05T06:00", instant_s=1767592800)),
        ("2026-01-05T06:00:00+01:00", Instant(text="2026-01-05T06:00:00+01:00", instant_s=1767589200)),
    ],
)
def test_three_kinds_of_deadline(text: str, read: object) -> None:
    assert parse_deadline(text) == read


@pytest.mark.parametrize("text", ["", "soon", "0h", "25:00", "06:99", "4x", "-1h", "2026-13-01"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(WorkloadsError, match=r"30m, 4h or 2d"):
        parse_deadline(text)


@pytest.mark.parametrize(
    ("text", "due_h"),
    [("4h", [9, 10, 11]), ("06:00", [6, 30, 30]), ("2026-01-05T08:00:00+01:00", [7, 7, 7])],
)
def test_deadlines_of_arrays_and_scalars(text: str, due_h: list[float]) -> None:
    deadline = parse_deadline(text)
    arrived_s = np.array([5.0, 6.0, 7.0]) * HOUR_S
    expected_s = [hours * HOUR_S for hours in due_h]
    assert deadline.due_s(arrived_s, epoch_s=MIDNIGHT_S).tolist() == expected_s
    assert [deadline.due_s(at_s, epoch_s=MIDNIGHT_S) for at_s in arrived_s.tolist()] == expected_s
    assert [deadline.due_s(MIDNIGHT_S + at_s) - MIDNIGHT_S for at_s in arrived_s.tolist()] == expected_s


def test_only_a_duration_works_without_dates() -> None:
    assert parse_deadline("4h").due_s(0.0, epoch_s=None) == 4 * HOUR_S
    for text in ("06:00", "2026-01-05T06:00"):
        with pytest.raises(WorkloadsError, match="needs the time of day"):
            parse_deadline(text).due_s(0.0, epoch_s=None)
