"""What the batch tier of a token API costs, as a share of its standard tier, where the provider states one for all."""

import functools
import tomllib
from importlib.resources import files

import msgspec


class BatchTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's batch tier.

    Args:
        provider: Provider, as bills name it.
        share: Its price as a share of the standard price.
        token_types: Kinds of token that it holds for.
        turnaround_h: Hours within which it answers.
        note: What the provider says beside it.
        source: Where it is stated.
        as_of: Date that it was read.
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


def batch_tier(provider: str) -> BatchTier | None:
    """Return the batch tier of a provider, None if it states none for all models."""
    return next((tier for tier in _tiers() if tier.provider == provider), None)


@functools.cache
def _tiers() -> tuple[BatchTier, ...]:
    text = files("meritorder.catalog").joinpath("data/batch_tiers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Tiers).batch
