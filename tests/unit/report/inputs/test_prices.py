"""The price list as a table and as data."""

import datetime as dt
import io
import json
import re
from collections.abc import Sequence

import pytest
from rich.console import Console

from meritorder.catalog import Rejection, load
from meritorder.catalog.tokens import api_prices, token_prices
from meritorder.domain import PricingModel
from meritorder.offers import Offer, TokenPrice
from meritorder.report.inputs.prices import to_dict, to_table

CATALOG = load()
TODAY = dt.date(2026, 11, 30)


def text(
    offers: Sequence[Offer] = (),
    tokens: Sequence[TokenPrice] = (),
    rejected: Sequence[Rejection] = (),
    *,
    limit: int | None = None,
    width: int = 200,
) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(to_table(offers, tokens, rejected, today=TODAY, limit=limit, width=width))
    return console.export_text()


def test_offers_show_price_date_and_source() -> None:
    shown = text(CATALOG.select_offers("h200", "aws", "us-east-1"))
    assert "p5en.48xlarge" in shown
    assert "$63.30" in shown
    assert "2026-07-28" in shown
    assert "https://pricing.us-east-1.amazonaws.com" in shown
    assert re.search(r"spot .* 2\.5 % ", shown)


@pytest.mark.parametrize("width", [50, 80, 180])
def test_machine_name_never_vanishes(width: int) -> None:
    offers = CATALOG.select_offers("h100")
    shown = text(offers, width=width)
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())
    words = set(shown.split())
    assert {word for offer in offers for word in offer.instance.split()} <= words
    assert ("Columns not shown" in shown) == (width < 180)


def test_model_name_never_vanishes() -> None:
    shown = text(tokens=api_prices("gpt-4.1-mini"), width=60)
    assert "gpt-4.1-mini" in shown
    assert "Columns not shown" in shown


def test_limit_states_the_rest() -> None:
    offers = CATALOG.select_offers("h100", pricing_model=PricingModel.ON_DEMAND)
    assert f"and {len(offers) - 3} more" in text(offers, limit=3)


def test_tokens_show_tiers_and_steps() -> None:
    shown = text((), api_prices("gemini-2.5-pro"))
    assert "batch" in shown
    assert "above 200,000 tokens" in shown


def test_rejected_rows_show_reasons() -> None:
    rejection = Rejection(what="acme big east (spot)", usd_per_hour=None, reason="spot saves nothing", source="test")
    assert "spot saves nothing" in text((), (), [rejection])


def test_empty_list_is_stated() -> None:
    assert "no price matches these filters" in text()


def test_json_has_source_and_date() -> None:
    model = CATALOG.find_model("gpt-oss-20b")
    data = json.loads(
        json.dumps(to_dict(CATALOG.select_offers("b200"), token_prices(model), CATALOG.rejected, today=TODAY))
    )
    assert data["schema"] == "meritorder.prices/1"
    assert all(row["source"] and row["as_of"] for row in (*data["offers"], *data["tokens"]))
    assert data["offers"][0]["usd_per_gpu_hour"] * data["offers"][0]["gpus"] == data["offers"][0]["usd_per_hour"]
    assert {row["tier"] for row in data["tokens"]} >= {"standard", "batch"}


def test_old_prices_are_counted() -> None:
    """H100 offers of two dates: 2026-08-31 is 91 days before the day of the test, 2026-09-01 is 90."""
    old, new = (
        Offer(
            provider="acme",
            region="",
            instance=as_of,
            hardware="h100",
            gpus=1,
            pricing_model=PricingModel.ON_DEMAND,
            usd_per_hour=2.0,
            as_of=as_of,
            source="list",
        )
        for as_of in ("2026-08-31", "2026-09-01")
    )
    assert "1 of 2 prices listed is older than 90 days" in text([old, new])
    assert "older than" not in text([new])
    data = to_dict([old, new], today=TODAY)
    assert [row["age_days"] for row in data["offers"]] == [91, 90]
    assert len(data["warnings"]) == 1


def test_no_cell_is_cut() -> None:
    """Columns are shown only if they fit with the blanks between them, at any width."""
    offers = CATALOG.select_offers("h100", "coreweave")
    assert offers
    assert not [width for width in range(70, 180) if "…" in text(offers, width=width)]
