"""The table of an Excel workbook, all cells as text; needs the extra `xlsx`."""

import zipfile
from importlib.util import find_spec
from typing import Final

import polars as pl

from meritorder.errors import InputError, MissingExtraError
from meritorder.inputs.unpacking import ZIP, PlainFile, check_unpacked_size, unpacked_limit_bytes

_WORKBOOK: Final = "xl/workbook.xml"


def is_zip(head: bytes) -> bool:
    """Return whether the first bytes are those of a zip archive, which every .xlsx is."""
    return head.startswith(ZIP)


def read_workbook(file: PlainFile) -> pl.DataFrame:
    """Return the first sheet that has rows.

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
        sheets = pl.read_excel(file.path, sheet_id=0, infer_schema_length=0, raise_if_empty=False)
    except Exception as error:  # (its reader has errors of its own)
        raise InputError("the Excel workbook is damaged", where=file.name, fix="save it again, or as CSV") from error
    sheet = next((sheet for sheet in sheets.values() if sheet.height), None)
    if sheet is None:
        raise InputError("no sheet of the workbook has rows", where=file.name)
    return sheet.select(pl.all().cast(pl.String))
