"""What models cost as tokens, by the price list in the library `genai-prices`; nothing is fetched.

Two traps are closed here. A tier that a model does not have silently gets the standard price there: a tier
is given only where the list has a variant for exactly that tier which sets a price. And its matching is
generous (`starts_with`): a name counts here only if it is written out in the list, or is such a name with a
date.
"""

import datetime as dt
import difflib
import functools
import importlib.metadata
import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meritorder.catalog.lookup import plain
from meritorder.catalog.sanity import Refusal
from meritorder.domain import LongPrompt, Model, Tier, TokenPrice
from meritorder.errors import CatalogError
from meritorder.units import TOKENS_PER_MTOK

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider
    from genai_prices.types import Tier as PromptStep

TIERS: Final = (Tier.STANDARD, Tier.BATCH, Tier.FLEX, Tier.PRIORITY)
_WHEN: Final = {
    Tier.BATCH: {"processing": "batch"},
    Tier.FLEX: {"service_tier": "flex"},
    Tier.PRIORITY: {"service_tier": "priority"},
}
# OpenRouter's prices are read by the library's own robot: the newest of them dates the snapshot.
_DATED_BY: Final = "openrouter"
_BATCH_SUFFIX: Final = ":batch"
_FREE_SUFFIX: Final = ":free"
_DATE_SUFFIX: Final = re.compile(r"(-latest|-\d{4}-\d{2}-\d{2}|[-@]20\d{6})$")


def token_prices(
    model: Model, *, tiers: Collection[Tier] = TIERS, providers: Collection[str] | None = None
) -> tuple[TokenPrice, ...]:
    """Return what providers ask for this very model, cheapest first.

    A provider's name of the model must be one of the model's own (`models.toml`): another size, date or
    fine-tune is another model. See `left_out` for what was not taken.

    Args:
        model: A model of the catalog.
        tiers: Tiers wanted.
        providers: Providers wanted, by the library's id; None for all.
    """
    found = [
        price
        for provider, info in _endpoints(model, providers)
        if _why_not(provider, info) is None
        for price in _prices(provider, info, model.id)
        if price.tier in tiers
    ]
    return tuple(sorted(found, key=lambda price: (_typical(price), price.provider, price.provider_model)))


def left_out(model: Model, *, providers: Collection[str] | None = None) -> tuple[Refusal, ...]:
    """Return the entries for this model that are no price: free endpoints, prices copied from elsewhere."""
    return tuple(
        Refusal(what=f"{provider.id} {info.id}", usd_per_hour=None, reason=reason, source=_source(provider))
        for provider, info in _endpoints(model, providers)
        if (reason := _why_not(provider, info)) is not None
    )


def api_prices(name: str) -> tuple[TokenPrice, ...]:
    """Return the prices of a model by a provider's name of it, standard tier first, to price API traffic.

    Args:
        name: `gpt-4o`, `claude-sonnet-4-5-20250929`, or with a provider before it, `azure/gpt-4o`.

    Raises:
        CatalogError: No provider has a model of this name at a price; names those that come close.
    """
    prefix, _, rest = name.strip().lower().partition("/")
    for provider in _list():
        named = rest if rest and prefix == provider.id else name.strip().lower()
        if named == rest or (provider.model_match is not None and provider.model_match.is_match(named)):
            for info in provider.models:
                if _is_called(info, named) and _why_not(provider, info) is None:
                    return tuple(_prices(provider, info, info.id))
    names = sorted({info.id.lower() for provider in _list() if provider.model_match for info in provider.models})
    close = difflib.get_close_matches(rest or prefix, names, n=5)
    hint = f"close to it: {', '.join(close)}" if close else "write it as the provider does, or as provider/model"
    raise CatalogError(f"no token price for {name!r} in {_package()}", where="prices", fix=hint)


def cost_usd(
    price: TokenPrice, input_tokens: ArrayLike, cached_tokens: ArrayLike, output_tokens: ArrayLike
) -> NDArray[np.float64]:
    """Return what requests cost: `(input - cached) * p_in + cached * p_cached + output * p_out`.

    The prices are those that hold at the length of each request's prompt.

    Args:
        price: Price of the model.
        input_tokens: Prompt tokens, those read from cache included; any shape.
        cached_tokens: Prompt tokens read from cache, same shape.
        output_tokens: Generated tokens, same shape.
    """
    prompt, cached, output = (np.asarray(tokens, np.float64) for tokens in (input_tokens, cached_tokens, output_tokens))
    rates = np.broadcast_to(_rates(price), (*prompt.shape, 3))
    for longer in price.long_prompts:
        rates = np.where((prompt > longer.above_tokens)[..., None], _rates(longer), rates)
    usd = (prompt - cached) * rates[..., 0] + cached * rates[..., 1] + output * rates[..., 2]
    return np.asarray(usd / TOKENS_PER_MTOK)


@functools.cache
def snapshot_date() -> dt.date:
    """Return the date of the price list."""
    return max(
        start for provider in _list() if provider.id == _DATED_BY for info in provider.models for start in _starts(info)
    )


@functools.cache
def _list() -> "tuple[Provider, ...]":
    # Reading the list takes a second, and most commands need none of it.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    return tuple(get_snapshot().providers)


def _package() -> str:
    return f"genai-prices {importlib.metadata.version('genai-prices')}"


def _source(provider: "Provider") -> str:
    url = provider.pricing_urls[0] if provider.pricing_urls else provider.api_pattern
    return f"{url} in {_package()}"


def _endpoints(model: Model, providers: Collection[str] | None) -> "Iterator[tuple[Provider, ModelInfo]]":
    """Yield every entry that is named as this model is, an OpenRouter suffix aside."""
    names = {model.id, plain(model.hf_id), *model.aliases}
    for provider in _list():
        if providers is not None and provider.id not in providers:
            continue
        for info in provider.models:
            name = plain(info.id)
            if {name, name.removesuffix(_FREE_SUFFIX), name.removesuffix(_BATCH_SUFFIX)} & names:
                yield provider, info


def _why_not(provider: "Provider", info: "ModelInfo") -> str | None:
    """Say why an entry is not to be used, None if it is."""
    if info.id.endswith(_FREE_SUFFIX):
        return "a free endpoint, with limits and without a promise"
    if provider.id == _DATED_BY and "/" not in info.id:
        return "a name that OpenRouter no longer uses"
    if (info.price_comments or "").startswith("Imported from"):
        return f"not the provider's own price: {info.price_comments}"
    standard = _at(info, None)
    if not _base(standard, "input_mtok") or not _base(standard, "output_mtok"):
        return "no price for input and output tokens"
    return None


def _prices(provider: "Provider", info: "ModelInfo", model: str) -> Iterator[TokenPrice]:
    if info.id.endswith(_BATCH_SUFFIX):
        yield _price(provider, info, model, Tier.BATCH, None)
        return
    yield _price(provider, info, model, Tier.STANDARD, None)
    for tier, when in _WHEN.items():
        if _has_tier(info, when):
            yield _price(provider, info, model, tier, when)


def _has_tier(info: "ModelInfo", when: dict[str, str]) -> bool:
    """Tell whether the list has this very tier today, with a price of its own."""
    return any(
        variant.when == when
        and (variant.constraint is None or variant.constraint.active(_noon()))
        and (_base(variant.prices, "input_mtok") or _base(variant.prices, "output_mtok"))
        for variant in info.price_variants or ()
    )


def _price(provider: "Provider", info: "ModelInfo", model: str, tier: Tier, when: dict[str, str] | None) -> TokenPrice:
    prices = _at(info, when)
    inputs, cached, outputs = _triple(prices, 0)
    thresholds = sorted(
        {
            step.start
            for key in ("input_mtok", "cache_read_mtok", "output_mtok")
            for step in _steps(getattr(prices, key))
        }
    )
    longer = []
    for start in thresholds:
        long_input, long_cached, long_output = _triple(prices, start + 1)
        longer.append(
            LongPrompt(
                above_tokens=start,
                input_usd_per_mtok=long_input,
                cached_usd_per_mtok=long_cached,
                output_usd_per_mtok=long_output,
            )
        )
    return TokenPrice(
        provider=provider.id,
        model=model,
        provider_model=info.id,
        tier=tier,
        input_usd_per_mtok=inputs,
        cached_usd_per_mtok=cached,
        output_usd_per_mtok=outputs,
        as_of=snapshot_date().isoformat(),
        source=_source(provider),
        long_prompts=tuple(longer),
        note=_note(info),
    )


def _note(info: "ModelInfo") -> str:
    notes = ["deprecated by the provider"] if info.deprecated else []
    past = [start for start in _starts(info) if start <= snapshot_date()]
    future = [start for start in _starts(info) if start > snapshot_date()]
    if past:
        notes.append(f"since {max(past)}")
    if future:
        notes.append(f"another price from {min(future)}")
    if any(hasattr(step.constraint, "start_time") for step in _in_turn(info)):
        notes.append("price at 12:00 UTC; another holds at other hours")
    return "; ".join(notes)


def _in_turn(info: "ModelInfo") -> "list[ConditionalPrice]":
    """Return the prices that hold at different dates or hours, none where one holds always."""
    return info.prices if isinstance(info.prices, list) else []


def _starts(info: "ModelInfo") -> list[dt.date]:
    starts = (getattr(step.constraint, "start_date", None) for step in _in_turn(info))
    return [start for start in starts if start is not None]


def _noon() -> dt.datetime:
    return dt.datetime.combine(snapshot_date(), dt.time(12), dt.UTC)


def _at(info: "ModelInfo", when: dict[str, str] | None) -> "ModelPrice":
    return info.get_prices(_noon(), when)


def _triple(prices: "ModelPrice", prompt_tokens: int) -> tuple[float, float, float]:
    """Return input, cached and output price per million tokens for a prompt of this length."""
    inputs = _base(prices, "input_mtok", prompt_tokens)
    cached = inputs if prices.cache_read_mtok is None else _base(prices, "cache_read_mtok", prompt_tokens)
    return inputs, cached, _base(prices, "output_mtok", prompt_tokens)


def _base(prices: "ModelPrice", key: str, prompt_tokens: int = 0) -> float:
    """Return one price at a prompt length, 0 where there is none."""
    value = getattr(prices, key)
    if value is None:
        return 0.0
    reached = [step.price for step in _steps(value) if prompt_tokens > step.start]
    return float(reached[-1] if reached else getattr(value, "base", value))


def _steps(value: object) -> "Sequence[PromptStep]":
    steps: Sequence[PromptStep] = getattr(value, "tiers", ())
    return steps


def _rates(price: TokenPrice | LongPrompt) -> NDArray[np.float64]:
    return np.array([price.input_usd_per_mtok, price.cached_usd_per_mtok, price.output_usd_per_mtok])


def _typical(price: TokenPrice) -> float:
    """Return the price of three input tokens and one output token, the proportion of price indices."""
    return 3 * price.input_usd_per_mtok + price.output_usd_per_mtok


def _is_called(info: "ModelInfo", name: str) -> bool:
    """Tell whether the list writes this name out for the model, or writes it without its date."""
    written = {info.id.lower(), *_written(info.match)}
    return info.is_match(name) and (name in written or _DATE_SUFFIX.sub("", name) in written)


def _written(clause: object) -> Iterator[str]:
    for part in (*getattr(clause, "or_", ()), *getattr(clause, "and_", ())):
        yield from _written(part)
    for kind in ("equals", "starts_with"):
        if hasattr(clause, kind):
            yield getattr(clause, kind).lower()
