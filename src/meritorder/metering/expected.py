"""What a job is expected to need and cost, from the jobs and attempts before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.metering.capacity import Span
from meritorder.metering.sharing import Integers, prices, share
from meritorder.records.accounting import OUTPUT_WEIGHT, Use

_MIN_FITTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PastJob:
    """A job that is done.

    Args:
        file_bytes: Size of its file.
        requests: Its requests.
        limit_tokens: The most that they were allowed to generate; 0 if that is not known.
        input_tokens: Their prompt tokens.
        output_tokens: What they generated.
    """

    file_bytes: int
    requests: int
    limit_tokens: int
    input_tokens: int
    output_tokens: int


def expected_output_tokens(past: Sequence[PastJob], requests: int, limit_tokens: int) -> float:
    """Return what requests generate if they are as earlier ones: by their number or by their limits.

    Whichever would have erred less on the earlier jobs counts.
    """
    output = np.array([job.output_tokens for job in past], dtype=np.float64)
    rules = [(np.array([job.requests for job in past], dtype=np.float64), requests)]
    if all(job.limit_tokens for job in past):
        rules.append((np.array([job.limit_tokens for job in past], dtype=np.float64), limit_tokens))
    # The error, and what the rule expects.
    judged = [
        (float(np.abs(of_past * (output.sum() / of_past.sum()) - output).sum()), of_job * output.sum() / of_past.sum())
        for of_past, of_job in rules
    ]
    return min(float(min(judged)[1]), float(limit_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Attempts on the replicas of a venue; times are epoch microseconds, `own` are those at the model in question."""

    replica: NDArray[np.str_]
    starts_us: Integers
    ends_us: Integers
    input_tokens: Integers
    output_tokens: Integers
    own: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """What a token costs on a machine while it is busy, in picodollars."""

    input_picousd: float
    output_picousd: float

    def picousd(self, input_tokens: int, output_tokens: int) -> int:
        """Return what tokens cost."""
        return round(self.input_picousd * input_tokens + self.output_picousd * output_tokens)


def token_rates(attempts: Attempts, picousd_per_hour: int) -> TokenRates | None:
    """Return what tokens of a model have cost on machines of a price, or None if none were measured.

        cost of an attempt = input rate * input tokens + output rate * output tokens

    by least squares, then scaled so that the tokens of all attempts cost what the machines did while they were busy,
    attempts without an answer included. Few attempts have an output token count as `OUTPUT_WEIGHT` input tokens.
    """
    picousd = _costs(attempts, picousd_per_hour)[attempts.own]
    tokens = np.column_stack([attempts.input_tokens, attempts.output_tokens])[attempts.own].astype(np.float64)
    if not tokens.sum() or not picousd.sum():
        return None
    rates = _fitted(tokens, picousd) if len(picousd) >= _MIN_FITTED else np.array([1.0, OUTPUT_WEIGHT])
    rates *= picousd.sum() / (tokens @ rates).sum()
    return TokenRates(input_picousd=float(rates[0]), output_picousd=float(rates[1]))


def _fitted(tokens: NDArray[np.float64], picousd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rates of least squares; neither is negative."""
    rates = np.linalg.lstsq(tokens, picousd, rcond=None)[0]
    if (rates < 0).any():
        # One kind of tokens explains the cost better alone: the other one's rate is zero.
        alone = tokens.T @ picousd / np.maximum((tokens**2).sum(axis=0), 1.0)
        explained = alone * (tokens.T @ picousd)
        rates = np.where(explained == explained.max(), alone, 0.0)
    return np.asarray(rates)


def _costs(attempts: Attempts, picousd_per_hour: int) -> NDArray[np.float64]:
    """Return the share of each attempt in the price of its replica, picodollars."""
    costs = np.zeros(len(attempts.starts_us))
    for replica in np.unique(attempts.replica):
        here = np.flatnonzero((attempts.replica == replica) & (attempts.starts_us < attempts.ends_us))
        if not len(here):
            continue
        starts_us, ends_us = attempts.starts_us[here], attempts.ends_us[here]
        paid = Span(
            venue="",
            replica=str(replica),
            use=Use.BUSY,
            start_us=int(starts_us.min()),
            end_us=int(ends_us.max()),
            picousd_per_hour=picousd_per_hour,
        )
        shares = share(starts_us, ends_us, *prices([paid]))
        own = shares.attempt >= 0
        costs[here] = np.bincount(shares.attempt[own], weights=shares.picousd[own], minlength=len(here))
    return costs
