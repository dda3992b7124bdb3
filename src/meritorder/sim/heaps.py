"""Binary heaps over index arrays: the smallest key at the root, ties to the lower index."""

import numpy as np
from numpy.typing import NDArray

from meritorder.sim.compiled import compiled
from meritorder.sim.state import Ints32


@compiled
def before(keys: NDArray[np.generic], a: int, b: int) -> bool:
    """Whether one item comes before another."""
    return keys[a] < keys[b] or (keys[a] == keys[b] and a < b)


@compiled
def push(heap: Ints32, size: int, item: int, keys: NDArray[np.generic]) -> int:
    """Add an item and return the new size."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if before(keys, heap[parent], item):
            break
        heap[child] = heap[parent]
        child = parent
    heap[child] = item
    return size + 1


@compiled
def pop(heap: Ints32, size: int, keys: NDArray[np.generic]) -> int:
    """Drop the root, which the caller has read, and return the new size."""
    size -= 1
    if size <= 0:
        return 0
    item = heap[size]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size and before(keys, heap[child + 1], heap[child]):
            child += 1
        if before(keys, item, heap[child]):
            break
        heap[parent] = heap[child]
        parent = child
    heap[parent] = item
    return size


@compiled
def remove(heap: Ints32, size: int, item: int, keys: NDArray[np.generic]) -> int:
    """Take an item out from anywhere, in linear time, and return the new size."""
    place = 0
    while heap[place] != item:
        place += 1
    kept = size - place - 1
    tail = heap[place + 1 : size].copy()
    size = place
    for index in range(kept):
        size = push(heap, size, tail[index], keys)
    return size
