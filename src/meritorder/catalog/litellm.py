"""LiteLLM's price map: `model_prices_and_context_window.json`, or a part of it with prices of one's own.

Source: https://docs.litellm.ai/docs/proxy/custom_pricing and github.com/BerriAI/litellm, read 2026-11.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from meritorder.catalog.sanity import Rejection
from meritorder.domain import Tier
from meritorder.offers import TokenPrice
from meritorder.units import TOKENS_PER_MTOK

_SUFFIXES: Final = {Tier.STANDARD: "", Tier.BATCH: "_batches", Tier.FLEX: "_flex", Tier.PRIORITY: "_priority"}
_INPUT: Final = "input_cost_per_token"
_GENERATES: Final = ("chat", "completion", "responses")
_EXAMPLE: Final = "sample_spec"


def entries(content: bytes) -> dict[str, dict[str, Any]]:
    """Return the models of a price map with their prices; empty if this is none."""
    try:
        listed = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return {}
    models = {name: about for name, about in listed.items() if isinstance(about, dict) and name != _EXAMPLE}
    return models if any(_INPUT in about for about in models.values()) else {}


def read(models: dict[str, dict[str, Any]], name: str, as_of: str) -> tuple[list[TokenPrice], list[Rejection]]:
    """Return the prices of the models that generate text, and the entries whose prices are no numbers.

    Args:
        models: Models with their prices, by LiteLLM's name.
        name: Name of the file.
        as_of: Its date.
    """
    prices: list[TokenPrice] = []
    rejected: list[Rejection] = []
    for model, about in models.items():
        if about.get("mode", _GENERATES[0]) not in _GENERATES:
            continue
        try:
            prices += _prices(model, about, name, as_of)
        except (TypeError, ValueError):
            reason = "its prices must be numbers of dollars per token, not negative"
            rejected.append(Rejection(what=f"{name}, {model}", usd_per_hour=None, reason=reason, source=name))
    return prices, rejected


def _prices(model: str, about: dict[str, Any], name: str, as_of: str) -> Iterator[TokenPrice]:
    prefix, _, rest = model.partition("/")
    provider = str(about.get("litellm_provider") or (prefix if rest else "litellm"))
    for tier, suffix in _SUFFIXES.items():
        prompt, answer = about.get(f"{_INPUT}{suffix}"), about.get(f"output_cost_per_token{suffix}")
        if prompt is None or answer is None:
            continue
        cached = about.get(f"cache_read_input_token_cost{suffix}", prompt)
        usd = [float(price) * TOKENS_PER_MTOK for price in (prompt, cached, answer)]
        if not all(0 <= price < TOKENS_PER_MTOK for price in usd):
            raise ValueError(model)
        yield TokenPrice(
            provider=provider,
            model=rest or model,
            provider_model=rest if rest and prefix == provider else model,
            tier=tier,
            input_usd_per_mtok=usd[0],
            cached_usd_per_mtok=usd[1],
            output_usd_per_mtok=usd[2],
            as_of=as_of,
            source=name,
        )
