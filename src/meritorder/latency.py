"""Latency of requests: the time per output token, whether the SLO was kept, and quantiles."""

import math
from typing import overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@overload
def tpot_s(e2e_s: float, ttft_s: float, output_tokens: int) -> float: ...


@overload
def tpot_s(e2e_s: Floats, ttft_s: Floats, output_tokens: NDArray[np.integer]) -> Floats: ...


def tpot_s(e2e_s: float | Floats, ttft_s: float | Floats, output_tokens: int | NDArray[np.integer]) -> float | Floats:
    """Return the time per output token after the first, nan at one token.

        tpot_s = (e2e_s - ttft_s) / (output_tokens - 1)

    Args:
        e2e_s: Time of the last token, shape (requests,) or one number.
        ttft_s: Time of the first token, since the same instant: the arrival or any other.
        output_tokens: Generated tokens, at least 1.
    """
    if isinstance(output_tokens, int):
        return (e2e_s - ttft_s) / (output_tokens - 1) if output_tokens > 1 else math.nan
    return (e2e_s - ttft_s) / np.where(output_tokens > 1, output_tokens - 1.0, np.nan)


def breaks_slo(ttft_s: Floats, tpot_s: Floats, ttft_limit_s: Floats, tpot_limit_s: Floats) -> NDArray[np.bool_]:
    """Return which requests break their SLO, shape (requests,).

    A request that was never served breaks it; one with a single output token has no TPOT that could.

    Args:
        ttft_s: Time to first token, nan if it was never served.
        tpot_s: Time per output token after the first, nan at one token.
        ttft_limit_s: Promised time to first token.
        tpot_limit_s: Promised time per output token.
    """
    return ~(ttft_s <= ttft_limit_s) | (tpot_s > tpot_limit_s)


def quantile(seconds: Floats, q: float) -> float | None:
    """Return a quantile of the finite times, shape (requests,); None if there are none."""
    finite = seconds[np.isfinite(seconds)]
    return float(np.quantile(finite, q)) if len(finite) else None
