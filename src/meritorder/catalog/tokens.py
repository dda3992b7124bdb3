"""Token prices of models, from the price list in the library `genai-prices`; nothing is fetched.

The library returns the standard price for a tier that a model does not have: here a tier exists only if the list has a
variant for exactly that tier with a price. The library also matches names by prefix (`starts_with`): here a name counts
only if the list spells it out, or spells it out without its date.
"""

import datetime as dt
import difflib
import functools
import importlib.metadata
import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from meritorder.catalog.lookup import Catalog, plain
from meritorder.catalog.sanity import Rejection
from meritorder.domain import LongPrompt, Model, Tier, TokenPrice
from meritorder.errors import CatalogError
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, TOKENS_PER_MTOK

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider
    from genai_prices.types import Tier as PromptStep

TIERS: Final = (Tier.STANDARD, Tier.BATCH, Tier.FLEX, Tier.PRIORITY)
_WHEN: Final = {
    Tier.BATCH: {"processing": "batch"},
    Tier.FLEX: {"service_tier": "flex"},
    Tier.PRIORITY: {"service_tier": "priority"},
}
# The library collects OpenRouter's prices automatically: the newest of them dates the snapshot.
_DATED_BY: Final = "openrouter"
_BATCH_SUFFIX: Final = ":batch"
_FREE_SUFFIX: Final = ":free"
# Turnaround of the batch tiers of OpenAI, Anthropic and Google (24 h), 2026; assumed of providers that state none.
_BATCH_TURNAROUND_S: Final = SECONDS_PER_DAY
_DATE_SUFFIX: Final = re.compile(r"(-latest|-\d{4}-\d{2}-\d{2}|[-@]20\d{6})$")


class BatchTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The batch tier of a provider, as a share of its standard tier.

    Args:
        provider: Provider, as bills name it.
        share: Batch price / standard price.
        token_types: Token types with this share.
        turnaround_h: Hours within which a batch completes.
        note: The provider's conditions.
        source: URL of the statement.
        as_of: Date on which it was read.
    """

    provider: str
    share: float
    token_types: tuple[str, ...]
    turnaround_h: float
    note: str
    source: str
    as_of: str


class _Tiers(msgspec.Struct, frozen=True):
    batch: tuple[BatchTier, ...]


def token_prices(
    model: Model, *, tiers: Collection[Tier] = TIERS, providers: Collection[str] | None = None
) -> tuple[TokenPrice, ...]:
    """Return the prices of a model at all providers, cheapest first.

    A provider's name of the model must be one of the names in `models.toml`: another size, date or fine-tune is another
    model. See `rejected_prices` for the entries that do not count.

    Args:
        model: A model of the catalog.
        tiers: Only these tiers.
        providers: Only these providers, by the library's id; None for all.
    """
    found = [
        price
        for provider, info in _endpoints(model, providers)
        if _rejection(provider, info) is None
        for price in _prices(provider, info, model.id)
        if price.tier in tiers
    ]
    return tuple(sorted(found, key=lambda price: (_typical(price), price.provider, price.provider_model)))


def rejected_prices(model: Model, *, providers: Collection[str] | None = None) -> tuple[Rejection, ...]:
    """Return the entries of a model that do not count: free endpoints, prices copied from another list."""
    return tuple(
        Rejection(what=f"{provider.id} {info.id}", usd_per_hour=None, reason=reason, source=_source(provider))
        for provider, info in _endpoints(model, providers)
        if (reason := _rejection(provider, info)) is not None
    )


def api_prices(name: str) -> tuple[TokenPrice, ...]:
    """Return the prices of a model under a provider's name for it, standard tier first, to price API traffic.

    Args:
        name: `gpt-4o`, `claude-sonnet-4-5-20250929`, or with its provider, `azure/gpt-4o`.

    Raises:
        CatalogError: No provider has a price for a model of this name; suggests similar names.
    """
    prefix, _, rest = name.strip().lower().partition("/")
    for provider in _list():
        named = rest if rest and prefix == provider.id else name.strip().lower()
        if named == rest or (provider.model_match is not None and provider.model_match.is_match(named)):
            for info in provider.models:
                if _is_named(info, named) and _rejection(provider, info) is None:
                    return tuple(_prices(provider, info, info.id))
    close = _similar(rest or prefix)
    hint = f"similar: {', '.join(close)}" if close else "write it as the provider does, or as provider/model"
    raise CatalogError(f"no token price for {name!r} in {_package()}", where="prices", fix=hint)


def find_model_or_prices(catalog: Catalog, name: str) -> tuple[Model | None, tuple[TokenPrice, ...]]:
    """Return a model of the catalog, None if it is only sold as tokens, and its token prices, cheapest first.

    Args:
        catalog: Models whose weights can be served.
        name: Any name of the model; with a provider before it (`openai/gpt-4.1-mini`), only that provider's prices.

    Raises:
        CatalogError: Neither the catalog nor the price list has the model; suggests similar names of both.
    """
    try:
        model = catalog.find_model(name)
    except CatalogError as unknown:
        sold = _sold(name)
        if sold:
            return None, sold
        close = _similar(_loose(name))
        hint = f"; sold as tokens: {', '.join(close)}" if close else ""
        raise CatalogError(unknown.what, where=unknown.where, fix=f"{unknown.fix}{hint}") from None
    return model, token_prices(model)


def _sold(name: str) -> tuple[TokenPrice, ...]:
    """Return the prices of a model at every provider that lists it, cheapest first."""
    prefix, _, rest = name.strip().lower().partition("/")
    only = prefix if rest and any(provider.id == prefix for provider in _list()) else None
    wanted = _loose(name)
    prices = [
        price
        for provider in _list()
        if only is None or provider.id == only
        for info in provider.models
        if wanted == _loose(info.id.removesuffix(_BATCH_SUFFIX)) or _is_named(info, rest if only else name.lower())
        if _rejection(provider, info) is None
        for price in _prices(provider, info, wanted)
    ]
    return tuple(sorted(prices, key=lambda price: (_typical(price), price.provider, price.provider_model)))


def _loose(name: str) -> str:
    """Normalize a name as providers differ in writing it: without a date, "." as "-"."""
    return _DATE_SUFFIX.sub("", plain(name)).replace(".", "-")


def _similar(name: str) -> list[str]:
    names = sorted({info.id.lower() for provider in _list() if provider.model_match for info in provider.models})
    return difflib.get_close_matches(name, names, n=5)


def cost_usd(
    price: TokenPrice, input_tokens: ArrayLike, cached_tokens: ArrayLike, output_tokens: ArrayLike
) -> NDArray[np.float64]:
    """Return the cost of requests: `(input - cached) * p_in + cached * p_cached + output * p_out`.

    The prices of each request are those for the length of its prompt.

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


def batch_tier(provider: str) -> BatchTier | None:
    """Return the batch tier that a provider states for all its models, else None."""
    return next((tier for tier in _tiers() if tier.provider == provider), None)


def turnaround_s(price: TokenPrice) -> float:
    """Return the time within which a provider promises the answers of a tier; 0 if it answers at once."""
    if price.tier is not Tier.BATCH:
        return 0.0
    stated = batch_tier(price.provider)
    return _BATCH_TURNAROUND_S if stated is None else stated.turnaround_h * SECONDS_PER_HOUR


@functools.cache
def _tiers() -> tuple[BatchTier, ...]:
    text = files("meritorder.catalog").joinpath("data/batch_tiers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Tiers).batch


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
    """Yield every entry under a name of this model, ignoring suffixes of OpenRouter."""
    names = {model.id, plain(model.hf_id), *model.aliases}
    for provider in _list():
        if providers is not None and provider.id not in providers:
            continue
        for info in provider.models:
            name = plain(info.id)
            if {name, name.removesuffix(_FREE_SUFFIX), name.removesuffix(_BATCH_SUFFIX)} & names:
                yield provider, info


def _rejection(provider: "Provider", info: "ModelInfo") -> str | None:
    """Return why an entry does not count, None if it does."""
    if info.id.endswith(_FREE_SUFFIX):
        return "a free endpoint, rate-limited and without guarantees"
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
    """Whether the list has exactly this tier today, with a price of its own."""
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
    if any(hasattr(step.constraint, "start_time") for step in _dated_prices(info)):
        notes.append("price at 12:00 UTC; another applies at other hours")
    return "; ".join(notes)


def _dated_prices(info: "ModelInfo") -> "list[ConditionalPrice]":
    """Return the prices for different dates or hours, empty if one price always applies."""
    return info.prices if isinstance(info.prices, list) else []


def _starts(info: "ModelInfo") -> list[dt.date]:
    starts = (getattr(step.constraint, "start_date", None) for step in _dated_prices(info))
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
    """Return one price at a prompt length, 0 without a price."""
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
    """Return the price of three input tokens and one output token, the mix that price indices use."""
    return 3 * price.input_usd_per_mtok + price.output_usd_per_mtok


def _is_named(info: "ModelInfo", name: str) -> bool:
    """Whether the list spells out this name for the model, or spells it out without its date."""
    written = {info.id.lower(), *_written(info.match)}
    return info.is_match(name) and (name in written or _DATE_SUFFIX.sub("", name) in written)


def _written(clause: object) -> Iterator[str]:
    for part in (*getattr(clause, "or_", ()), *getattr(clause, "and_", ())):
        yield from _written(part)
    for kind in ("equals", "starts_with"):
        if hasattr(clause, kind):
            yield getattr(clause, kind).lower()
