"""The receipt of a job, in the form of the gateway's receipts of batches."""

import datetime as dt
from collections.abc import Sequence

from meritorder.jobs.options import JobOptions
from meritorder.jobs.output import Totals
from meritorder.records.job import JobRun
from meritorder.records.receipts import Receipt, ReceiptPlace
from meritorder.units import PICOUSD_PER_USD, exact_usd


def to_receipt(options: JobOptions, runs: Sequence[JobRun], totals: Totals) -> Receipt:
    """Return the receipt of a job over all of its runs.

    Args:
        options: The job.
        runs: Its runs, the oldest first.
        totals: Sums over its answers.
    """
    last, deadline_s = runs[-1], options.asking.deadline_s
    paid_usd = exact_usd(round((last.job_cost_usd or 0.0) * PICOUSD_PER_USD))
    spare_s = 0.0 if deadline_s is None else deadline_s - dt.datetime.fromisoformat(last.ended).timestamp()
    lost_tokens = sum(run.repeated_output_tokens for run in runs)
    place = ReceiptPlace(
        venue=", ".join(options.asking.urls),
        price_basis=_price_basis(options),
        attempts=totals.attempts,
        requests=totals.rows,
        list_usd=None,
        paid_usd=paid_usd,
        input_tokens=totals.tokens.input,
        cached_tokens=0,
        output_tokens=totals.tokens.output,
        lost_tokens=lost_tokens,
    )
    return Receipt(
        batch_id=options.out,
        tenant="",
        model=options.prompts.model,
        endpoint="",
        status="in_progress" if last.left else "completed",
        created_at=runs[0].started,
        ended_at=last.ended,
        deadline_at=last.deadline or "",
        deadline_kept=not last.left and spare_s >= 0.0,
        spare_s=spare_s,
        total=totals.rows + last.left,
        completed=totals.rows - totals.failed,
        failed=totals.failed,
        attempts=totals.attempts,
        list_usd=None,
        paid_usd=paid_usd,
        places=(place,),
        no_saving_because="the answers of a job are not compared with real time",
        charged_usd=paid_usd,
        issued_at=last.ended,
        warnings=() if place.price_basis else ("no price was stated",),
        input_tokens=totals.tokens.input,
        cached_tokens=0,
        output_tokens=totals.tokens.output,
        lost_tokens=lost_tokens,
    )


def _price_basis(options: JobOptions) -> str:
    if options.usd_per_hour is not None:
        return "machine"
    return "tokens" if any(options.asking.usd_per_token) else ""
