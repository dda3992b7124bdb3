"""Ways to part things into sets."""

from collections.abc import Iterator
from itertools import combinations
from typing import TypeVar

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
