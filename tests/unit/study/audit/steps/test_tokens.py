"""Tokens that could wait: by the bill's batch price, the price list, or the provider's rule."""

from dataclasses import replace
from itertools import chain

import pytest
from tests.samples import audits as samples
from tests.samples.charges import line, tokens
from tests.unit.study.audit.conftest import DEFERRABLE, MONTH, WEEKS, Audited, only

from meritorder.study.audit.ledger import TokenPurchase
from meritorder.study.audit.steps.tokens import find_tokens_for_batch, untagged_usd


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


def purchase(**more: object) -> TokenPurchase:
    plain = TokenPurchase(
        provider="openai",
        model="gpt-4o",
        token_type="input",  # noqa: S106 - a kind of token
        tier="standard",
        unit="tokens",
        may_wait=True,
        quantity=100.0,
        usd=50.0,
        batch_usd_per_unit=None,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def saving(*purchases: TokenPurchase) -> tuple[float, str]:
    """Return the dollars found and their confidence; 0 and "" if none are."""
    paid = samples.ledger(tokens=purchases)
    left, found = find_tokens_for_batch(paid, samples.context())
    assert paid.usd - left.usd == pytest.approx(sum(finding.usd for finding in found))
    return (found[0].usd, found[0].confidence) if found else (0.0, "")


def test_own_batch_price_is_certain() -> None:
    """100 units at 0.2 cost 20 instead of 50."""
    assert saving(purchase(batch_usd_per_unit=0.2)) == (pytest.approx(30.0), "high")


def test_own_batch_price_never_costs_more() -> None:
    assert saving(purchase(batch_usd_per_unit=0.6)) == (0.0, "")


def test_price_list_has_the_batch_share() -> None:
    """OpenAI's batch tier costs half; from another seller the price list is less certain."""
    assert saving(purchase()) == (pytest.approx(25.0), "high")
    assert saving(purchase(provider="azure")) == (pytest.approx(25.0), "medium")
    assert saving(purchase(model="GPT 4o")) == (pytest.approx(25.0), "high")


def test_provider_rule_for_unknown_models() -> None:
    assert saving(purchase(provider="aws", model="Unknown")) == (pytest.approx(25.0), "medium")
    assert saving(purchase(provider="aws", model="Unknown", token_type="cached_input")) == (0.0, "")  # noqa: S106
    assert saving(purchase(provider="nobody", model="Unknown")) == (0.0, "")


@pytest.mark.parametrize(
    "change", [{"may_wait": False}, {"tier": "batch"}, {"tier": "flex"}, {"tier": "priority"}, {"usd": 0.01}]
)
def test_tokens_that_stay(change: dict[str, object]) -> None:
    assert saving(purchase(**change)) == (0.0, "")


def test_finding_sums_a_model() -> None:
    """Input and output of a model are one finding, as certain as its least certain part."""
    own = purchase(batch_usd_per_unit=0.2)
    listed = purchase(provider="openai", token_type="output", usd=20.0)  # noqa: S106
    assert saving(own, listed) == (pytest.approx(40.0), "high")
    left, found = find_tokens_for_batch(
        samples.ledger(tokens=[own, purchase(model="gpt-4o-mini"), purchase(may_wait=False)]), samples.context()
    )
    assert [finding.where for finding in found] == ["gpt-4o", "gpt-4o-mini"]
    assert [tokens.tier for tokens in left.tokens] == ["batch", "batch", "standard"]


def test_untagged_tokens_are_summed() -> None:
    bought = [purchase(may_wait=False), purchase(), purchase(may_wait=False, tier="batch")]
    assert untagged_usd(bought) == 50.0


def test_batch_price_by_any_quantity() -> None:
    """Half a unit at 60 costs 30 instead of 50; without a quantity the price list decides."""
    assert saving(purchase(quantity=0.5, batch_usd_per_unit=60.0)) == (pytest.approx(20.0), "high")
    assert saving(purchase(quantity=0.0, batch_usd_per_unit=60.0)) == (pytest.approx(25.0), "high")


def test_unknown_types_have_no_share() -> None:
    assert saving(purchase(token_type="audio")) == (0.0, "")  # noqa: S106


def test_models_without_name_are_the_providers() -> None:
    bought = [purchase(may_wait=False), purchase(provider="aws", model="")]
    left, (finding,) = find_tokens_for_batch(samples.ledger(tokens=bought), samples.context())
    assert finding.title.startswith("tokens of aws is bought at real-time prices")
    assert [tokens.usd for tokens in left.tokens] == [50.0, 25.0]
