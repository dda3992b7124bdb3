"""How kernels are compiled and cached, and the binary heaps that they share.

Numba checks a cached function against its own file only, so a kernel would go on running an old version of a function
that it calls from another file. Here the cache folder is named by a digest of all sources that kernels are made of.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba as nb
import numpy as np
from numba.core import config
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys
from numpy.typing import NDArray

from meritorder import documents

_Function = TypeVar("_Function", bound=Callable[..., object])
_PACKAGE: Final = Path(__file__).parent.parent


def _cache_folder() -> Path:
    digest = hashlib.sha256()
    for source in sorted([*(_PACKAGE / "sim").glob("*.py"), *(_PACKAGE / "policy").glob("*.py")]):
        digest.update(source.read_bytes())
    folder = documents.cache_folder() / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir(), "meritorder", folder.name)
    return folder


_CACHE_FOLDER: Final = str(_cache_folder())


def compiled(function: _Function) -> _Function:
    """Compile a function that only other kernels call, at its first use."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: _Function) -> _Function:
    """Compile a function into its callers: for those so small that a call would cost more than their body."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def entry(function: _Function) -> _Function:
    """Compile a function that Python calls, at its first use; it runs without the interpreter's lock."""
    return _compile(function, no_cfunc_wrapper=True, nogil=True)


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache, but a hit loads none of what only a compilation needs; the compiler loads it after a miss."""

    def load_overload(self, sig: object, target_context: object) -> object:
        rtsys.initialize(target_context)  # kernels allocate
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


def _compile(function: _Function, **options: bool) -> _Function:
    kernel: Any = nb.njit(error_model="numpy", **options)(function)  # type: ignore[call-overload]
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = _CACHE_FOLDER  # type: ignore[attr-defined]
    try:
        kernel._cache = _KernelCache(function)  # type: ignore[no-untyped-call]  # noqa: SLF001 (as `cache=True` sets it)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
    return cast("_Function", kernel)


@compiled
def before(keys: NDArray[np.generic], a: int, b: int) -> bool:
    """Whether item a comes before item b: by key, then by index."""
    return keys[a] < keys[b] or (keys[a] == keys[b] and a < b)


@compiled
def push(heap: NDArray[np.int32], size: int, item: int, keys: NDArray[np.generic]) -> int:
    """Add an item to a heap of indices and return the new size."""
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
def pop(heap: NDArray[np.int32], size: int, keys: NDArray[np.generic]) -> int:
    """Remove the root, which the caller has read, and return the new size."""
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
def remove(heap: NDArray[np.int32], size: int, item: int, keys: NDArray[np.generic]) -> int:
    """Remove an item from anywhere in a heap, in linear time, and return the new size."""
    place = 0
    while heap[place] != item:
        place += 1
    kept = size - place - 1
    tail = heap[place + 1 : size].copy()
    size = place
    for index in range(kept):
        size = push(heap, size, tail[index], keys)
    return size
