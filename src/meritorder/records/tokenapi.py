"""A token API that a plan buys from, and the venue that the gateway needs for it."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from meritorder.domain import Tier
from meritorder.offers import TokenPrice

_PRICES: Final = {Tier.STANDARD: "price", Tier.BATCH: "batch_price"}
_UNKNOWN_URL: Final = "https://ADDRESS/v1"
_UNKNOWN_KEY: Final = "API_KEY"


class TokenApi(msgspec.Struct, frozen=True, kw_only=True):
    """A tier of a token API, by its name in the plan, and the lanes in which the plan buys it.

    `model` is what the API calls the model. `url` and `api_key_env` are empty where they are unknown.
    """

    venue: str
    price: TokenPrice
    model: str
    url: str = ""
    api_key_env: str = ""
    lanes: list[str] = []

    def is_at(self, name: str, url: str, models: Collection[str]) -> bool:
        """Return whether a venue of the gateway is this API: by its address, or else the provider's name.

        Args:
            name: The venue's name.
            url: Its address.
            models: Its own names of the models that it serves.
        """
        is_provider = name == self.price.provider or (
            bool(self.url) and urlsplit(url).hostname == urlsplit(self.url).hostname
        )
        return is_provider and self.model in models


def venue_tables(apis: Iterable[TokenApi], names: Mapping[str, str]) -> str:
    """Return the `[[venue]]` tables through which a gateway buys from token APIs.

    Args:
        apis: The tiers; those of one model at one provider share a table.
        names: What clients call each model, if that is not its id.
    """
    tables: dict[tuple[str, str], list[TokenApi]] = {}
    for api in apis:
        tables.setdefault((api.price.provider, api.model), []).append(api)
    return "\n\n".join(_venue_table(tiers, names) for tiers in tables.values())


def _venue_table(tiers: list[TokenApi], names: Mapping[str, str]) -> str:
    api, by_tier = tiers[0], {tier.price.tier: tier.price for tier in tiers}
    fields: dict[str, str | list[str]] = {
        "name": f"{api.price.provider} {api.model}",
        "url": api.url or _UNKNOWN_URL,
        "api_key_env": api.api_key_env or _UNKNOWN_KEY,
        "lanes": sorted({lane for tier in tiers for lane in tier.lanes}),
    }
    if not api.url:
        fields["pool"] = [tier.venue for tier in tiers]
    lines = ["[[venue]]", *(f"{field} = {_toml(value)}" for field, value in fields.items())]
    lines.append(f"models = {{ {_toml(names.get(api.price.model, api.price.model))} = {_toml(api.model)} }}")
    if Tier.BATCH in by_tier:
        lines.append("batch = true")
    for tier, table in _PRICES.items():
        if (price := by_tier.get(tier)) is not None:
            lines += [
                f"[venue.{table}]",
                f"input_usd_per_mtok = {price.input_usd_per_mtok}",
                f"cached_usd_per_mtok = {price.cached_usd_per_mtok}",
                f"output_usd_per_mtok = {price.output_usd_per_mtok}",
            ]
    return "\n".join(lines)


def _toml(value: str | list[str]) -> str:
    return msgspec.json.encode(value).decode()  # strings and lists of JSON are those of TOML
