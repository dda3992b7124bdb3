"""Tokens that could wait: by the bill's batch price, the price list, or the provider's rule."""

from itertools import chain

import pytest
from tests.samples.charges import line, tokens
from tests.unit.study.audit.conftest import DEFERRABLE, MONTH, WEEKS, Audited, only


def test_batch_price_is_the_bills_own(audited: Audited) -> None:
    answer = audited(
        chain(
            tokens(MONTH, usd=3.0, thousands=1000, tags=DEFERRABLE),
            tokens(MONTH, usd=1.2, thousands=1000, batch=True, tags=DEFERRABLE),
            tokens(MONTH, usd=3.0, thousands=1000, tags={"latency_class": "interactive"}),
        )
    )
    found = only(answer, "tokens_could_wait")
    assert found.usd == pytest.approx(WEEKS * 1.8)
    assert found.confidence == "high"
    assert any("could have waited" in missing.question for missing in answer.missing_inputs)


def test_provider_rule_without_batch_in_bill(audited: Audited) -> None:
    found = only(audited(tokens(MONTH, usd=3.0, thousands=1000, tags=DEFERRABLE)), "tokens_could_wait")
    assert found.usd == pytest.approx(WEEKS * 1.5)
    assert found.confidence == "medium"


def test_separate_discounts_lower_savings(audited: Audited) -> None:
    rows = list(tokens(MONTH, usd=3.0, thousands=1000, tags=DEFERRABLE))
    discount = line(
        "EdpDiscount", 0, -0.2 * 3 * WEEKS, line_item_product_code="AmazonBedrock", line_item_usage_type="x"
    )
    found = only(audited([*rows, discount]), "tokens_could_wait")
    assert found.usd == pytest.approx(WEEKS * 1.5 * 0.8)
