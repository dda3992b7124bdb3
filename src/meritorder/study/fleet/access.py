"""Where the workloads of a study may run: what their `allow` and `deny` leave of a catalog."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from meritorder.catalog import Catalog
from meritorder.domain import PLACES, Access, Offer, TokenPrice, Workload
from meritorder.errors import WorkloadsError
from meritorder.evidence import Assumption
from meritorder.study.fleet.promises import AssignedTrace


def permitted_to_all(
    catalog: Catalog, tokens: Sequence[TokenPrice], promised: AssignedTrace
) -> tuple[Catalog, tuple[TokenPrice, ...]]:
    """Return the offers and token prices that every workload may use: they run on machines that they share.

    Raises:
        WorkloadsError: A glob fits nothing that there is, or nothing is left.
    """
    _check_names(catalog, tokens, promised.declared)
    accesses = {one.access for one in promised.workloads}
    kept = tuple(one for one in tokens if all(each.permits(one.provider, "") for each in accesses))
    return _only(catalog, lambda offer: all(_permits(each, offer) for each in accesses)), kept


def permitted_to_any(catalog: Catalog, tokens: Sequence[TokenPrice], promised: AssignedTrace) -> Catalog:
    """Return the catalog with the offers that some workload may use.

    Raises:
        WorkloadsError: A glob fits nothing that there is, or nothing is left.
    """
    _check_names(catalog, tokens, promised.declared)
    accesses = {one.access for one in promised.workloads}
    return _only(catalog, lambda offer: any(_permits(each, offer) for each in accesses))


def access_assumptions(workloads: Iterable[Workload]) -> list[Assumption]:
    """Say that workloads which share machines share the limits of each."""
    names = [one.name for one in workloads if one.access != Access()]
    if not names:
        return []
    text = f"all run where {' and '.join(names)} may: they share machines here; `meritorder plan` gives each its own"
    return [Assumption(text=text, option="--workloads")]


def _permits(access: Access, offer: Offer) -> bool:
    return access.permits(offer.provider, offer.region, offer.hardware)


def _only(catalog: Catalog, keep: Callable[[Offer], bool]) -> Catalog:
    left = replace(catalog, offers=tuple(offer for offer in catalog.offers if keep(offer)))
    if catalog.offers and not left.offers:
        raise WorkloadsError(
            "what the workloads allow and deny leaves no machine that has a price",
            where="--workloads",
            fix="loosen allow and deny, or add offers with --catalog FILE; an offer that names no region is in none",
        )
    return left


def _check_names(catalog: Catalog, tokens: Sequence[TokenPrice], workloads: Iterable[Workload]) -> None:
    """Refuse a glob that fits nothing: a limit that is misspelt limits nothing, or everything."""
    offers = catalog.offers
    there = {
        "provider": {one.provider for one in offers} | {one.provider for one in tokens},
        "region": {one.region for one in offers} - {""},
        "hardware": {one.hardware for one in offers},
    }
    for workload in workloads:
        for key, said in (("allow", workload.access.allow), ("deny", workload.access.deny)):
            for place in PLACES:
                known = sorted({name.lower() for name in there[place]})
                for glob in said.get(place, []):
                    if not any(fnmatchcase(name, glob) for name in known):
                        raise WorkloadsError(
                            f"{key} {place}: {glob!r} is none of those with a price",
                            where=f"workload {workload.name}",
                            fix=f"there are {', '.join(known)}",
                        )
