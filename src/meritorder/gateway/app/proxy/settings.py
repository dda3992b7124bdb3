"""The configuration of a proxy: a store in one folder, and a venue for each model of a provider."""

import asyncio
import datetime as dt
import random
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from meritorder.catalog import tokens
from meritorder.client.proxy import API_KEYS, default_folder
from meritorder.domain import Tier
from meritorder.errors import CatalogError, ConfigError
from meritorder.gateway import config_file
from meritorder.gateway.config import Settings, VenueKind, read_secret
from meritorder.gateway.errors import UpstreamError
from meritorder.gateway.upstreams.batches.provider import Provider
from meritorder.gateway.upstreams.kinds import VenueSpec
from meritorder.gateway.upstreams.upstream import Runtime
from meritorder.offers import TokenPrice

_WHERE: Final = "proxy"
_KEYS_MODELS: Final = "give --models NAME,…"
_PRICES: Final = {Tier.STANDARD: "price", Tier.BATCH: "batch_price"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """How a provider lists its models, and its name in price lists."""

    prices: str
    query: dict[str, int]


_LISTINGS: Final = {
    "openai": _Listing(prices="openai", query={}),
    "anthropic": _Listing(prices="anthropic", query={"limit": 1000}),
    "gemini": _Listing(prices="google", query={"pageSize": 1000}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account at a provider.

    Args:
        provider: A provider with a batch API.
        url: Its API, if it is not the provider's own.
        api_key_env: Environment variable with the key; by default that of the provider's clients.
    """

    provider: str
    url: str = ""
    api_key_env: str = ""

    def __post_init__(self) -> None:
        if self.provider not in API_KEYS:
            fix = f"the providers are {', '.join(API_KEYS)}; for another with OpenAI's API: openai --url URL"
            raise ConfigError(f"unknown provider {self.provider!r}", where=_WHERE, fix=fix)

    @property
    def key_variable(self) -> str:
        """The environment variable with the key."""
        return self.api_key_env or API_KEYS[self.provider]

    def spec(self) -> VenueSpec:
        """Return the provider as a venue.

        Raises:
            ConfigError: The key is missing.
        """
        key = read_secret(self.key_variable, None, where=_WHERE)
        return VenueSpec(name=self.provider, kind=VenueKind(self.provider), base_url=self.url, api_key=key)

    def folder(self) -> Path:
        """Return the folder of its proxy."""
        spec = self.spec()
        return default_folder(self.provider, spec.endpoint().base_url, spec.api_key or "")

    def has_listed_prices(self) -> bool:
        """Tell whether its prices are those of the provider: not if its API is elsewhere."""
        own = replace(self.spec(), base_url="").endpoint()
        return self.url in {"", own.base_url}


def proxy_settings(
    account: Account, folder: Path, models: tuple[str, ...], *, host: str, port: int, poll: str
) -> Settings:
    """Return the configuration of a proxy.

    Args:
        account: The account that it uses.
        folder: Its store.
        models: The models that it serves; empty for all that the provider lists.
        host: Address to listen on.
        port: Port; 0 picks a free one.
        poll: How often the provider is asked for its batches.

    Raises:
        ConfigError: The provider does not list its models, or an argument is invalid.
    """
    names = models or asyncio.run(_list_models(account))
    venues = [
        {
            "name": name,
            "url": account.url,
            "kind": account.provider,
            "api_key_env": account.key_variable,
            "models": [name],
            "batch": True,
            "batch_poll": poll,
            **(_prices(account, name) if account.has_listed_prices() else {}),
        }
        for name in names
    ]
    document = {
        "server": {"host": host, "port": port},
        "store": {"url": f"sqlite:///{folder.resolve() / 'gateway.db'}"},
        "venue": venues,
    }
    return config_file.parse_settings(document, where=_WHERE)


async def _list_models(account: Account) -> tuple[str, ...]:
    provider = Provider(account.spec().endpoint(), Runtime(now=lambda: dt.datetime.now(dt.UTC), draw=random.random))
    try:
        answer = await provider.read(provider.url("/models", **_LISTINGS[account.provider].query))
    except UpstreamError as error:
        raise ConfigError(f"the models cannot be listed: {error}", where=_WHERE, fix=_KEYS_MODELS) from error
    finally:
        await provider.close()
    listed = answer.get("data") or answer.get("models") or []
    names = {str(model.get("id") or model.get("name")).removeprefix("models/") for model in listed}
    if not names:
        raise ConfigError(f"{account.provider} lists no models", where=_WHERE, fix=_KEYS_MODELS)
    return tuple(sorted(names))


def _prices(account: Account, model: str) -> dict[str, Any]:
    """Return the prices of a model as fields of its venue; nothing if they are not known."""
    try:
        prices = tokens.api_prices(f"{_LISTINGS[account.provider].prices}/{model}")
    except (CatalogError, ModuleNotFoundError):  # the list of prices comes with the extra `study`
        return {}
    return {_PRICES[price.tier]: _price(price) for price in prices if price.tier in _PRICES}


def _price(price: TokenPrice) -> dict[str, Decimal]:
    names = ("input_usd_per_mtok", "cached_usd_per_mtok", "output_usd_per_mtok")
    return {name: Decimal(str(getattr(price, name))) for name in names}
