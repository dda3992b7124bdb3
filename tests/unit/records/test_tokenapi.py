"""The venues through which a gateway buys the tokens of a plan."""

import tomllib

import pytest
from msgspec import structs

from meritorder.domain import Tier
from meritorder.gateway import config_file
from meritorder.offers import TokenPrice
from meritorder.records.tokenapi import TokenApi, venue_tables


def api(tier: Tier = Tier.STANDARD, **fields: object) -> TokenApi:
    price = TokenPrice(
        provider="acme",
        model="m-8b",
        provider_model="acme/m",
        tier=tier,
        input_usd_per_mtok=2.0 if tier is Tier.STANDARD else 1.0,
        cached_usd_per_mtok=0.5,
        output_usd_per_mtok=8.0,
        as_of="2026-11-30",
        source="test",
    )
    known = TokenApi(
        venue=f"acme acme/m, {tier}",
        price=price,
        model="acme/m",
        url="https://api.acme.ai/openai/v1",
        api_key_env="ACME_API_KEY",
        lanes=["deferrable"],
    )
    return structs.replace(known, **fields)


def test_tables_are_a_configuration() -> None:
    tables = venue_tables([api(), api(Tier.BATCH)], {"m-8b": "ours"})
    (venue,) = config_file.parse_settings(tomllib.loads(tables), where="gateway.toml").venue
    assert (venue.url, venue.api_key_env, venue.lanes) == (api().url, "ACME_API_KEY", ("deferrable",))
    assert venue.served() == {"ours": "acme/m"}
    assert venue.batch
    assert venue.price is not None
    assert venue.batch_price is not None
    assert (venue.price.input_usd_per_mtok, venue.batch_price.input_usd_per_mtok) == (2, 1)
    assert not venue.pool  # it is known by its address, also when another plan buys elsewhere


def test_unknown_address_is_named_as_one() -> None:
    unknown = api(url="", api_key_env="")
    (venue,) = config_file.parse_settings(tomllib.loads(venue_tables([unknown], {})), where="gateway.toml").venue
    assert (venue.url, venue.pools()) == ("https://ADDRESS/v1", ["acme acme/m, standard"])


@pytest.mark.parametrize(
    ("name", "url", "models", "expected"),
    [
        ("any", "https://api.acme.ai/v9", ["other", "acme/m"], True),
        ("acme", "https://proxy.ours/v1", ["acme/m"], True),
        ("any", "https://api.acme.ai/openai/v1", ["acme/other"], False),
        ("any", "https://proxy.ours/v1", ["acme/m"], False),
    ],
)
def test_venue_is_known_by_address_or_name(name: str, url: str, models: list[str], *, expected: bool) -> None:
    assert api().is_at(name, url, models) is expected
