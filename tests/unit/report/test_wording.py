import pytest

from meritorder.records.evidence import Interval
from meritorder.report.wording import host, price_unit, saving_sentence, usd_cells, web_address


@pytest.mark.parametrize(
    ("source", "url", "name"),
    [
        ("https://www.runpod.io/pricing", "https://www.runpod.io/pricing", "runpod.io"),
        ("a list of 2026 (one GPU) <https://www.runpod.io/pricing>", "https://www.runpod.io/pricing", "runpod.io"),
        ("http://a.b:80/c?d=e#f", "http://a.b:80/c?d=e#f", "a.b"),
    ],
)
def test_web_address_is_found(source: str, url: str, name: str) -> None:
    address = web_address(source)
    assert address is not None
    assert address.geturl() == url
    assert host(address) == name


@pytest.mark.parametrize(
    "source",
    [
        "",
        "by hand",
        "javascript:alert(1)",
        "see <javascript:alert(1)>",
        "http://[",
        "<http://[>",
        "https://",
        "a <b> c",
    ],
)
def test_other_sources_are_not_linked(source: str) -> None:
    assert web_address(source) is None


@pytest.mark.parametrize(
    ("amounts", "cells"),
    [
        ([23425.92, 842.1], ("$23,426", "$842")),
        ([12.5, 3.0], ("$12.50", "$3.00")),
        ([0.000012, 0.5], ("$0.000012", "$0.500000")),
        ([3.1, 0.42], ("$3.100", "$0.420")),
        ([11.4816, 0.0433], ("$11.482", "$0.043")),
        ([2537.541, 0.323], ("$2,537.54", "$0.32")),
        ([None, 0.0], ("\N{EN DASH}", "$0.00")),
        ([float("nan"), 2.0], ("\N{EN DASH}", "$2.00")),
        ([], ()),
    ],
)
def test_dollar_column_shares_decimals(amounts: list[float | None], cells: tuple[str, ...]) -> None:
    assert usd_cells(amounts) == cells


@pytest.mark.parametrize(("unit", "written"), [("USD an hour", "an hour"), ("hour", "/ hour")])
def test_price_reads_as_a_price(unit: str, written: str) -> None:
    assert price_unit(unit) == written


@pytest.mark.parametrize(
    ("high", "shares"), [(0.504, "about 50 %, with steps"), (0.6, "between 50 % and 60 %, with steps")]
)
def test_interval_of_one_share(high: float, shares: str) -> None:
    interval = Interval(low=0.496, high=high, basis="steps")
    assert saving_sentence(2.0, 0.5, interval, "real time") == f"Saves $2.00, 50 % of real time: {shares}."
