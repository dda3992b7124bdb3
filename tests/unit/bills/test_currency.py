"""Bills in other currencies than the US dollar."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from meritorder import bills
from meritorder.errors import BillError

Write = Callable[..., Path]

EURO = {"BillingCurrency": "EUR", "BilledCost": "40", "EffectiveCost": "30", "ListCost": "50"}
IN_DOLLARS = {"x_BilledCostInUsd": "46", "x_EffectiveCostInUsd": "34.5", "x_ListCostInUsd": "57.5"}


def test_rate_converts_every_amount(focus: Write) -> None:
    bill = bills.read(focus(EURO, {"BilledCost": "7", "EffectiveCost": "7"}), rates={"eur": Decimal("1.25")})
    figures = bills.compute_figures(bill.groups)
    assert (figures.billed_usd, figures.amortised_usd) == (Decimal(57), Decimal("44.5"))
    assert bill.groups["list_usd"].sum() == Decimal("62.5")
    assert (bill.report.stated_usd, bill.report.currencies) == (Decimal(57), ("USD",))


def test_dollar_columns_are_preferred(focus: Write) -> None:
    figures = bills.compute_figures(bills.read(focus(EURO | IN_DOLLARS)).groups)
    assert (figures.billed_usd, figures.amortised_usd) == (Decimal(46), Decimal("34.5"))


def test_dollar_columns_serve_other_currencies_only(focus: Write) -> None:
    figures = bills.compute_figures(bills.read(focus({"BilledCost": "3", "EffectiveCost": "3"} | IN_DOLLARS)).groups)
    assert (figures.billed_usd, figures.amortised_usd) == (Decimal(3), Decimal(3))


def test_row_without_dollars_needs_a_rate(focus: Write) -> None:
    path = focus(EURO | IN_DOLLARS, EURO)
    with pytest.raises(BillError, match=r"EUR in 1 row, USD in 1 row; .*--rate EUR=RATE"):
        bills.read(path)
    assert bills.read(path, rates={"EUR": Decimal(2)}).report.billed_usd == Decimal(126)


def test_currency_without_rate_is_refused(focus: Write) -> None:
    with pytest.raises(BillError, match=r"the bill is in EUR, not in USD; give its rate, .*--rate EUR=RATE"):
        bills.read(focus(EURO), rates={"GBP": Decimal("1.3")})
