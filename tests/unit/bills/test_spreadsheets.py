"""Bills as spreadsheets save them: the same amounts and times as in the original."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.errors import BillError

Write = Callable[..., Path]
AMOUNTS = ("BilledCost", "EffectiveCost", "ListCost", "ConsumedQuantity")
HOURS = ({"BilledCost": "1098.32", "ConsumedQuantity": "1440"}, {"BilledCost": "98.5", "ConsumedQuantity": "720"})


def hours(focus: Write) -> tuple[Path, pl.DataFrame]:
    path = focus(*({"EffectiveCost": hour["BilledCost"], "ListCost": hour["BilledCost"]} | hour for hour in HOURS))
    return path, pl.read_csv(path, infer_schema=False)


def german(text: str) -> str:
    return f"{float(text):,.2f}".translate(str.maketrans(",.", ".,"))


@pytest.mark.parametrize("write", [lambda text: f"{float(text):,.2f}", german, lambda text: f"${float(text):,}"])
def test_amounts_of_spreadsheets(focus: Write, write: Callable[[str], str]) -> None:
    path, frame = hours(focus)
    columns = [pl.col(name).map_elements(write, return_dtype=pl.String) for name in AMOUNTS]
    frame.with_columns(columns).write_csv(path, separator=";")
    bill = bills.read(path)
    assert bill.report.billed_usd == Decimal("1196.82")
    assert bill.groups["quantity"].sum() == 2160
    assert not bill.report.refusals


def test_mixed_amounts_are_refused(focus: Write) -> None:
    path, frame = hours(focus)
    frame.with_columns(BilledCost=pl.Series(["1.098,32", "98.5"])).write_csv(path)
    with pytest.raises(
        BillError, match=r"column BilledCost: numbers are written in two ways, as '98.5' and '1.098,32'"
    ):
        bills.read(path)


@pytest.mark.parametrize(
    ("form", "order"), [("%-m/%-d/%Y %-H:%M", "month/day"), ("%d/%m/%Y %H:%M", "day/month"), ("%d.%m.%Y %H:%M:%S", "")]
)
def test_dates_of_spreadsheets(focus: Write, form: str, order: str) -> None:
    """The month of a billing period reads both ways; the days of its charges decide for all columns."""
    path, frame = hours(focus)
    expected = bills.read(path)
    times = [name for name in frame.columns if name.endswith(("Start", "End"))]
    later = frame.with_columns(
        pl.col("ChargePeriodStart", "ChargePeriodEnd").str.replace("-0.T", "-23T"),
    )
    later.write_csv(path)
    expected = bills.read(path)
    parsed = later.with_columns(pl.col(times).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False))
    parsed.with_columns(pl.col(times).dt.strftime(form)).write_csv(path)
    bill = bills.read(path)
    for name in ("first", "last", "billing_start", "billing_end"):
        assert bill.groups[name].to_list() == expected.groups[name].to_list()
    assert order in " ".join(assumption.text for assumption in bill.report.assumptions)


def test_token_counts_of_spreadsheets(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    header = "start_time,end_time,num_model_requests,input_tokens,input_cached_tokens,output_tokens,model\n"
    path.write_text(header + '1790812800,1790899200,"1,000","20,000","12,000","4,000",gpt-4.1\n')
    groups = bills.read(path).groups
    assert dict(groups.select("token_type", "quantity").iter_rows()) == {
        "input": 8000,
        "cached_input": 12000,
        "output": 4000,
    }


def test_far_dates_are_refused(focus: Write) -> None:
    path, frame = hours(focus)
    frame.with_columns(ChargePeriodStart=pl.lit("9999-12-31T00:00:00Z")).write_csv(path)
    with pytest.raises(BillError, match="no readable time"):
        bills.read(path)


def test_late_thousands_are_read(focus: Write) -> None:
    """The first thousand rows have no separator, and the amounts of none: only the quantities of the last row do."""
    path, frame = hours(focus)
    plain = frame.head(1).with_columns(BilledCost=pl.lit("1"), ConsumedQuantity=pl.lit("10"))
    machines = [plain.with_columns(ResourceId=pl.lit(f"vm-{number}")) for number in range(1200)]
    pl.concat([*machines, plain.with_columns(ConsumedQuantity=pl.lit("1,440.5"))]).write_csv(path)
    assert bills.read(path).groups["quantity"].sum() == 1200 * 10 + 1440.5
