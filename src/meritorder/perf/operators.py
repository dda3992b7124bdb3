"""What a step is made of: the shares of attention, dense layers, experts and communication in its time.

Operators were measured alone. A server reaches other rates under load, and how far off they are depends on the kind of
operator and on the precision of its weights more than on the model: a correction of a class of operators holds for
every model that has them, in the measure in which it does.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Self

import msgspec
import numpy as np

# The library's names of operators hold these words; what holds none of them is dense if a product of matrices, else
# norms, activations and embeddings.
_WORDS: Final = (
    ("experts", ("moe", "expert", "router", "shared_gate", "shared_ffn")),
    ("communication", ("_ar", "p2p", "allreduce", "all_reduce", "nccl", "all2all", "dispatch", "combine")),
    ("attention", ("attention", "mla", "gdn", "mamba", "kda", "conv", "dsa", "msa", "bmm")),
    ("dense", ("gemm", "ffn", "proj", "logits")),
)
CLASSES: Final = ("attention", "dense", "experts", "communication")
"""Classes of operators; the rest of a step is scaled by none of them."""
DECODE_POINTS: Final = (1, 8, 64, 512)
STEP_POINTS: Final = (64, 512, 2048, 8192)
_DIGITS: Final = 3


def class_of(operator: str) -> str:
    """Return the class of an operator by its name in the library."""
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
    def of(cls, decode: Iterable[Mapping[str, float]], step: Iterable[Mapping[str, float]]) -> Self:
        """Return the shares of times by class, one mapping a point."""
        return cls(decode=_columns(list(decode)), step=_columns(list(step)))

    def decode_factors(self, sequences: Iterable[int], scales: Mapping[str, float]) -> list[float]:
        """Return by how much decode steps of so many sequences are longer if the classes are scaled."""
        return [_factor(self.decode, DECODE_POINTS, size, scales) for size in sequences]

    def step_factors(self, tokens: Iterable[int], scales: Mapping[str, float]) -> list[float]:
        """Return the same of steps with prompts, of so many tokens."""
        return [_factor(self.step, STEP_POINTS, size, scales) for size in tokens]


def _columns(points: list[Mapping[str, float]]) -> dict[str, list[float]]:
    totals = [max(sum(point.values()), 1e-12) for point in points]
    columns = {
        kind: [round(point.get(kind, 0.0) / total, _DIGITS) for point, total in zip(points, totals, strict=True)]
        for kind in CLASSES
    }
    return {kind: column for kind, column in columns.items() if any(column)}


def _factor(
    columns: Mapping[str, list[float]], points: tuple[int, ...], size: int, scales: Mapping[str, float]
) -> float:
    """Interpolate the shares in the logarithm of the size, and weigh the scales by them."""
    logs = [math.log(point) for point in points]
    shares = {kind: float(np.interp(math.log(max(size, 1)), logs, column)) for kind, column in columns.items()}
    return 1 + sum(share * (scales.get(kind, 1.0) - 1) for kind, share in shares.items())
