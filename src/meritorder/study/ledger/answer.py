"""What was paid within a period, and for what: from the ledger and the paid capacity of a gateway."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from meritorder.bills import Bill
from meritorder.errors import TraceError
from meritorder.metering.capacity import Paid, PaidCapacity, PaidCommitment
from meritorder.metering.words import COMMITMENT, REPLICA
from meritorder.records.accounting import LedgerReport
from meritorder.records.receipts import SettledQuote
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.ledger.attempts import MAX_EPOCH_S
from meritorder.study.ledger.costing import CostedLedger, Period, cost
from meritorder.study.ledger.reconcile import reconcile
from meritorder.study.ledger.summary import report

NOT_SIMULATED: Final = "real time alone was not simulated; --counterfactual does"
_CAPACITY: Final = (
    *("kind", "venue", "replica", "machine", "pricing_model", "usd_per_hour", "minimum_billing_s"),
    *("started_s", "ready_s", "ended_s"),
)


def cost_all(attempts: pl.DataFrame, paid: Sequence[Paid], period: Period) -> CostedLedger:
    """Attribute what was paid within a period.

    Args:
        attempts: As in `ATTEMPTS`.
        paid: Replicas and commitments.
        period: The period.

    Raises:
        ConfigError: A price is out of range.
    """
    capacity = [record for record in paid if isinstance(record, PaidCapacity)]
    commitments = [record for record in paid if isinstance(record, PaidCommitment)]
    return cost(attempts, capacity, commitments, period=period)


def of_tenant(costed: CostedLedger, tenant: str) -> CostedLedger:
    """Return the costs of the requests of one tenant; what belongs to no request is left out."""
    is_own = (costed.attempts["tenant"].cast(pl.String) == tenant).fill_null(value=False)
    places = is_own.cum_sum().cast(pl.Int32) - 1
    costs = costed.costs.drop_nulls("attempt")
    costs = costs.filter(is_own.gather(costs["attempt"]))
    costs = costs.with_columns(places.gather(costs["attempt"]).alias("attempt"))
    return replace(costed, attempts=costed.attempts.filter(is_own), costs=costs, capacity=(), paid=(), warnings=())


def account(
    costed: CostedLedger,
    by: Sequence[str],
    *,
    quotes: Sequence[SettledQuote] = (),
    bill: Bill | None = None,
    real_time: CompareOptions | None = None,
    progress: Progress = lambda _: None,
) -> LedgerReport:
    """Return what was paid, and for what.

    Args:
        costed: The costs of a period.
        by: Names of `DIMENSIONS`.
        quotes: What batches with a quote were quoted and cost.
        bill: A bill of the same period, to compare with.
        real_time: Options of the simulation of real time alone; None leaves it out.
        progress: Receives each step.
    """
    answer = report(costed, costed.period, by, no_saving_because=NOT_SIMULATED, quotes=quotes)
    if bill is not None:
        progress("comparing with the bill")
        answer = msgspec.structs.replace(answer, bill=reconcile(costed, bill))
    if real_time is None:
        return answer
    from meritorder.study.ledger.counterfactual import with_counterfactual  # noqa: PLC0415 - it compiles the simulator

    return with_counterfactual(answer, costed, real_time, progress)


def whole_period(attempts: pl.DataFrame, paid: Sequence[Paid]) -> Period:
    """Return the period from the first attempt or start to the last end.

    Raises:
        TraceError: There is neither an attempt nor capacity.
    """
    starts = [record.started_s for record in paid]
    ends = [record.ended_s + getattr(record, "minimum_billing_s", 0.0) for record in paid]
    if len(attempts):
        began = attempts.select(pl.min_horizontal("arrived_s", "started_s", "ended_s").min()).item()
        starts.append(began)
        # An attempt that ends at the very end is within the period.
        ends.append(attempts.select(pl.col("ended_s").max()).item() + 1e-3)
    if not starts:
        raise empty_ledger()
    return Period(from_s=min(starts), to_s=max(ends))


def empty_ledger() -> TraceError:
    """Return the error that there is nothing to account for."""
    return TraceError("no attempt and no paid capacity", where="ledger", fix="serve some requests first")


def write_capacity(path: Path, paid: Iterable[Paid]) -> None:
    """Write paid capacity as CSV, next to an exported ledger."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _CAPACITY, restval="")
        writer.writeheader()
        for record in paid:
            values = {name: getattr(record, name) for name in _CAPACITY if hasattr(record, name)}
            names = {"kind": REPLICA}
            if isinstance(record, PaidCommitment):
                names = {"kind": COMMITMENT, "replica": record.name}
            writer.writerow({name: "" if value is None else value for name, value in (values | names).items()})


def read_capacity(path: Path) -> list[Paid]:
    """Read paid capacity that was written as CSV.

    Raises:
        TraceError: The file cannot be read, or a line is invalid.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_paid(row, f"{path}: line {line}") for line, row in enumerate(csv.DictReader(file), start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"cannot be read: {error}", where=str(path)) from error


def _times(started: str, ended: str) -> tuple[float, float]:
    started_s, ended_s = float(started), float(ended)
    if not 0 <= started_s <= ended_s <= MAX_EPOCH_S:
        raise ValueError(f"from {started} to {ended} is no time in epoch seconds")
    return started_s, ended_s


def _paid(row: dict[str, str], where: str) -> Paid:
    try:
        usd_per_hour = Decimal(row["usd_per_hour"]) if row["usd_per_hour"] else None
        started_s, ended_s = _times(row["started_s"], row["ended_s"])
        if row["kind"] == COMMITMENT:
            return PaidCommitment(
                venue=row["venue"],
                name=row["replica"],
                started_s=started_s,
                ended_s=ended_s,
                usd_per_hour=usd_per_hour,
                pricing_model=row.get("pricing_model") or "reserved",
            )
        return PaidCapacity(
            venue=row["venue"],
            replica=row["replica"],
            started_s=started_s,
            ready_s=float(row["ready_s"]) if row["ready_s"] else None,
            ended_s=ended_s,
            usd_per_hour=usd_per_hour,
            minimum_billing_s=float(row.get("minimum_billing_s") or 0),
            pricing_model=row.get("pricing_model") or "on_demand",
            machine=row.get("machine") or "",
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        fix = f"the columns are {', '.join(_CAPACITY)}"
        raise TraceError(f"not paid capacity: {error}", where=where, fix=fix) from error
