"""The shares of attention, dense layers, experts and communication in the time of a step.

Operators are measured in isolation; a server reaches other rates under load. The difference depends on the class of
operator and the precision of its weights more than on the model, so that a correction of a class holds for every model,
weighted by its share.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Words in the library's operator names by class; operators without any of them are norms, activations and embeddings.
_WORDS: Final = (
    ("experts", ("moe", "expert", "router", "shared_gate", "shared_ffn")),
    ("communication", ("_ar", "p2p", "allreduce", "all_reduce", "nccl", "all2all", "dispatch", "combine")),
    ("attention", ("attention", "mla", "gdn", "mamba", "kda", "conv", "dsa", "msa", "bmm")),
    ("dense", ("gemm", "ffn", "proj", "logits")),
)
CLASSES: Final = ("attention", "dense", "experts", "communication")
"""Classes of operators; the rest of a step is never scaled."""
DECODE_POINTS: Final = (1, 8, 64, 512)
STEP_POINTS: Final = (64, 512, 2048, 8192)
_DIGITS: Final = 3


def operator_class(operator: str) -> str:
    """Return the class of an operator from its name in the library."""
    name = operator.lower()
    return next((kind for kind, words in _WORDS if any(word in name for word in words)), "other")


class OperatorShares(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of each class in the part of a step that does not grow with context.

    Args:
        decode: By class, at `DECODE_POINTS` decoding sequences.
        step: By class, at `STEP_POINTS` tokens in a step with prompts.
    """

    decode: dict[str, list[float]]
    step: dict[str, list[float]]

    @classmethod
    def from_times(cls, decode: Iterable[Mapping[str, float]], step: Iterable[Mapping[str, float]]) -> Self:
        """Return the shares from times by class, one mapping for each point."""
        return cls(decode=_columns(list(decode)), step=_columns(list(step)))

    def decode_factors(self, sequences: Sequence[int], scales: Mapping[str, float]) -> Floats:
        """Return the factors on decode steps, by number of sequences, if the classes are scaled."""
        return _factors(self.decode, DECODE_POINTS, sequences, scales)

    def step_factors(self, tokens: Sequence[int], scales: Mapping[str, float]) -> Floats:
        """Return the factors on steps with prompts, by number of tokens, if the classes are scaled."""
        return _factors(self.step, STEP_POINTS, tokens, scales)


def _columns(points: list[Mapping[str, float]]) -> dict[str, list[float]]:
    totals = [max(sum(point.values()), 1e-12) for point in points]
    columns = {
        kind: [round(point.get(kind, 0.0) / total, _DIGITS) for point, total in zip(points, totals, strict=True)]
        for kind in CLASSES
    }
    return {kind: column for kind, column in columns.items() if any(column)}


def _factors(
    columns: Mapping[str, list[float]], points: tuple[int, ...], sizes: Sequence[int], scales: Mapping[str, float]
) -> Floats:
    """Interpolate the shares in the logarithm of the size, and weight the scales by them."""
    at, known = np.log(sizes), np.log(points)
    factors = np.ones(len(sizes))
    for kind, column in columns.items():
        factors += np.interp(at, known, column) * (scales.get(kind, 1.0) - 1)
    return factors
