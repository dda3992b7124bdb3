"""The releases of engines: which version a speed stands for, and how far the user's own is from it."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

from meritorder.errors import ConfigError

_OTHER_NAMES: Final = {"tensorrt-llm": "trtllm", "trt-llm": "trtllm", "tensorrtllm": "trtllm"}


class Releases(NamedTuple):
    """The releases of an engine.

    Attributes:
        name: The engine's name as its makers write it.
        versions: Releases in order; later ones count by their first number that differs from the last.
        months: Mean months from one to the next, from the summer of 2025 to that of 2026.
    """

    name: str
    versions: tuple[tuple[int, ...], ...]
    months: float


# Source: release pages of vllm-project/vllm, sgl-project/sglang and NVIDIA/TensorRT-LLM on GitHub, read 2026-11-30.
_RELEASES: Final = {
    "vllm": Releases("vLLM", tuple((0, minor) for minor in range(6, 25)), 0.8),
    "sglang": Releases("SGLang", ((0, 4), *((0, 5, patch) for patch in range(15))), 0.8),
    "trtllm": Releases("TensorRT-LLM", ((0, 20), (0, 21), *((1, minor) for minor in range(4))), 3.3),
}
_MOST_AHEAD: Final = 30
"""Releases after the newest known one that a version may be: two years of vLLM, beyond which nothing is known."""
_VERSION: Final = re.compile(r"v?(\d+(?:\.\d+)*)(?:[a-z.+-][\w.+-]*)?")


class Engine(NamedTuple):
    """An inference engine, and its version; "" if it is not known."""

    name: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> "Engine":
        """Read `vllm` or `vllm@0.10`.

        Raises:
            ConfigError: The version is none, or far beyond the releases that are known.
        """
        name, at, version = text.strip().partition("@")
        name = _OTHER_NAMES.get(name.lower(), name.lower())
        numbers = _numbers(version)
        if at and numbers is None:
            raise ConfigError(
                f"{version!r} is no version",
                where="--engine",
                fix="write the engine's name or NAME@VERSION: vllm@0.10.2",
            )
        known = _RELEASES.get(name)
        if known and numbers and _place(name, numbers) >= len(known.versions) + _MOST_AHEAD:
            newest = ".".join(map(str, known.versions[-1]))
            raise ConfigError(
                f"{known.name} has no version {version}",
                where="--engine",
                fix=f"the newest that is known here is {newest}; leave out the version if yours is much newer",
            )
        return cls(name, version.removeprefix("v"))

    @property
    def option(self) -> str:
        """What `parse` reads."""
        return f"{self.name}@{self.version}" if self.version else self.name

    @property
    def label(self) -> str:
        """Its name as its makers write it, and its version."""
        known = _RELEASES.get(self.name)
        return f"{known.name if known else self.name} {self.version}".rstrip()


def releases_between(engine: str, older: str, newer: str) -> int:
    """Return how many releases of an engine lie between two versions, negative if `older` is the newer one.

    0 if a version or the engine is not known.
    """
    first, second = _numbers(older), _numbers(newer)
    if first is None or second is None or engine not in _RELEASES:
        return 0
    return _place(engine, second) - _place(engine, first)


def months_between(engine: str, older: str, newer: str) -> float:
    """Return the usual time of the releases between two versions, with the sign of `releases_between`."""
    releases = releases_between(engine, older, newer)
    return releases * _RELEASES[engine].months if releases else 0.0


def middle_version(engine: str, versions: Iterable[str]) -> str:
    """Return the median of the versions that are known, "" if none is."""
    known = sorted((_place(engine, numbers), numbers) for text in versions if (numbers := _numbers(text)) is not None)
    return ".".join(map(str, known[len(known) // 2][1])) if known else ""


def _numbers(version: str) -> tuple[int, ...] | None:
    match = _VERSION.fullmatch(version.strip().lower())
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _place(engine: str, version: tuple[int, ...]) -> int:
    """Return the place of a version in the order of releases."""
    releases = _RELEASES[engine].versions
    place = bisect_right(releases, version) - 1
    last = releases[-1]
    if place < len(releases) - 1 or version[: len(last)] == last:
        return max(place, 0)
    return place + next(new - old for new, old in zip((*version, 0), last, strict=False) if new != old)
