"""Compile a kernel once a machine, and again when any of its sources changes.

Numba checks a cached function against its own file only, so a kernel would go on running an old version of a function
that it calls from another file. Here the cache folder is named by a digest of all sources that kernels are made of.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import numba as nb
from numba.core import config

_Function = TypeVar("_Function", bound=Callable[..., object])
_PACKAGE: Final = Path(__file__).parent.parent


def _cache_folder() -> Path:
    digest = hashlib.sha256()
    for source in sorted([*(_PACKAGE / "sim").glob("*.py"), *(_PACKAGE / "policy").glob("*.py")]):
        digest.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"meritorder/kernels-{digest.hexdigest()[:16]}"
    try:
        (home / name).mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / name
    return home / name


_CACHE_FOLDER: Final = str(_cache_folder())


def compiled(function: _Function) -> _Function:
    """Compile a function that only other kernels call; nothing happens before it is called."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: _Function) -> _Function:
    """Compile a small function into its callers, where a call would cost more than what it does."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def entry(function: _Function) -> _Function:
    """Compile a function that Python calls; nothing happens before its first call. Other threads go on beside it."""
    return _compile(function, no_cfunc_wrapper=True, nogil=True)


def _compile(function: _Function, **options: bool) -> _Function:
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = _CACHE_FOLDER  # type: ignore[attr-defined]
    try:
        kernel: _Function = nb.njit(cache=True, error_model="numpy", **options)(function)  # type: ignore[call-overload]
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
    return kernel
