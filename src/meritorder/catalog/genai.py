"""The price list of the library `genai-prices`: that of the package, or the newer one that an update fetched.

The library returns the standard price for a tier that a model does not have: here a tier exists only if the list has a
variant for exactly that tier with a price. The library also matches names by prefix (`starts_with`): here a name counts
only if the list spells it out, or spells it out without its date.
"""

import contextlib
import datetime as dt
import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from meritorder import documents
from meritorder.catalog import updates
from meritorder.domain import Tier
from meritorder.errors import CatalogError
from meritorder.offers import LongPrompt, TokenPrice

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider
    from genai_prices.types import Tier as PromptStep

_WHEN: Final = {
    Tier.BATCH: {"processing": "batch"},
    Tier.FLEX: {"service_tier": "flex"},
    Tier.PRIORITY: {"service_tier": "priority"},
}
# The library collects OpenRouter's prices automatically: the newest of them dates the snapshot.
_DATED_BY: Final = "openrouter"
BATCH_SUFFIX: Final = ":batch"
FREE_SUFFIX: Final = ":free"
DATE_SUFFIX: Final = re.compile(r"(-latest|-\d{4}-\d{2}-\d{2}|[-@]20\d{6})$")


class _Fetched(msgspec.Struct):
    """The list that an update fetched, with its date and address."""

    as_of: str
    url: str
    providers: msgspec.Raw


@dataclass(frozen=True, slots=True)
class _PriceList:
    """A price list: `date` is the newest day on which a price of it began."""

    providers: "tuple[Provider, ...]"
    name: str
    date: dt.date


def snapshot_date() -> dt.date:
    """Return the date of the price list."""
    return _in_use(updates.stamp()).date


def price_list() -> "tuple[Provider, ...]":
    """Return the providers with their models."""
    return _in_use(updates.stamp()).providers


def package() -> str:
    """Return the name and version of the price list."""
    return _in_use(updates.stamp()).name


def parse(content: bytes, where: str) -> "list[Provider]":
    """Return the providers of a price list in the library's form.

    Raises:
        CatalogError: It has another form.
    """
    from genai_prices.types import _providers_from_raw  # noqa: PLC0415 (as the library's own update)

    try:
        raw = msgspec.json.decode(content)
        if not isinstance(raw, list):
            raise CatalogError("is no price list of genai-prices: not a list of providers", where=where)
        return _providers_from_raw(raw)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, msgspec.DecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise CatalogError(f"is no price list of genai-prices: {reason}", where=where) from error


def list_in_use() -> tuple[TokenPrice, ...]:
    """Return every price of the list in use."""
    return _prices_in_use(updates.stamp())


def read_list(content: bytes) -> tuple[TokenPrice, ...]:
    """Return every price of a list in the form in which an update keeps it."""
    kept = msgspec.json.decode(content, type=_Fetched)
    return _all_prices(parse(bytes(kept.providers), kept.url))


def _all_prices(providers: "Iterable[Provider]") -> tuple[TokenPrice, ...]:
    return tuple(
        price
        for provider in providers
        for info in provider.models
        if rejection(provider, info) is None
        for price in prices_of(provider, info, info.id)
    )


@functools.lru_cache(maxsize=1)
def _prices_in_use(stamp: object) -> tuple[TokenPrice, ...]:
    """Return the prices as an earlier process kept them: to import the library takes as long as most of a command."""
    made_of = repr((_version(), stamp)).encode() + Path(__file__).read_bytes()
    kept = documents.cache_folder() / f"token-prices-{hashlib.sha256(made_of).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(kept.read_bytes(), type=tuple[TokenPrice, ...])
    prices = _all_prices(price_list())
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        updates.replace_file(kept, msgspec.json.encode(prices))
    return prices


def _version() -> str:
    return f"genai-prices {importlib.metadata.version('genai-prices')}"


@functools.lru_cache(maxsize=1)
def _in_use(_: object) -> _PriceList:
    # Reading the list takes a second, and most commands need none of it.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - see above

    shipped = _dated(get_snapshot().providers, _version())
    path = updates.folder() / updates.TOKENS
    if not path.exists():
        return shipped
    try:
        fetched = msgspec.json.decode(path.read_bytes(), type=_Fetched)
    except (OSError, msgspec.DecodeError) as error:
        raise CatalogError(f"cannot be read: {error}", where=str(path), fix=updates.WAY_BACK) from error
    newer = _dated(parse(bytes(fetched.providers), str(path)), f"genai-prices, fetched {fetched.as_of}")
    return newer if newer.date >= shipped.date else shipped


def _dated(providers: "Sequence[Provider]", name: str) -> _PriceList:
    starts = (
        start
        for provider in providers
        if provider.id == _DATED_BY
        for info in provider.models
        for start in _starts(info)
    )
    return _PriceList(tuple(providers), name, max(starts, default=dt.date.min))


def source(provider: "Provider") -> str:
    """Return the source of a provider's prices."""
    url = provider.pricing_urls[0] if provider.pricing_urls else provider.api_pattern
    return f"{url} in {package()}"


def rejection(provider: "Provider", info: "ModelInfo") -> str | None:
    """Return why an entry does not count, None if it does."""
    if info.id.endswith(FREE_SUFFIX):
        return "a free endpoint, rate-limited and without guarantees"
    if provider.id == _DATED_BY and "/" not in info.id:
        return "a name that OpenRouter no longer uses"
    if (info.price_comments or "").startswith("Imported from"):
        return f"not the provider's own price: {info.price_comments}"
    standard = _at(info, None)
    if not _base(standard, "input_mtok") or not _base(standard, "output_mtok"):
        return "no price for input and output tokens"
    return None


def prices_of(provider: "Provider", info: "ModelInfo", model: str) -> Iterator[TokenPrice]:
    """Yield the prices of an entry, one per tier."""
    if info.id.endswith(BATCH_SUFFIX):
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
        source=source(provider),
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


def is_named(info: "ModelInfo", name: str) -> bool:
    """Whether the list spells out this name for the model, or spells it out without its date."""
    written = {info.id.lower(), *_written(info.match)}
    return info.is_match(name) and (name in written or DATE_SUFFIX.sub("", name) in written)


def _written(clause: object) -> Iterator[str]:
    for part in (*getattr(clause, "or_", ()), *getattr(clause, "and_", ())):
        yield from _written(part)
    for kind in ("equals", "starts_with"):
        if hasattr(clause, kind):
            yield getattr(clause, kind).lower()
