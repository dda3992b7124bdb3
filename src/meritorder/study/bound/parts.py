"""Ways to part things into sets."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TypeVar

from meritorder.domain import Access
from meritorder.offers import Offer

Item = TypeVar("Item")


def partitions(items: tuple[Item, ...]) -> Iterator[list[tuple[Item, ...]]]:
    """Yield each way to part items into sets."""
    if not items:
        yield []
        return
    first, *rest = items
    for size in range(len(items)):
        for others in combinations(rest, size):
            left = tuple(item for item in rest if item not in others)
            yield from ([(first, *others), *parts] for parts in partitions(left))


def independent(accesses: Sequence[Access], offers: Sequence[Offer]) -> list[list[int]]:
    """Return the indices of accesses in groups, so that no machine may serve two groups."""
    groups: list[tuple[set[int], set[int]]] = []
    for number, access in enumerate(accesses):
        allowed = (access.permits(offer.provider, offer.region, offer.hardware) for offer in offers)
        numbers, places = {number}, {place for place, permitted in enumerate(allowed) if permitted}
        shared = [group for group in groups if group[1] & places]
        for group in shared:
            numbers |= group[0]
            places |= group[1]
            groups.remove(group)
        groups.append((numbers, places))
    return [sorted(numbers) for numbers, _ in groups]
