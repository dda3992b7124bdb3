"""Files that are not bills, are truncated, or come in parts."""

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.bills.files import SourceFile, load
from meritorder.errors import BillError
from meritorder.inputs.places import LocalFile, ScratchFolder

Write = Callable[..., Path]
HOUR = {"line_item_unblended_cost": "2"}


def refusal(source: Path, **options: object) -> str:
    with pytest.raises(BillError) as caught:
        bills.read(source, **options)  # type: ignore[arg-type]
    line = str(caught.value)
    assert "\n" not in line
    return line


def cut(path: Path, keep: int) -> Path:
    path.write_bytes(path.read_bytes()[:keep])
    return path


def test_csv_truncated_in_row(cur: Write) -> None:
    path = cur(HOUR, HOUR, HOUR)
    line = refusal(cut(path, path.stat().st_size - 60))
    assert line.startswith("cur.csv: the file is truncated: its last line has")
    assert "download or export it again" in line


@pytest.mark.parametrize("lost", [2, 3, 4, 5, 9])
def test_csv_truncated_in_text(cur: Write, lost: int) -> None:
    path = cur(HOUR, HOUR)
    assert "truncated" in refusal(cut(path, path.stat().st_size - lost))


def test_csv_without_last_line_end_warns(cur: Write) -> None:
    path = cur(HOUR, HOUR)
    bill = bills.read(cut(path, path.stat().st_size - 1))
    assert bill.report.billed_usd == 4
    assert any("no line end" in warning for warning in bill.report.warnings)


def test_gzip_read_and_truncation_refused(cur: Write) -> None:
    path = cur(HOUR, HOUR)
    packed = path.with_name("cur.csv.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert bills.read(packed).report.billed_usd == 4
    assert "compressed file is damaged or truncated" in refusal(cut(packed, packed.stat().st_size // 2))


def test_parquet_read_and_truncation_refused(cur: Write, tmp_path: Path) -> None:
    path = tmp_path / "cur.parquet"
    pl.read_csv(cur(HOUR), infer_schema=False).write_parquet(path)
    assert bills.read(path).report.billed_usd == 2
    assert "Parquet file is truncated" in refusal(cut(path, path.stat().st_size // 2))


def test_truncated_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text('{"object": "page", "data": [{"start_time": 17908')
    assert "JSON is damaged or truncated" in refusal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello\n", "not a header of columns"),
        (b"name,age\nAda,36\n", "not a bill of a known format: its columns are age, name"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "neither text nor Parquet"),
        (b"PK\x03\x04", "unpack it first"),
        (b"[1, 2]", "no records"),
        (b"\xff\xfea,b\n", "not a header of columns"),
        (b"Date,MeterCategory,CostInBillingCurrency\n", "there are no charges"),
        (b"billing_account_id,usage_start_time,cost\n", "there are no charges"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bill"
    path.write_bytes(content)
    assert message in refusal(path)


def test_header_alone_has_no_charges(cur: Write) -> None:
    path = cur(HOUR)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert refusal(path) == "cur.csv: there are no charges in it"


def test_no_such_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nothing.csv")
    assert "no bill to read" in refusal(tmp_path)


def test_format_can_be_named(cur: Write) -> None:
    path = cur(HOUR)
    assert bills.read(path, format="cur").report.billed_usd == 2
    assert "does not have the columns of focus" in refusal(path, format="focus")
    assert "there is no bill format pdf" in refusal(path, format="pdf")


def test_folder_of_equal_file_names(cur: Write, tmp_path: Path) -> None:
    for month in ("2026-09", "2026-10"):
        folder = tmp_path / "export" / f"BILLING_PERIOD={month}"
        folder.mkdir(parents=True)
        start = {
            "line_item_usage_start_date": f"{month}-01T00:00:00Z",
            "bill_billing_period_start_date": f"{month}-01",
        }
        pl.read_csv(cur(HOUR | start), infer_schema=False).write_parquet(folder / "data-1.parquet")
    bill = bills.read(tmp_path / "export")
    assert [file.label for file in bill.report.files] == [
        f"BILLING_PERIOD=2026-{m}/data-1.parquet" for m in ("09", "10")
    ]
    assert [(invoice.month, invoice.billed_usd) for invoice in bill.report.invoices] == [
        ("2026-09", 2),
        ("2026-10", 2),
    ]


def test_separators_and_a_byte_order_mark(focus: Write) -> None:
    path = focus({"BilledCost": "1.50", "EffectiveCost": "1.50"})
    frame = pl.read_csv(path, infer_schema=False)
    path.write_bytes(b"\xef\xbb\xbf" + frame.write_csv(separator=";").encode())
    assert bills.read(path).report.billed_usd == Decimal("1.5")


def test_no_sources_at_all() -> None:
    assert refusal([]) == "no bill to read; name a file or a folder"  # type: ignore[arg-type]


def loaded(path: Path, content: str | bytes) -> SourceFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(LocalFile(name=path.name, path=path), ScratchFolder())


def test_rows_are_numbered_as_stated(tmp_path: Path) -> None:
    """A CSV's first row is on line 2; records of JSON and Parquet are counted from 1."""
    parquet = tmp_path / "a.parquet"
    pl.DataFrame({"a": ["1"]}).write_parquet(parquet)
    files = [
        loaded(tmp_path / "a.csv", "a,b\n1,2\n3,4\n"),
        loaded(tmp_path / "a.json", '[{"a": 1}, {"a": 2}]'),
        load(LocalFile(name=parquet.name, path=parquet), ScratchFolder()),
    ]
    assert [file.frame.collect()["row"].to_list() for file in files] == [[2, 3], [1, 2], [1]]
    assert [(file.more_pages, file.notes) for file in files] == [(False, ())] * 3


def test_values_of_csv_stay_text(tmp_path: Path) -> None:
    file = loaded(tmp_path / "a.csv", "a,b\n1,2\n")
    assert file.frame.collect().select("a", "b").rows() == [("1", "2")]


def test_last_line_may_end_in_tags(tmp_path: Path) -> None:
    """Without a line end, whole tags are a note and cut ones an error; other texts in the last column are a note."""
    for end in ('{"x": 1}', "x"):
        assert "no line end" in loaded(tmp_path / "a.csv", f"a,b,tags\n1,2,{end}").notes[0]
    with pytest.raises(BillError, match="ends within a text"):
        loaded(tmp_path / "a.csv", 'a,b,tags\n1,2,{"x": 1')


def test_last_page_tells_of_more(tmp_path: Path) -> None:
    first, last = '{"data": [{"a": 1}], "has_more": true}', '{"data": [{"a": 2}], "has_more": false}'
    assert not loaded(tmp_path / "a.jsonl", f"{first}\n{last}\n").more_pages
    assert loaded(tmp_path / "a.jsonl", f"{last}\n{last}\n{first}\n").more_pages


def test_only_costs_are_in_cents(tmp_path: Path) -> None:
    """An amount beside a cost type is in cents; an amount alone, and other objects, stay as they are."""
    cents = loaded(tmp_path / "a.json", '[{"amount": "250", "cost_type": "tokens", "meta": {"k": 1}}]')
    assert cents.frame.collect().select("amount_usd", "meta").rows() == [("2.50", '{"k": "1"}')]
    assert loaded(tmp_path / "b.json", '[{"amount": "250", "x": "y"}]').columns == {"amount", "x"}
    assert loaded(tmp_path / "c.json", '[{"cost_type": "z", "x": "y"}]').columns == {"cost_type", "x"}


def test_empty_folder_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: no bill to read; name a file or a folder"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
def test_encodings_of_spreadsheets(focus: Write, encoding: str) -> None:
    path = focus({"BilledCost": "1.50", "EffectiveCost": "1.50", "ChargeDescription": "Gebühr"})
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    bill = bills.read(path)
    assert bill.groups.select("billed_usd", "description").rows() == [(Decimal("1.5"), "Gebühr")]


def test_lines_are_read_after_unpacking(cur: Write) -> None:
    """The charges are lazy, and need the unpacked file as long as the bill."""
    path = cur(HOUR)
    path.write_bytes(gzip.compress(path.read_bytes()))
    bill = bills.read(path)
    assert bill.charges.collect()["billed_usd"].sum() == 2
