"""What a job is expected to need and cost, from the jobs and attempts before it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meritorder.metering.capacity import Span
from meritorder.metering.sharing import Ran, prices, share
from meritorder.records.accounting import Use


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
    """Attempts on the replicas of a venue; `own` are those of the model and lane in question."""

    replica: NDArray[np.str_]
    ran: Ran
    work_tokens: NDArray[np.float64]
    own: NDArray[np.bool_]


def picousd_per_token(attempts: Attempts, picousd_per_hour: int) -> float | None:
    """Return what a token of work has cost on machines of a price, or None if none was measured.

    It is what the machines cost while they were busy with these attempts, those without an answer included, over the
    work of all of them: the ledger shares it in the same way.
    """
    picousd = _costs(attempts, picousd_per_hour)[attempts.own].sum()
    work_tokens = attempts.work_tokens[attempts.own].sum()
    return float(picousd / work_tokens) if picousd and work_tokens else None


def _costs(attempts: Attempts, picousd_per_hour: int) -> NDArray[np.float64]:
    """Return the share of each attempt in the price of its replica, picodollars."""
    costs = np.zeros(len(attempts.replica))
    for replica in np.unique(attempts.replica):
        here = np.flatnonzero((attempts.replica == replica) & (attempts.ran.starts_us < attempts.ran.ends_us))
        if not len(here):
            continue
        ran = attempts.ran.take(here)
        paid = Span(
            venue="",
            replica=str(replica),
            use=Use.BUSY,
            start_us=int(ran.starts_us.min()),
            end_us=int(ran.ends_us.max()),
            picousd_per_hour=picousd_per_hour,
        )
        shares = share(ran, *prices([paid]))
        is_owned = shares.attempt >= 0
        costs[here] = np.bincount(shares.attempt[is_owned], weights=shares.picousd[is_owned], minlength=len(here))
    return costs
