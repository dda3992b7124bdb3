"""Recorded spot fleets: on a few literal lines, and on the real files where they are at hand."""

from itertools import pairwise
from pathlib import Path

import pytest

from meritorder.errors import TraceError
from meritorder.sim.pools import Interruptions
from meritorder.traces.spot import read_spot

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "spot"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "spot.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_additions_and_removals_are_counted(tmp_path: Path) -> None:
    text = "0,add,a\n0,add,b\n1500,remove,a\n\n4000,add,a\n4000,add,c\n"
    assert read_spot(written(tmp_path, text)) == ((0.0, 1.5, 4.0), (2, 1, 3))


def test_replacement_is_no_change(tmp_path: Path) -> None:
    assert read_spot(written(tmp_path, "0,add,a\n500,remove,a\n500,add,b\n900,remove,b\n")) == ((0.0, 0.9), (1, 0))


def test_times_count_from_the_first_line(tmp_path: Path) -> None:
    text = "2021-12-11, 23:59:30, 5\n2021-12-12, 00:00:10, 5\n2021-12-12, 00:01:00, 4\n"
    assert read_spot(written(tmp_path, text)) == ((0.0, 90.0), (5, 4))


def test_steps_end_after_the_last_one(tmp_path: Path) -> None:
    text = '{"metadata": {"gap_seconds": 300, "zone": "eu-w-b"}, "data": [2, 2, 0, 5, 5]}'
    assert read_spot(written(tmp_path, text)) == ((0.0, 600.0, 900.0, 1500.0), (2, 0, 5, 5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lines"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "gap_seconds"),
        ('{"metadata": {"gap_seconds": 60}, "data": []}', "length >= 1"),
        ('{"metadata": {"gap_seconds": 60}, "data": [1, -1]}', "at `$.data[1]`"),
        ('{"data": [1, 0]}', "missing required field `metadata`"),
        ('{"metadata":' * 50_000, "not a record of spot machines"),
        ("0,add\n", "line 1: 2 fields"),
        ("0,add,a\n5,drop,a\n", "line 2: 'drop' is neither"),
        ("soon,add,a\n", "line 1: 'soon' is not a number of milliseconds"),
        ("-5,add,a\n", "line 1: '-5' is not a number of milliseconds"),
        ("0,add,a\n5,add,a\n", "line 2: add a: it is already up"),
        ("0,add,a\n5,remove,b\n", "line 2: remove b: it is not up"),
        ("9,add,a\n5,add,b\n", "line 2: the time goes backward"),
        ("2021-12-11, 25:00:00, 5\n", "line 1: '2021-12-11, 25:00:00' is not a date"),
        ("2021-12-11, 11:00:00, -5\n", "line 1: '-5' is not a number of instances"),
        ("time,count,node\n", "line 1: 'time, count' is not a date"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError) as raised:
        read_spot(written(tmp_path, text))
    assert message in str(raised.value)


def test_unreadable_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_spot(tmp_path / "missing.csv")
    path = tmp_path / "picture.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="cannot be read"):
        read_spot(path)


@pytest.mark.parametrize(
    ("name", "hours", "first", "fewest", "most"),
    [("p3-trace.csv", 11.37, 18, 10, 32), ("a100x1-east1b.txt", 26.55, 55, 17, 64)],
)
def test_real_recordings_are_read(name: str, hours: float, first: int, fewest: int, most: int) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no real file at {path}: the folder ../shared/data is not beside the project")
    times_s, counts = read_spot(path)
    assert (times_s[0], times_s[-1] / 3600) == (0.0, pytest.approx(hours, abs=0.01))
    assert (counts[0], min(counts), max(counts)) == (first, fewest, most)
    assert all(earlier != later for earlier, later in pairwise(counts))
    Interruptions(ceiling_from_s=times_s, ceiling=counts)
