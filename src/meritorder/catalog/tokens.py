"""Token prices of models: those of the library `genai-prices`, and of providers and tiers that it lacks.

A provider's name of a model counts only if it is spelled out: another size, date or fine-tune is another model.
"""

import csv
import difflib
import fnmatch
import functools
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import ArrayLike, NDArray

from meritorder.catalog.genai import (
    BATCH_SUFFIX,
    DATE_SUFFIX,
    FREE_SUFFIX,
    is_named,
    list_in_use,
    package,
    price_list,
    prices_of,
    rejection,
    source,
)
from meritorder.catalog.lookup import Catalog, plain
from meritorder.catalog.sanity import Rejection
from meritorder.domain import Model, Tier
from meritorder.errors import CatalogError
from meritorder.offers import LongPrompt, TokenPrice
from meritorder.records.tokenapi import TokenApi
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, TOKENS_PER_MTOK

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

TIERS: Final = (Tier.STANDARD, Tier.BATCH, Tier.FLEX, Tier.PRIORITY)
_SERVICE_SUFFIX: Final = "-maas"  # Vertex AI adds it to the names of open models.
# Turnaround of the batch tiers of OpenAI, Anthropic and Google (24 h), 2026; assumed of providers that state none.
_BATCH_TURNAROUND_S: Final = SECONDS_PER_DAY


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


class ApiAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a provider answers.

    Args:
        provider: Provider, as the price list names it; `huggingface_*` is each provider behind that router.
        url: Its address, as clients of OpenAI's API take it.
        api_key_env: Environment variable of its key.
        source: URL of the statement.
        model: What it calls a model, by the name in the price list and, behind a router, the provider.
    """

    provider: str
    url: str
    api_key_env: str
    source: str
    model: str = "{model}"


class _Addresses(msgspec.Struct, frozen=True):
    api: tuple[ApiAddress, ...]


def token_prices(
    model: Model,
    *,
    tiers: Collection[Tier] = TIERS,
    providers: Collection[str] | None = None,
    own: Sequence[TokenPrice] = (),
) -> tuple[TokenPrice, ...]:
    """Return the prices of a model at all providers, cheapest first.

    A provider's name of the model must be one of the names in `models.toml`: another size, date or fine-tune is another
    model. See `rejected_prices` for the entries that do not count.

    Args:
        model: A model of the catalog.
        tiers: Only these tiers.
        providers: Only these providers, by the library's id; None for all.
        own: Prices that the user adds; they replace those of the same provider and tier.
    """
    names = _model_names(model)

    def counted(prices: Iterable[TokenPrice], names_of: Callable[[str], set[str]]) -> list[TokenPrice]:
        return [
            replace(price, model=model.id)
            for price in prices
            if price.tier in tiers
            and (providers is None or price.provider in providers)
            and names_of(plain(price.provider_model)) & names
        ]

    found = counted(list_in_use(), _names_of_endpoint)
    found += counted(_listed(), lambda name: {name.removesuffix(_SERVICE_SUFFIX)})
    return _with_own(found, counted(own, lambda name: {name}))


def _with_own(listed: Sequence[TokenPrice], own: Sequence[TokenPrice]) -> tuple[TokenPrice, ...]:
    """Return prices, cheapest first, of which the user's replace those of the same provider and tier."""
    replaced = {(price.provider, price.tier) for price in own}
    kept = [price for price in listed if (price.provider, price.tier) not in replaced]
    return tuple(sorted((*kept, *own), key=lambda price: (_typical(price), price.provider, price.provider_model)))


def rejected_prices(model: Model, *, providers: Collection[str] | None = None) -> tuple[Rejection, ...]:
    """Return the entries of a model that do not count: free endpoints, prices copied from another list."""
    return tuple(
        Rejection(what=f"{provider.id} {info.id}", usd_per_hour=None, reason=reason, source=source(provider))
        for provider, info in _endpoints(model, providers)
        if (reason := rejection(provider, info)) is not None
    )


def api_prices(name: str) -> tuple[TokenPrice, ...]:
    """Return the prices of a model under a provider's name for it, standard tier first, to price API traffic.

    Args:
        name: `gpt-4o`, `claude-sonnet-4-5-20250929`, or with its provider, `azure/gpt-4o`.

    Raises:
        CatalogError: No provider has a price for a model of this name; suggests similar names.
    """
    prefix, _, rest = name.strip().lower().partition("/")
    for provider in price_list():
        named = rest if rest and prefix == provider.id else name.strip().lower()
        if named == rest or (provider.model_match is not None and provider.model_match.is_match(named)):
            for info in provider.models:
                if is_named(info, named) and rejection(provider, info) is None:
                    prices = list(prices_of(provider, info, info.id))
                    tiers = {price.tier for price in prices}
                    listed = _listed_as({info.id.lower()}, provider.id)
                    return (*prices, *(price for price in listed if price.tier not in tiers))
    listed = _listed_as({rest}, prefix) or _listed_as({name.strip().lower()})
    if listed and listed[0].tier is Tier.STANDARD:
        return tuple(price for price in listed if price.provider == listed[0].provider)
    close = _similar(rest or prefix)
    hint = f"similar: {', '.join(close)}" if close else "write it as the provider does, or as provider/model"
    raise CatalogError(f"no token price for {name!r} in {package()}", where="prices", fix=hint)


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
        sold = _with_own(_sold(name), _own(catalog, name))
        if sold:
            return None, sold
        close = _similar(_loose(name))
        hint = f"; sold as tokens: {', '.join(close)}" if close else ""
        raise CatalogError(unknown.what, where=unknown.where, fix=f"{unknown.fix}{hint}") from None
    return model, token_prices(model, own=catalog.tokens)


def _own(catalog: Catalog, name: str) -> list[TokenPrice]:
    """Return the prices that the user adds for a model, by its name with or without its provider."""
    wanted = _loose(name)
    prefix, _, rest = name.strip().lower().partition("/")
    return [
        replace(price, model=wanted)
        for price in catalog.tokens
        if _loose(price.provider_model) == wanted and (not rest or price.provider == prefix)
    ]


def _sold(name: str) -> tuple[TokenPrice, ...]:
    """Return the prices of a model at every provider that lists it, cheapest first."""
    prefix, _, rest = name.strip().lower().partition("/")
    only = prefix if rest and any(provider.id == prefix for provider in price_list()) else None
    wanted = _loose(name)
    prices = list(_listed_as({rest}, prefix) or _listed_as({wanted, name.strip().lower()}))
    prices += [
        price
        for provider in price_list()
        if only is None or provider.id == only
        for info in provider.models
        if wanted == _loose(info.id.removesuffix(BATCH_SUFFIX)) or is_named(info, rest if only else name.lower())
        if rejection(provider, info) is None
        for price in prices_of(provider, info, wanted)
    ]
    return tuple(sorted(prices, key=lambda price: (_typical(price), price.provider, price.provider_model)))


def _loose(name: str) -> str:
    """Normalize a name as providers differ in writing it: without a date, "." as "-"."""
    return DATE_SUFFIX.sub("", plain(name)).replace(".", "-")


def _similar(name: str) -> list[str]:
    names = sorted({info.id.lower() for provider in price_list() if provider.model_match for info in provider.models})
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


def token_api(price: TokenPrice, venue: str, lanes: Sequence[str] = ()) -> TokenApi:
    """Return the API that sells at a price, with its address if that is known.

    Args:
        price: The price.
        venue: Its name in the plan.
        lanes: Lanes in which the plan buys.
    """
    known = next((api for api in _addresses() if fnmatch.fnmatchcase(price.provider, api.provider)), None)
    api = TokenApi(venue=venue, price=price, model=price.provider_model, lanes=list(lanes))
    if known is None:
        return api
    model = known.model.format(model=price.provider_model, host=price.provider.partition("_")[2])
    return structs.replace(api, model=model, url=known.url, api_key_env=known.api_key_env)


@functools.cache
def _addresses() -> tuple[ApiAddress, ...]:
    text = files("meritorder.catalog").joinpath("data/token_apis.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Addresses).api


@functools.cache
def _tiers() -> tuple[BatchTier, ...]:
    text = files("meritorder.catalog").joinpath("data/batch_tiers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Tiers).batch


def _endpoints(model: Model, providers: Collection[str] | None) -> "Iterator[tuple[Provider, ModelInfo]]":
    """Yield every entry under a name of this model, ignoring suffixes of OpenRouter."""
    names = _model_names(model)
    for provider in price_list():
        if providers is not None and provider.id not in providers:
            continue
        for info in provider.models:
            if _names_of_endpoint(plain(info.id)) & names:
                yield provider, info


def _names_of_endpoint(name: str) -> set[str]:
    return {name, name.removesuffix(FREE_SUFFIX), name.removesuffix(BATCH_SUFFIX)}


def _rates(price: TokenPrice | LongPrompt) -> NDArray[np.float64]:
    return np.array([price.input_usd_per_mtok, price.cached_usd_per_mtok, price.output_usd_per_mtok])


def _typical(price: TokenPrice) -> float:
    """Return the price of three input tokens and one output token, the mix that price indices use."""
    return 3 * price.input_usd_per_mtok + price.output_usd_per_mtok


def _model_names(model: Model) -> set[str]:
    return {model.id, plain(model.hf_id), *model.aliases}


def _listed_as(names: set[str], provider: str | None = None) -> tuple[TokenPrice, ...]:
    """Return the prices that our own list has under any of these names, at one provider or at all."""
    return tuple(
        price for price in _listed() if price.provider_model.lower() in names and provider in {None, price.provider}
    )


@functools.cache
def _listed() -> tuple[TokenPrice, ...]:
    text = files("meritorder.catalog").joinpath("data/token_prices.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(msgspec.convert(row | {"model": row["provider_model"]}, TokenPrice, strict=False) for row in rows)
