"""Excel workbooks, written by another library than the one that reads them."""

import datetime as dt
import zipfile
from pathlib import Path

import polars as pl
import pytest

from meritorder.errors import InputError, MeritorderError, MissingExtraError
from meritorder.inputs import spreadsheets, unpacking
from meritorder.inputs.places import LocalFile, ScratchFolder
from meritorder.inputs.unpacking import PlainFile, unpack
from meritorder.traces.read import read_trace


def plain(path: Path) -> PlainFile:
    return unpack(LocalFile(name="book.xlsx", path=path), ScratchFolder())


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "/").replace("/xml", ".xml"), text)
    return path


def test_workbook_is_a_trace(tmp_path: Path) -> None:
    pytest.importorskip("fastexcel")
    path = tmp_path / "book.xlsx"
    times = [dt.datetime(2026, 3, 2, 12, minute, 30) for minute in (0, 5, 9)]  # noqa: DTZ001  (as sheets have them)
    pl.DataFrame({"timestamp": times, "prompt_tokens": [1250, 7, 9], "completion_tokens": [10, None, 30]}).write_excel(
        path
    )
    trace = read_trace(path)
    assert trace.requests.select("arrived_s", "input_tokens", "output_tokens").rows() == [(0, 1250, 10), (540, 9, 30)]
    assert trace.epoch_s == times[0].replace(tzinfo=dt.UTC).timestamp()
    assert str(trace.report.first_bad[0]) == f"{path}:3: no output tokens", "the third line of the sheet"


def test_other_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"book.xlsx: is a zip archive; unpack it first"):
        spreadsheets.read_workbook(plain(zipped(tmp_path / "a", data="a,b")))
    (tmp_path / "b").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="is a damaged zip archive"):
        spreadsheets.read_workbook(plain(tmp_path / "b"))


def test_bombs_and_damaged_workbooks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastexcel")
    path = zipped(tmp_path / "a", xl_workbook_xml="no workbook" * 99)
    with pytest.raises(InputError, match="the Excel workbook is damaged; save it again, or as CSV"):
        spreadsheets.read_workbook(plain(path))
    monkeypatch.setattr(unpacking, "MIN_UNPACKED_BYTES", 1)
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_RATIO", 1)
    with pytest.raises(InputError, match="unpacks to more than 0 MiB"):
        spreadsheets.read_workbook(plain(path))


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheets, "find_spec", lambda _: None)
    path = zipped(tmp_path / "a.xlsx", xl_workbook_xml="x")
    with pytest.raises(MissingExtraError, match=r"pip install 'meritorder\[xlsx\]', or save it as CSV") as caught:
        read_trace(path)
    assert isinstance(caught.value, MeritorderError)


def test_header_below_a_title_is_found(tmp_path: Path) -> None:
    pytest.importorskip("fastexcel")
    rows = {"column_1": ["Usage of May", None, "timestamp", "2026-05-04 08:00:00"]}
    rows |= {
        f"column_{place}": [None, None, name, "7"] for place, name in ((2, "prompt_tokens"), (3, "completion_tokens"))
    }
    path = tmp_path / "book.xlsx"
    pl.DataFrame(rows).write_excel(path, include_header=False)
    sheet, header_row = spreadsheets.read_workbook(plain(path))
    assert (sheet.columns, header_row, sheet.height) == (["timestamp", "prompt_tokens", "completion_tokens"], 3, 1)
    assert read_trace(path).requests.select("input_tokens", "output_tokens").rows() == [(7, 7)]


def test_columns_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    pytest.importorskip("fastexcel")
    path = tmp_path / "book.xlsx"
    cells = {"1": ["a", "x"], "2": ["a", "y"], "3": ["a_", "z"], "4": [None, "w"]}
    pl.DataFrame(cells).write_excel(path, include_header=False)
    sheet, _ = spreadsheets.read_workbook(plain(path))
    assert (sheet.columns, sheet.row(0)) == (["a", "a_", "a__", "_"], ("x", "y", "z", "w"))
