"""The catalog in memory: hardware and models by any of their names, offers by filters."""

import difflib
import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from meritorder.catalog.sanity import Rejection
from meritorder.domain import Hardware, Model, PricingModel
from meritorder.errors import CatalogError
from meritorder.offers import Offer, TokenPrice

_BEFORE_HARDWARE: Final = re.compile(r"^(?:\d+-?x-?)?(?:(?:nvidia|amd|tesla|hgx|dgx)-|gpu[.-])*")
_GIGABYTES: Final = re.compile(r"(?<=\d)g(?:i?b)?$")
# Copies of a model's weights in another precision; of four bits only NVIDIA's, since others differ in their arithmetic.
_STATED_PRECISION: Final = re.compile(r"-(bf16|fp8|nvfp4|fp4)(?:-(?:fast|tput|dynamic|block))?$")
_PRECISIONS: Final = {"fp4": "nvfp4"}
Noun = TypeVar("Noun", Hardware, Model)
Names = str | Collection[str] | None


def plain(name: str) -> str:
    """Normalize a name as aliases are written: after the last "/", lower case, "_" and spaces as "-"."""
    return name.strip().lower().rsplit("/", 1)[-1].replace("_", "-").replace(" ", "-")


def plain_hardware(name: str) -> str:
    """Normalize the name of an accelerator: as `plain`, without vendor, platform and number: `8x NVIDIA HGX H100`.

    What follows its first word may come in any order, and memory in G, GB or GiB: `H100 80G SXM5`, `H100-SXM5-80GB`.
    """
    first, *rest = _BEFORE_HARDWARE.sub("", plain(name)).split("-")
    return "-".join((first, *sorted(_GIGABYTES.sub("gb", word) for word in rest)))


def hardware_by_name(hardware: Iterable[Hardware]) -> dict[str, Hardware]:
    """Return hardware by each of its names, as `plain_hardware` writes them."""
    return {plain_hardware(name): known for known in hardware for name in (known.id, known.name, *known.aliases)}


@dataclass(frozen=True)
class Catalog:
    """Hardware, models and prices of capacity.

    Args:
        hardware: By `Hardware.id`.
        models: By `Model.id`.
        offers: Plausible prices of capacity; one that is sold in several sizes is one offer.
        rejected: Rejected rows, each with its reason.
        tokens: Prices of tokens that the user adds to the price list.
    """

    hardware: Mapping[str, Hardware]
    models: Mapping[str, Model]
    offers: tuple[Offer, ...]
    rejected: tuple[Rejection, ...]
    tokens: tuple[TokenPrice, ...] = ()

    @functools.cached_property
    def machines(self) -> tuple[Offer, ...]:
        """The machines on offer, each size for itself."""
        return tuple(machine for offer in self.offers for machine in offer.machines())

    def find_hardware(self, text: str) -> Hardware:
        """Return the hardware with this id or alias, in any case.

        Raises:
            CatalogError: There is none; suggests similar names.
        """
        return _find(text, plain_hardware(text), hardware_by_name(self.hardware.values()), "hardware")

    def find_model(self, text: str) -> Model:
        """Return the model with this id, alias or name on the hub, in any case, in the precision that the name states.

        Raises:
            CatalogError: There is none; suggests similar names.
        """
        wanted = plain(text)
        names = {
            name: known for known in self.models.values() for name in (known.id, plain(known.hf_id), *known.aliases)
        }
        stated = _STATED_PRECISION.search(wanted)
        if stated is None:
            return _find(text, wanted, names, "model")
        model = _find(text, wanted if wanted in names else wanted[: stated.start()], names, "model")
        return replace(model, named_precision=_PRECISIONS.get(stated[1], stated[1]))

    def select_offers(
        self,
        hardware: Names = None,
        provider: Names = None,
        region: Names = None,
        pricing_model: PricingModel | Collection[PricingModel] | None = None,
        gpus: int | None = None,
    ) -> tuple[Offer, ...]:
        """Return the offers that pass every filter, cheapest per GPU-hour first.

        Args:
            hardware: Any of these `Hardware.id`.
            provider: Any of these providers.
            region: Any of these regions; a price for all regions passes.
            pricing_model: Any of these pricing models.
            gpus: Machines whose GPUs are a multiple of this number, so that replicas fill them; each size for itself.
        """
        hardware_ids, providers, regions = _names(hardware), _names(provider), _names(region)
        models = {pricing_model} if isinstance(pricing_model, PricingModel) else set(pricing_model or ())
        chosen = (
            offer
            for offer in (self.offers if gpus is None else self.machines)
            if (not hardware_ids or offer.hardware in hardware_ids)
            and (not providers or offer.provider in providers)
            and (not regions or not offer.region or offer.region.lower() in regions)
            and (not models or offer.pricing_model in models)
            and (gpus is None or offer.gpus % gpus == 0)
        )
        return tuple(sorted(chosen, key=lambda offer: (offer.usd_per_gpu_hour, offer.gpus, offer.label)))

    def machine_sizes(
        self,
        hardware: str,
        gpus: int,
        pricing_models: Collection[PricingModel],
        providers: Collection[str] = (),
        regions: Collection[str] = (),
    ) -> tuple[Offer, ...]:
        """Return the offers worth renting for replicas of a number of GPUs, the cheapest per GPU-hour first.

        A machine is left out only if several of a smaller one are at least as good at every fleet size: they have as
        many GPUs together, cost no more per GPU-hour, and are billed for no longer at least. Third-party machines of a
        marketplace count only if their provider is named, or if there is no other offer.

        Raises:
            CatalogError: There is none; lists the offers for this hardware.
        """
        fitting = self.select_offers(hardware, providers, regions, pricing_models, gpus)
        own = fitting if providers else tuple(offer for offer in fitting if not offer.third_party)
        kept: list[Offer] = []
        for offer in sorted(own or fitting, key=lambda offer: (offer.gpus, offer.usd_per_gpu_hour)):
            if not any(_dominates(smaller, offer) for smaller in kept):
                kept.append(offer)
        if not kept:
            self.cheapest(hardware, gpus, pricing_models, providers, regions)
        return tuple(sorted(kept, key=lambda offer: (offer.usd_per_gpu_hour, offer.gpus, offer.label)))

    def cheapest(
        self,
        hardware: str,
        gpus: int,
        pricing_models: Collection[PricingModel],
        providers: Collection[str] = (),
        regions: Collection[str] = (),
    ) -> Offer:
        """Return the offer with the lowest price per GPU-hour for replicas of a number of GPUs.

        Third-party machines of a marketplace count only if their provider is named, or if there is no other offer.

        Raises:
            CatalogError: There is none; lists the offers for this hardware.
        """
        fitting = self.select_offers(hardware, providers, regions, pricing_models, gpus)
        if fitting:
            own = fitting if providers else [offer for offer in fitting if not offer.third_party]
            return (own or fitting)[0]
        wanted = " or ".join(model.replace("_", " ") for model in pricing_models) or "any pricing model"
        place = f" from {', '.join(providers)}" if providers else ""
        place += f" in {', '.join(regions)}" if regions else ""
        available = _summary(self.select_offers(hardware)) or "no offer"
        raise CatalogError(
            f"no price for {gpus} x {hardware}, {wanted}{place}",
            where="prices",
            fix=f"available: {available}; add yours with --catalog FILE",
        )


def _dominates(smaller: Offer, larger: Offer) -> bool:
    return (
        larger.gpus % smaller.gpus == 0
        and smaller.usd_per_gpu_hour <= larger.usd_per_gpu_hour
        and smaller.minimum_billing_s <= larger.minimum_billing_s
        and (smaller.interruptions_per_month or 0.0) <= (larger.interruptions_per_month or 0.0)
    )


def _find(text: str, wanted: str, names: dict[str, Noun], kind: str) -> Noun:
    if wanted in names:
        return names[wanted]
    close = dict.fromkeys(names[name].id for name in difflib.get_close_matches(wanted, names, n=6, cutoff=0.5))
    hint = (
        f"similar: {', '.join(close)}; "
        if close
        else f"known: {', '.join(sorted({known.id for known in names.values()}))}; "
    )
    raise CatalogError(
        f"unknown {kind} {text!r}",
        fix=f"{hint}`meritorder prices` lists all, and a [[{kind}]] table in --catalog FILE adds one",
    )


def _names(names: Names) -> frozenset[str]:
    if names is None:
        return frozenset()
    return frozenset({names.lower()} if isinstance(names, str) else (name.lower() for name in names))


def _summary(offers: Iterable[Offer]) -> str:
    machines: dict[tuple[str, str], set[int]] = {}
    for offer in offers:
        sizes = machines.setdefault((offer.provider, offer.pricing_model.replace("_", " ")), set())
        sizes.update(machine.gpus for machine in offer.machines())
    return ", ".join(
        f"{provider} {model} ({'/'.join(map(str, sorted(gpus)))} GPUs)"
        for (provider, model), gpus in sorted(machines.items())
    )
