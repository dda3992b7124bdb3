"""A model that is only sold as tokens: each tier at its list price, and what can wait at the cheapest one in time."""

from dataclasses import replace

import pytest

from meritorder.catalog import load
from meritorder.catalog.tokens import find_model_or_prices
from meritorder.errors import CatalogError
from meritorder.report.compare import html
from meritorder.study.compare.compare import compare
from meritorder.study.compare.token_only import compare_tokens
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces import Trace

OPTIONS = CompareOptions(model="gpt-4.1-mini")
# 600 requests of 300 to 306 input tokens and 40 output tokens, at $0.40
# and $1.60 a million; batch is half of it: https://developers.openai.com/api/docs/pricing, 2026-10.
INPUT = sum(300 + second % 7 for second in range(600))
STANDARD_USD = (INPUT * 0.40 + 600 * 40 * 1.60) / 1e6


def test_tiers_cost_their_list_price(small: Trace) -> None:
    answer = compare(small, OPTIONS)
    totals = {arrangement.name: arrangement.total_usd for arrangement in answer.arrangements}
    assert totals["api_standard"] == pytest.approx(STANDARD_USD)
    assert totals["api_batch"] == pytest.approx(STANDARD_USD / 2)
    assert totals["mix"] == pytest.approx(STANDARD_USD)
    assert (answer.hardware, answer.baseline, answer.best) == ("", "api_standard", "api_standard")


def test_waiting_buys_cheaper_tiers_in_time(small: Trace) -> None:
    day = compare(small, replace(OPTIONS, defer=("100%@24h",)))
    # Every one of them, whatever its arrival: a deadline of 24 h is no shorter than a turnaround of 24 h.
    assert day.saving_share == pytest.approx(0.5)
    assert day.best == "mix"
    hours = compare(small, replace(OPTIONS, defer=("100%@4h",)))
    assert hours.saving_usd == 0
    assert "no cheaper tier answers before their deadlines" in hours.sentence


def test_page_names_no_machine(small: Trace) -> None:
    page = html.render(compare(small, replace(OPTIONS, defer=("50%@24h",))))
    assert "gpt-4.1-mini as tokens" in page


def test_unsold_model_is_refused(small: Trace) -> None:
    _, prices = find_model_or_prices(load(), "gpt-4.1-mini")
    batch_only = [price for price in prices if price.tier == "batch"]
    with pytest.raises(CatalogError, match="in real time"):
        compare_tokens(small, "gpt-4.1-mini", batch_only, OPTIONS)
