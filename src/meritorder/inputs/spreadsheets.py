"""The table of an Excel workbook, all cells as text; needs the extra `xlsx`."""

import zipfile
from importlib.util import find_spec
from typing import Final

import polars as pl

from meritorder.errors import InputError, MissingExtraError
from meritorder.inputs.csv_header import TITLE_ROWS, title_rows
from meritorder.inputs.unpacking import ZIP, PlainFile, check_unpacked_size, unpacked_limit_bytes

_WORKBOOK: Final = "xl/workbook.xml"


def is_zip(head: bytes) -> bool:
    """Return whether the first bytes are those of a zip archive, which every .xlsx is."""
    return head.startswith(ZIP)


def read_workbook(file: PlainFile) -> tuple[pl.DataFrame, int]:
    """Return the first sheet that has rows, and the row of its header, which may be below a title.

    Raises:
        InputError: The archive is no workbook, damaged, unpacks to far more than its size, or has no rows.
        MissingExtraError: The package that reads workbooks is not installed.
    """
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise InputError("is a damaged zip archive", where=file.name, fix="unpack it first") from error
    if not any(member.filename == _WORKBOOK for member in members):
        raise InputError("is a zip archive", where=file.name, fix="unpack it first")
    unpacked_bytes = sum(member.file_size for member in members)
    check_unpacked_size(file.name, unpacked_bytes, unpacked_limit_bytes(file.path.stat().st_size))
    if find_spec("fastexcel") is None:
        what = "is an Excel workbook, which needs the extra xlsx"
        raise MissingExtraError(what, where=file.name, fix="pip install 'meritorder[xlsx]', or save it as CSV")
    try:
        sheets = pl.read_excel(
            file.path, sheet_id=0, has_header=False, drop_empty_rows=False, infer_schema_length=0, raise_if_empty=False
        )
    except Exception as error:  # (its reader has errors of its own)
        raise InputError("the Excel workbook is damaged", where=file.name, fix="save it again, or as CSV") from error
    sheet = next((sheet for sheet in sheets.values() if sheet.height > 1), None)
    if sheet is None:
        raise InputError("no sheet of the workbook has rows", where=file.name)
    texts = sheet.select(pl.all().cast(pl.String))
    first = [[(cell or "").strip() for cell in row] for row in texts.head(TITLE_ROWS).rows()]
    header = title_rows(first)
    names = _unique(first[header])
    return texts.slice(header + 1).rename(dict(zip(texts.columns, names, strict=True))), header + 1


def _unique(names: list[str]) -> list[str]:
    """Return names of columns; those that are empty or there before have signs added."""
    unique: list[str] = []
    for name in names:
        label = name or "_"
        while label in unique:
            label += "_"
        unique.append(label)
    return unique
